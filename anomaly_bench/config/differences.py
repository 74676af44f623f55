"""In what settings differ that are of the same dataset and model, as the titles of their runs say it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from textwrap import shorten
from typing import Any

from anomaly_bench.base.errors import ConfigError
from data_modules.base.names import dataset_name

from .load import read_config
from .schema import RunConfig

PARTS = ("dataset", "model", "trainer", "localization", "predictors")
SAID = ("dataset.name", "dataset.category", "model.name", "model.beta")
WIDTH, VALUE = 80, 24  # characters of all that is said, and of a value


def differences(settings: Mapping[str, RunConfig]) -> dict[str, str]:
    """By setting id, what tells it from the others of the same dataset and model: `latent=32 likelihood=laplace`.

    A key is its last part where that tells the keys apart. Settings that nothing tells apart are left out.
    """
    kin: dict[tuple[str, str], dict[str, RunConfig]] = defaultdict(dict)
    for setting_id, config in settings.items():
        kin[dataset_name(config.dataset), config.model.name][setting_id] = config
    return {setting_id: text for family in kin.values() for setting_id, text in _told_apart(family) if text}


def differences_of(files: Mapping[str, Path]) -> dict[str, str]:
    """The same of settings that were run, by the config.yaml of a run of each; one that cannot be read is left out."""
    settings: dict[str, RunConfig] = {}
    for setting_id, file in files.items():
        with suppress(ConfigError):
            settings[setting_id] = read_config(file)
    return differences(settings)


def _told_apart(family: Mapping[str, RunConfig]) -> Iterator[tuple[str, str]]:
    flat: dict[str, dict[str, str]] = {setting_id: {} for setting_id in family}
    for part in PARTS:
        seen: dict[int, Any] = {id(config): config for config in (getattr(one, part) for one in family.values())}
        if len(seen) > 1:  # what does not change is shared
            leaves = {key: dict(_leaves(asdict(config), part)) for key, config in seen.items()}
            for setting_id, config in family.items():
                flat[setting_id] |= leaves[id(getattr(config, part))]
    every = dict.fromkeys(key for values in flat.values() for key in values if key not in SAID)
    keys = [key for key in every if len({values.get(key) for values in flat.values()}) > 1]
    last = Counter(key.rpartition(".")[2] for key in keys)
    names = {key: short if last[short := key.rpartition(".")[2]] == 1 else key for key in keys}
    for setting_id, values in flat.items():
        text = " ".join(f"{names[key]}={_cut(values[key])}" for key in keys if key in values)
        yield setting_id, shorten(text, WIDTH, placeholder=" …")


def _cut(value: str) -> str:
    return value if len(value) <= VALUE else f"{value[: VALUE - 1]}…"


def _leaves(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """The values in nested mappings, as overrides have them, by their keys."""
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}")
    elif node is None or isinstance(node, bool):
        yield key, "null" if node is None else str(node).lower()
    else:
        yield key, f"{node:g}" if isinstance(node, float) else str(node).replace(", ", ",")
