"""The verb `data list`, which needs no torch and reads no picture."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.text import wrapped
from anomaly_bench.cli.arguments import Records, add_config_dir, add_overrides

if TYPE_CHECKING:
    from anomaly_bench.config.schema import RunConfig
    from data_modules.catalog.entries import Entry

ABOUT = "every dataset: where it is expected, and whether it is there"
EXAMPLE = "data_dir=/data"
PLACES = ("data_dir", "cache_dir")
MARKS = {"here": "green", "on first use": "green", "missing": "dim", "unfit": "yellow", "incomplete": "dim"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_overrides(parser, "data_dir=FOLDER or cache_dir=FOLDER")
    add_config_dir(parser)


def call(options: argparse.Namespace) -> tuple[int, Records]:
    from data_modules.base.options.folders import options_of
    from data_modules.catalog.entries import look

    names = options_of("dataset")
    configs = zip(names, each(names, options.overrides), strict=True)
    entries = (look(name, config.dataset, config.cache, config.data) for name, config in configs)
    return 0, _print_catalog(entries, max(map(len, names)))


def each(names: Sequence[str], overrides: Sequence[str]) -> Iterator[RunConfig]:
    """The config with each dataset, all of them composed at once, which is several times quicker than one by one."""
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


def _print_catalog(entries: Iterable[Entry], width: int) -> Records:
    """Two lines on each dataset as soon as it is looked at, and one more on what stands in its way; all as records.

    width: of the longest name.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    records: Records = []
    for entry in entries:
        records.append(entry.to_dict())
        found = f", {entry.subjects:,}" if entry.subjects is not None else ""
        name, state, access = entry.option.ljust(width + 2), (entry.state + found).ljust(15), entry.access.ljust(14)
        line = Text.assemble((name, "bold"), (state, MARKS.get(entry.state, "")), access, str(entry.root))
        console.print(line, soft_wrap=True)
        about = "; ".join(filter(None, (entry.title, entry.kind, entry.licence)))
        console.print(Text(wrapped(about, 2), style="dim"), soft_wrap=True)
        if entry.note:
            console.print(Text(wrapped(entry.note, 2), style="yellow"), soft_wrap=True)
    hint = "`anomaly-bench data fetch NAME` gets one, or says how"
    here = sum(record["state"] == "here" for record in records)
    console.print(f"\n{here} of {len(records)} are here, with so many subjects or pictures; {hint}", soft_wrap=True)
    return records
