"""The verbs of `anomaly-bench data` that look after the slice stores in the cache: ls and rm."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .data_json import STDOUT, check_json, write_json

if TYPE_CHECKING:
    from data_modules.store.folders import StoreInfo


def ls_verb(options: argparse.Namespace) -> int:
    from data_modules.store.folders import list_stores

    from .data_tables import stores_table

    check_json(options.json)
    cache = _cache(options.cache_dir)
    stores = list_stores(cache)
    if options.json != STDOUT:
        stores_table(stores, cache)
    write_json(options.json, [asdict(info) for info in stores])
    return 0


def rm_verb(options: argparse.Namespace) -> int:
    from data_modules.base.errors import DataError
    from data_modules.store.folders import remove_store

    from .data_tables import human_bytes, plural

    check_json(options.json)
    say = print if options.json != STDOUT else lambda _: None
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
        say(f"{'would remove' if options.dry_run else 'removed'} {info.folder}, {human_bytes(info.bytes)}")
    freed = human_bytes(sum(info.bytes for info in gone))
    say(f"{plural(len(gone), 'slice store')}, {freed} {'would be' if options.dry_run else 'are'} free")
    removed = [asdict(info) | {"removed": not options.dry_run} for info in gone]
    write_json(options.json, removed + [asdict(info) | {"removed": False} for info in kept])
    return 1 if kept else 0


def days(text: str) -> float:
    """A number of days, as the parser of the command line takes it."""
    count = float(text)
    if not count >= 0:
        raise argparse.ArgumentTypeError(f"{text}: expected a number of days, 0 or more")
    return count


def _chosen(options: argparse.Namespace) -> list[StoreInfo]:
    from anomaly_bench.base.errors import ConfigError
    from data_modules.base.errors import did_you_mean
    from data_modules.store.folders import final_name, list_stores

    cache = _cache(options.cache_dir)
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


def _cache(folder: Path | None) -> Path:
    from anomaly_bench.config.schema import RunConfig

    return RunConfig(cache_dir=str(folder) if folder else None).cache
