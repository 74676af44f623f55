"""The verbs of `anomaly-bench data` on the command line; imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anomaly_bench.config.folders import add_config_dir

from .catalog_verbs import fetch_verb, list_verb
from .data_json import add_json
from .dataset_verbs import describe_verb, prepare_verb, verify_verb
from .store_verbs import days, ls_verb, rm_verb

WHICH = "dataset=NAME and any of its keys, e.g. dataset=brats dataset.root=/data/BraTS dataset.modality=[flair,t1]"
Make = Callable[..., argparse.ArgumentParser]


def add_data_verbs(verbs: Any, make: Make) -> None:
    """Register `data` and its verbs; make: how the command line makes the parser of a verb."""
    text = "what data there is, what it holds and whether it is sound; the slice stores in the cache"
    data = verbs.add_parser("data", help=text, description=text)
    below = data.add_subparsers(required=True, metavar="VERB")

    def add(name: str, call: Callable[[argparse.Namespace], int], text: str, example: str) -> argparse.ArgumentParser:
        parser = make(below, name, call, text)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = f"example:\n  anomaly-bench data {example}"
        add_json(parser)
        return parser

    _add_catalog(add)
    _add_datasets(add)
    _add_stores(add)


def _add_catalog(add: Make) -> None:
    listing = add("list", list_verb, "every dataset: where it is expected, and whether it is there", "list")
    listing.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="data_dir=FOLDER or cache_dir=FOLDER")
    add_config_dir(listing)

    example = "fetch msd_brain --data-dir /data"
    fetch = add("fetch", fetch_verb, "download a dataset that may be, or say how to get it", example)
    fetch.add_argument("name", metavar="NAME", help="a dataset of `anomaly-bench data list`")
    fetch.add_argument("--accept-licence", action="store_true", help="you have read its licence and accept it")
    fetch.add_argument("--data-dir", type=Path, metavar="DIR", help="default: $ANOMALY_BENCH_DATA, else ./data")
    add_config_dir(fetch)


def _add_datasets(add: Make) -> None:
    example = "describe dataset=brats dataset.root=/data/BraTS --out brats_pictures"
    describe = add("describe", describe_verb, "what a dataset holds, in numbers and pictures", example)
    describe.add_argument("--out", type=Path, metavar="DIR", help="for the pictures; default: describe/<dataset>")

    example = "verify dataset=brats dataset.root=/data/BraTS --all-modalities"
    text = "read every file and name all that is wrong with it; exit code 1 if anything is"
    verify = add("verify", verify_verb, text, example)
    text = "read the files of every modality that the layout knows, not of dataset.modality alone"
    verify.add_argument("--all-modalities", action="store_true", help=text)

    example = "prepare dataset=mvtec_ad dataset.category=bottle,cable"
    prepare = add("prepare", prepare_verb, "build the slice store that a run would build first", example)
    for parser in (describe, verify, prepare):
        parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=WHICH)
        add_config_dir(parser)


def _add_stores(add: Make) -> None:
    stores = add("ls", ls_verb, "the slice stores in the cache", "ls")
    stores.add_argument("--cache-dir", type=Path, metavar="DIR", help="default: as runs use it")

    text = "remove slice stores, at once and without asking; none that is being built. Runs build what they need again"
    remove = add("rm", rm_verb, text, "rm --unused-for 30 --dry-run")
    which = remove.add_mutually_exclusive_group(required=True)
    text = "a store as `anomaly-bench data ls` names it, or a dataset, for all of its stores"
    which.add_argument("name", nargs="?", metavar="NAME", help=text)
    which.add_argument("--all", action="store_true", help="every store")
    which.add_argument("--unused-for", type=days, metavar="DAYS", help="those that nothing has read for so long")
    remove.add_argument("--cache-dir", type=Path, metavar="DIR", help="default: as runs use it")
    remove.add_argument("--dry-run", action="store_true", help="only say what would be removed")
