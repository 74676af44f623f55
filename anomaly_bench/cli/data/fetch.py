"""The verb `data fetch`, which needs no torch and reads no picture."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from anomaly_bench.base.text import wrapped
from anomaly_bench.cli.arguments import Records, add_config_dir
from anomaly_bench.cli.completers import by_tab, datasets

if TYPE_CHECKING:
    from anomaly_bench.config.schema import RunConfig
    from data_modules.catalog.fetch import FetchReport

ABOUT = "download a dataset that may be, or say how to get it"
EXAMPLE = "msd_brain --data-dir /data"
EXITS = "0 the data are there; 2 something to mend or to do by hand, named in one line"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    by_tab(parser.add_argument("name", metavar="NAME", help="a dataset of `anomaly-bench data list`"), datasets)
    parser.add_argument("--accept-licence", action="store_true", help="you have read its licence and accept it")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="default: $ANOMALY_BENCH_DATA, else ./data")
    add_config_dir(parser)


def call(options: argparse.Namespace) -> tuple[int, Records]:
    from anomaly_bench.config.load import load_config

    config = load_config([f"dataset={options.name}"])
    config.data_dir = str(options.data_dir) if options.data_dir else config.data_dir
    reports: list[FetchReport] = []
    for report in _fetch(config, options.accept_licence):
        print(("\n" if reports else "") + wrapped(report.message))
        reports.append(report)
    by_hand = [str(report.folder) for report in reports if not report.done]
    if by_hand:
        print(
            f"anomaly-bench: {', '.join(by_hand)}: no program can fetch this; take the steps that are told",
            file=sys.stderr,
        )
    return 2 if by_hand else 0, [asdict(report) for report in reports]


def _fetch(config: RunConfig, accept: bool) -> Iterator[FetchReport]:
    """The dataset, then its healthy cohort if it has one; nothing large is begun without a word on it."""
    from anomaly_bench.base.bars import bar
    from data_modules.base.config import NiftiConfig
    from data_modules.base.names import folder_of
    from data_modules.catalog.fetch import fetch
    from data_modules.embedded import embedded_root

    dataset, data = config.dataset, config.data
    root = embedded_root(dataset.embedded, config.cache) if dataset.embedded else folder_of(dataset, data)
    healthy = dataset.healthy if isinstance(dataset, NiftiConfig) else None
    parts = [(dataset.name, dataset.about, root)]
    if healthy and healthy.about:
        _tell(f"{dataset.name} is two datasets: one to test on, in {root}, and {healthy.name} to train on")
        parts.append((healthy.name, healthy.about, folder_of(healthy, data)))
    for name, about, place in parts:
        with bar(f"fetch {name}", in_bytes=True) as progress:
            yield fetch(name, about, place, accept, progress, tell=_tell)


def _tell(text: str) -> None:
    print(wrapped(text), file=sys.stderr)
