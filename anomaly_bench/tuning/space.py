"""A space to search in: keys of a config, each with its values or its range, from a YAML file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml  # type: ignore[import-untyped]

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.grid import load_grid
from anomaly_bench.config.schema import RunConfig
from data_modules.base.config import NO_NUMBERS
from data_modules.base.options.yaml_file import check_yaml

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

EXAMPLE = "model.beta: {low: 0.1, high: 32, log: true}, model.latent: [16, 32, 64]"
OF_ALL = {one.name for one in fields(RunConfig) if one.metadata == NO_NUMBERS}  # keys by which no run becomes another
RANGE = {"low", "high", "log", "step"}
Space = dict[str, dict[str, Any]]  # by key {"values": [...]} or {"low": …, "high": …, "log": …, "step": …}


def read_space(file: Path, overrides: Sequence[str] = ()) -> Space:
    """The space of a YAML file: `key: [values]` or `key: {low, high, log, step}`; whole numbers where both ends are.

    overrides: of all trials. Both ends of each range and all values are composed with them. Raises ConfigError naming the
    file and the key.
    """
    try:
        check_yaml(file)
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); expected a space such as {EXAMPLE}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{file}: is no YAML ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(document, dict) or not document:
        raise ConfigError(f"{file}: expected keys with values or ranges, such as {EXAMPLE}")
    space = {str(key): _axis(f"{file}: {key}", axis) for key, axis in document.items()}
    for key, axis in space.items():
        if any(text.partition("=")[0] == key for text in overrides):
            raise ConfigError(f"{file}: {key} is set on the command line, too; leave it out of one of them")
        for value in _probed(axis):
            try:
                load_grid([*overrides, override(key, value)])
            except ConfigError as error:
                raise ConfigError(f"{file}: {error}") from error
    return space


def check_settings(file: Path, space: Space) -> None:
    """Raises ConfigError for a key of the space in that file that is no setting, of which a study could find the best value."""
    for key in space:
        if key == "seed":
            raise ConfigError(f"{file}: seed: is no setting; several seeds are averaged: give them on the command line")
        if key.partition(".")[0] in OF_ALL:
            raise ConfigError(f"{file}: {key}: is no setting, but of all trials: give it on the command line")


def override(key: str, value: Any) -> str:
    """A value of a key as the command line takes it."""
    if isinstance(value, str) and not re.fullmatch(r"[\w.-]+", value):
        return f"{key}={json.dumps(value)}"
    return f"{key}={value}" if isinstance(value, str) else f"{key}={json.dumps(value)}"


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The space as Optuna has it; lists and mappings among the values are texts of JSON there."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for key, axis in space.items():
        if "values" in axis:
            found[key] = CategoricalDistribution([json.dumps(value) for value in axis["values"]])
        elif isinstance(axis["low"], int):
            found[key] = IntDistribution(axis["low"], axis["high"], log=axis["log"], step=axis["step"] or 1)
        else:
            found[key] = FloatDistribution(axis["low"], axis["high"], log=axis["log"], step=axis["step"])
    return found


def settings_of(params: dict[str, Any], space: Space) -> dict[str, Any]:
    """A trial's values by key, of four digits."""
    found: dict[str, Any] = {}
    for key, value in params.items():
        axis = space[key]
        if "values" in axis:
            found[key] = json.loads(value)
        else:
            rounded = value if isinstance(value, int) else float(f"{value:.4g}")
            found[key] = min(max(rounded, axis["low"]), axis["high"])
    return found


def _axis(where: str, axis: Any) -> dict[str, Any]:
    if isinstance(axis, list):
        texts = [json.dumps(value) for value in axis]
        if not axis or len(set(texts)) < len(texts):
            raise ConfigError(f"{where}: expected values that differ, one or more, got {axis}")
        return {"values": axis}
    if not isinstance(axis, dict) or not {"low", "high"} <= set(axis) <= RANGE:
        raise ConfigError(f"{where}: expected [values] or {{low, high, log, step}}, such as {EXAMPLE}; got {axis}")
    low, high, log, step = axis["low"], axis["high"], axis.get("log", False), axis.get("step")
    numbers = [value for value in (low, high, step) if value is not None]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in numbers):
        raise ConfigError(f"{where}: expected numbers, got low {low}, high {high}, step {step}")
    whole = all(isinstance(value, int) for value in numbers)
    fits = -1e300 < low < high < 1e300 and (step is None or (0 < step <= high - low and not log))
    if not fits or not isinstance(log, bool) or (log and low <= 0):
        raise ConfigError(
            f"{where}: expected low < high, finite, a step above 0 that fits between, and with log: true low > 0 and no step; "
            f"got {axis}"
        )
    kind = int if whole else float
    return {"low": kind(low), "high": kind(high), "log": log, "step": None if step is None else kind(step)}


def _probed(axis: dict[str, Any]) -> Iterator[Any]:
    yield from axis["values"] if "values" in axis else (axis["low"], axis["high"])
