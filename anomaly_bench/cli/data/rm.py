"""The verb `data rm`."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.text import human_bytes, plural
from anomaly_bench.cli.arguments import Records, days
from anomaly_bench.cli.completers import by_tab
from data_modules.base.errors import DataError, did_you_mean
from data_modules.store.folders import StoreInfo, final_name, list_stores, remove_store

from .ls import add_cache_dir, cache_of

ABOUT = "remove slice stores, at once and without asking; none that is being built. Runs build what they need again"
EXAMPLE = "--unused-for 30 --dry-run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    text = "a store as `anomaly-bench data ls` names it, or a dataset, for all of its stores"
    by_tab(which.add_argument("name", nargs="?", metavar="NAME", help=text), _names)
    which.add_argument("--all", action="store_true", help="every store")
    which.add_argument("--unused-for", type=days, metavar="DAYS", help="those that nothing has read for so long")
    add_cache_dir(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")


def call(options: argparse.Namespace) -> tuple[int, Records]:

    gone, kept = [], []
    for info in _chosen(options):
        try:
            if not options.dry_run:
                remove_store(info)
        except DataError as error:
            kept.append(info)
            print(f"kept {error}", file=sys.stderr)
            continue
        gone.append(info)
        print(f"{'would remove' if options.dry_run else 'removed'} {info.folder}, {human_bytes(info.bytes)}")
    freed = human_bytes(sum(info.bytes for info in gone))
    print(f"{plural(len(gone), 'slice store')}, {freed} {'would be' if options.dry_run else 'are'} free")
    removed = [asdict(info) | {"removed": not options.dry_run} for info in gone]
    return int(bool(kept)), removed + [asdict(info) | {"removed": False} for info in kept]


def _names(parsed_args: argparse.Namespace, **_: object) -> list[str]:
    stores = list_stores(cache_of(parsed_args.cache_dir))
    return sorted({name for info in stores for name in (info.name, final_name(info.folder.name))})


def _chosen(options: argparse.Namespace) -> list[StoreInfo]:

    cache = cache_of(options.cache_dir)
    stores = list_stores(cache)
    if options.all:
        return stores
    if options.unused_for is not None:
        return [info for info in stores if time.time() - info.last_used >= options.unused_for * 86400]
    chosen = [info for info in stores if options.name in (info.name, final_name(info.folder.name))]
    if not chosen:
        names = sorted({info.name for info in stores})
        hint = did_you_mean(options.name, names) if names else "there is none at all"
        raise ConfigError(
            f"{options.name}: no slice store of this name in {cache / 'stores'}; {hint} (`anomaly-bench data ls`)"
        )
    return chosen
