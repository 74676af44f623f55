"""The verbs of `anomaly-bench data` that need no torch and read no picture: list and fetch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from anomaly_bench.base.progress import bar

from .data_json import STDOUT, check_json, write_json

if TYPE_CHECKING:
    from anomaly_bench.config.schema import RunConfig
    from data_modules.catalog.entries import Entry
    from data_modules.catalog.fetch import FetchReport

PLACES = ("data_dir", "cache_dir")


def list_verb(options: argparse.Namespace) -> int:
    from anomaly_bench.config.folders import options_of
    from data_modules.catalog.entries import look

    from .data_tables import catalog_list

    check_json(options.json)
    names, entries = options_of("dataset"), []

    def looked_at() -> Iterator[Entry]:
        for name, config in zip(names, _each(names, options.overrides), strict=True):
            entries.append(look(name, config.dataset, config.cache, config.data))
            yield entries[-1]

    if options.json == STDOUT:
        list(looked_at())
    else:
        catalog_list(looked_at(), max(map(len, names)))
    write_json(options.json, [entry.to_dict() for entry in entries])
    return 0


def _each(names: Sequence[str], overrides: Sequence[str]) -> Iterator[RunConfig]:
    """The config with each dataset, all of them composed at once, which is several times quicker than one by one."""
    from anomaly_bench.base.errors import ConfigError
    from anomaly_bench.config.compose import compose_groups, parse, to_config, update, with_schema

    places = parse(overrides)
    for override in places:
        if override.key_or_group not in PLACES or override.is_sweep_override():
            takes = " and ".join(f"{key}=FOLDER" for key in PLACES)
            raise ConfigError(
                f"{override.input_line}: `anomaly-bench data list` lists all datasets and takes {takes} alone"
            )
    composed = compose_groups([f"+dataset@all.d{number}={name}" for number, name in enumerate(names)])
    every = composed.pop("all")
    for number in range(len(names)):
        composed.dataset = every[f"d{number}"]
        config = with_schema(composed)
        for override in places:
            update(config, override.key_or_group, override.value())
        yield to_config(config)


def fetch_verb(options: argparse.Namespace) -> int:
    from anomaly_bench.config.load import load_config

    from .data_tables import paragraphs

    check_json(options.json)
    config = load_config([f"dataset={options.name}"])
    config.data_dir = str(options.data_dir) if options.data_dir else config.data_dir
    reports: list[FetchReport] = []
    for report in _fetch(config, options.accept_licence):
        if options.json != STDOUT:
            print(("\n" if reports else "") + paragraphs(report.message))
        reports.append(report)
    write_json(options.json, [asdict(report) for report in reports])
    return 0 if all(report.done for report in reports) else 1


def _fetch(config: RunConfig, accept: bool) -> Iterator[FetchReport]:
    """The dataset, then its healthy cohort if it has one; nothing large is begun without a word on it."""
    from data_modules.base.config import NiftiConfig
    from data_modules.base.names import folder_of
    from data_modules.catalog.fetch import fetch
    from data_modules.embedded import embedded_root

    dataset, data = config.dataset, config.data
    root = embedded_root(dataset.embedded, config.cache) if dataset.embedded else folder_of(dataset, data)
    healthy = dataset.healthy if isinstance(dataset, NiftiConfig) else None
    if healthy and healthy.about:
        _tell(f"{dataset.name} is two datasets: one to test on, in {root}, and {healthy.name} to train on")
    with bar(f"fetch {dataset.name}", in_bytes=True) as progress:
        yield fetch(dataset.name, dataset.about, root, accept, progress, tell=_tell)
    if healthy and healthy.about:
        with bar(f"fetch {healthy.name}", in_bytes=True) as progress:
            place = folder_of(healthy, data)
            yield fetch(healthy.name, healthy.about, place, accept, progress, tell=_tell)


def _tell(text: str) -> None:
    from .data_tables import paragraphs

    print(paragraphs(text), file=sys.stderr)
