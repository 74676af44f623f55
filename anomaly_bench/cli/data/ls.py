"""The verb `data ls`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from anomaly_bench.base.text import human_bytes, human_days, plural
from anomaly_bench.cli.arguments import Records
from data_modules.store.folders import StoreInfo, final_name, list_stores

ABOUT = "the slice stores in the cache"
EXAMPLE = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_cache_dir(parser)


def add_cache_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache-dir", type=Path, metavar="DIR", help="default: as runs use it")


def call(options: argparse.Namespace) -> tuple[int, Records]:

    cache = cache_of(options.cache_dir)
    stores = list_stores(cache)
    _print_stores(stores, cache)
    return 0, [asdict(info) for info in stores]


def cache_of(folder: Path | None) -> Path:
    from anomaly_bench.config.schema import RunConfig

    return RunConfig(cache_dir=str(folder) if folder else None).cache


def _print_stores(stores: Sequence[StoreInfo], cache: Path) -> None:
    """The slice stores, by dataset and last use."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("store", overflow="fold")
    for title in ("subjects", "slices", "size", "unused"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for info in stores:
        state = Text("whole", "green") if info.whole else Text("unreadable", "yellow")
        size, used = human_bytes(info.bytes), human_days(time.time() - info.last_used)
        table.add_row(final_name(info.folder.name), f"{info.subjects:,}", f"{info.slices:,}", size, used, state)
    if stores:
        console.print(table)
    total = human_bytes(sum(info.bytes for info in stores))
    if not all(info.whole for info in stores):
        console.print("unreadable: unfinished, damaged, or of another version; `anomaly-bench data rm NAME` removes it")
    console.print(f"{plural(len(stores), 'slice store')}, {total}, in {cache / 'stores'}", soft_wrap=True)
