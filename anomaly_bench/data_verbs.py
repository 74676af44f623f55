"""The verbs of `anomaly-bench data`: list, describe, verify, prepare, fetch, ls, rm."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import add_config_dir
from .store_verbs import days, ls_verb, rm_verb

if TYPE_CHECKING:
    from data_modules.module import AnomalyDataModule
    from data_modules.store import Progress

    from .schema import RunConfig

WHICH = "dataset=NAME and any of its keys, e.g. dataset=brats dataset.root=/data/BraTS dataset.modality=[flair,t1]"
Make = Callable[..., argparse.ArgumentParser]


def add_data_verbs(verbs: Any, make: Make) -> None:
    """Register `data` and its verbs; make: how the command line makes the parser of a verb. Imports nothing heavy."""
    text = "what data there is, what it holds and whether it is sound; the slice stores in the cache"
    data = verbs.add_parser("data", help=text, description=text)
    below = data.add_subparsers(required=True, metavar="VERB")

    def add(
        name: str, call: Callable[[argparse.Namespace], int], text: str, example: str, configs: bool = True
    ) -> argparse.ArgumentParser:
        parser = make(below, name, call, text)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = f"example:\n  anomaly-bench data {example}"
        if configs:
            add_config_dir(parser)
        return parser

    listing = add("list", list_verb, "every dataset: where it is expected, and whether it is there", "list")
    listing.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="data_dir=FOLDER or cache_dir=FOLDER")
    listing.add_argument("--json", action="store_true", help="print JSON")

    example = "describe dataset=brats dataset.root=/data/BraTS --out brats_pictures"
    describe = add("describe", describe_verb, "what a dataset holds, in numbers and pictures", example)
    describe.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=WHICH)
    describe.add_argument("--out", type=Path, metavar="DIR", help="for the pictures; default: describe/<dataset>")
    describe.add_argument("--json", action="store_true", help="write DIR/describe.json as well")

    example = "verify dataset=brats dataset.root=/data/BraTS"
    text = "read every file and name all that is wrong with it; exit code 1 if anything is"
    verify = add("verify", verify_verb, text, example)
    verify.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=WHICH)
    verify.add_argument("--json", type=Path, metavar="FILE", help="write the findings as JSON as well")

    example = "prepare dataset=mvtec_ad dataset.category=bottle,cable"
    prepare = add("prepare", prepare_verb, "build the slice store that a run would build first", example)
    prepare.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=WHICH)

    example = "fetch msd_brain --data-dir /data"
    fetch = add("fetch", fetch_verb, "download a dataset that may be, or say how to get it", example)
    fetch.add_argument("name", metavar="NAME", help="a dataset of `anomaly-bench data list`")
    fetch.add_argument("--accept-licence", action="store_true", help="you have read its licence and accept it")
    fetch.add_argument("--data-dir", type=Path, metavar="DIR", help="default: $ANOMALY_BENCH_DATA, else ./data")

    stores = add("ls", ls_verb, "the slice stores in the cache", "ls", configs=False)
    stores.add_argument("--cache-dir", type=Path, metavar="DIR", help="default: as runs use it")
    stores.add_argument("--json", action="store_true", help="print JSON")

    text = "remove slice stores, at once and without asking; none that is being built. Runs build what they need again"
    remove = add("rm", rm_verb, text, "rm --unused-for 30 --dry-run", configs=False)
    which = remove.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="a store as `anomaly-bench data ls` names it, or a dataset, for all of its stores",
    )
    which.add_argument("--all", action="store_true", help="every store")
    which.add_argument("--unused-for", type=days, metavar="DAYS", help="those that nothing has read for so long")
    remove.add_argument("--cache-dir", type=Path, metavar="DIR", help="default: as runs use it")
    remove.add_argument("--dry-run", action="store_true", help="only say what would be removed")


def list_verb(options: argparse.Namespace) -> int:
    from data_modules.catalog import look

    from .config import load_config
    from .data_tables import catalog_list
    from .options import options_of

    names = options_of("dataset")
    entries = []
    with bar("look for datasets") as progress:
        for done, name in enumerate(names):
            config = load_config([f"dataset={name}", *options.overrides])
            entries.append(look(name, config.dataset, config.cache, config.data))
            progress(done + 1, len(names))
    if options.json:
        print(json.dumps([entry.to_dict() for entry in entries], indent=1))
    else:
        catalog_list(entries)
    return 0


def describe_verb(options: argparse.Namespace) -> int:
    from data_modules.describe import describe
    from data_modules.names import dataset_name
    from data_modules.sheet import contact_sheet, draw_histograms

    from .data_tables import description_tables
    from .output import check_writable, explained

    remedy = "choose another folder (--out DIR)"
    configs = _configs(options.overrides)
    names = [dataset_name(config.dataset) for config in configs]
    for config, name in zip(configs, names, strict=True):
        check_writable(options.out or Path("describe"), remedy)
        data = _prepared(config)
        data.setup()
        folder = name if names.count(name) == 1 else data.store.folder.name
        out = options.out if options.out and len(configs) == 1 else (options.out or Path("describe")) / folder
        with bar("describe") as progress:
            description = describe(data, progress)
        with explained(out, remedy):
            out.mkdir(parents=True, exist_ok=True)
            contact_sheet(data, out / "sheet.png")
            draw_histograms(description, out / "histograms.png")
            if options.json:
                (out / "describe.json").write_text(json.dumps(description.to_dict(), indent=1))
        description_tables(description)
        written = ["sheet.png", "histograms.png", *(["describe.json"] if options.json else [])]
        print(f"\nPictures  {', '.join(str(out / file) for file in written)}")
    return 0


def verify_verb(options: argparse.Namespace) -> int:
    from data_modules.verify import ERROR, verify

    from .data_tables import findings_list
    from .output import check_writable, explained

    remedy = "choose another file (--json FILE)"
    if options.json:
        check_writable(options.json.absolute().parent, remedy)
    found = []
    for config in _configs(options.overrides):
        with bar(f"verify {config.dataset.name}") as progress:
            found.append(verify(_module(config, progress), progress))
        findings_list(found[-1])
    if options.json:
        plain = [one.to_dict() for one in found]
        with explained(options.json, remedy):
            options.json.write_text(json.dumps(plain[0] if len(plain) == 1 else plain, indent=1))
    return 1 if any(one.count(ERROR) for one in found) else 0


def prepare_verb(options: argparse.Namespace) -> int:
    from .data_tables import human_bytes

    for config in _configs(options.overrides):
        data = _prepared(config)
        store = data.store
        size = sum(path.stat().st_size for path in store.folder.rglob("*") if path.is_file())
        print(f"{store.folder.name}: {len(store.subjects)} subjects, {len(store)} slices, {human_bytes(size)}")
        print(f"  fingerprint {data.fingerprint}")
        print(f"  {store.folder}")
    return 0


def fetch_verb(options: argparse.Namespace) -> int:
    from data_modules.config import NiftiConfig
    from data_modules.fetch import fetch, fetch_about
    from data_modules.nifti import NiftiDataModule

    from .config import load_config

    config = load_config([f"dataset={options.name}"])
    config.data_dir = str(options.data_dir) if options.data_dir else config.data_dir
    data, dataset, accept = _module(config), config.dataset, options.accept_licence
    root = config.cache if dataset.embedded else data.root()
    with bar(f"fetch {options.name}", in_bytes=True) as progress:
        reports = [fetch(dataset, root, accept, progress)]
    healthy = dataset.healthy if isinstance(dataset, NiftiConfig) else None
    if healthy and healthy.about and isinstance(data, NiftiDataModule):
        with bar(f"fetch {healthy.name}", in_bytes=True) as progress:
            reports.append(fetch_about(healthy.name, healthy.about, data.healthy_root(), accept, progress))
    print("\n\n".join(report.message for report in reports))
    return 0 if all(report.done for report in reports) else 1


@contextmanager
def bar(title: str, in_bytes: bool = False) -> Iterator[Progress]:
    """A progress callback (done, total); a bar on standard error if that is a terminal, else nothing."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    counts = (DownloadColumn(binary_units=True), TransferSpeedColumn()) if in_bytes else (MofNCompleteColumn(),)
    columns = (TextColumn("{task.description}"), BarColumn(24), *counts, TimeRemainingColumn())
    hidden = not (sys.stderr.isatty() and console.is_terminal)
    with Progress(*columns, console=console, transient=True, disable=hidden) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total or None)


def _configs(overrides: list[str]) -> list[RunConfig]:
    """The config of every combination of values, such as dataset=a,b."""
    from .config import expand, load_config

    return [load_config(combination) for combination in expand(overrides)]


def _module(config: RunConfig, progress: Progress | None = None) -> AnomalyDataModule:
    from data_modules.build import build_module

    return build_module(config.dataset, config.cache, config.data, progress=progress)


def _prepared(config: RunConfig) -> AnomalyDataModule:
    """The data module of a config with its slice store built, unless it is there: the cache may be read-only then."""
    from .output import CACHE, explained
    from .quiet import quiet

    with quiet(), explained(config.cache, CACHE), bar(f"prepare {config.dataset.name}") as progress:
        data = _module(config, progress)
        data.prepare_data()
    return data
