"""The verbs of `anomaly-bench data` that look after the slice stores in the cache: ls and rm."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path


def ls_verb(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from data_modules.store import list_stores

    from .data_tables import stores_table

    cache = _cache(options.cache_dir)
    stores = list_stores(cache)
    if options.json:
        print(json.dumps([asdict(info) | {"folder": str(info.folder)} for info in stores], indent=1))
    else:
        stores_table(stores, cache)
    return 0


def rm_verb(options: argparse.Namespace) -> int:
    from data_modules.errors import DataError
    from data_modules.store import final_name, list_stores, remove_store

    from .data_tables import human_bytes
    from .errors import ConfigError

    stores = list_stores(_cache(options.cache_dir))
    if options.unused_for is not None:
        stores = [info for info in stores if time.time() - info.last_used >= options.unused_for * 86400]
    elif not options.all:
        stores = [info for info in stores if options.name in (info.name, final_name(info.folder.name))]
        if not stores:
            raise ConfigError(f"{options.name}: no slice store of this name; `anomaly-bench data ls` lists them")
    gone, in_use = [], 0
    for info in stores:
        try:
            if not options.dry_run:
                remove_store(info)
        except DataError as error:
            in_use += 1
            print(f"kept {error}", file=sys.stderr)
            continue
        gone.append(info)
        print(f"{'would remove' if options.dry_run else 'removed'} {info.folder}, {human_bytes(info.bytes)}")
    freed = human_bytes(sum(info.bytes for info in gone))
    print(f"{len(gone)} slice stores, {freed} {'would be' if options.dry_run else 'are'} free")
    return 1 if in_use else 0


def days(text: str) -> float:
    """A number of days, as the parser of the command line takes it."""
    count = float(text)
    if not count >= 0:
        raise argparse.ArgumentTypeError(f"{text}: expected a number of days, 0 or more")
    return count


def _cache(folder: Path | None) -> Path:
    from .schema import RunConfig

    return RunConfig(cache_dir=str(folder) if folder else None).cache
