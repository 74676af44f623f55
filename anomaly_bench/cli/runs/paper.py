"""The verb `paper`: the paper's statements on every dataset at hand, from the data to a page."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.files import explained
from anomaly_bench.base.text import plural
from anomaly_bench.cli.arguments import OTHER_FILE, add_config_dir, add_overrides, output_file
from data_modules.base.errors import DataError

from .bench import add_jobs, carry_out, dry_run, with_jobs

if TYPE_CHECKING:
    from anomaly_bench.config.schema import RunConfig
    from data_modules.catalog.entries import Entry

ABOUT = "the paper's statements on every dataset at hand: all runs of experiment=paper, then a page; resumable"
EXAMPLE = "data_dir=/data --jobs 2"
EXITS = (
    "0 done; 1 a run failed or a dataset is damaged; 2 something to mend, named in one line; "
    "130 or 143 stopped by Ctrl-C or SIGTERM"
)
AT_HAND = ("here", "on first use")
NEVER = ("folder", "generic")  # names for data of one's own, which is no dataset yet
VARIABLE = "ANOMALY_BENCH_DATA"
OFFICIAL = (
    "btad",
    "mpdd",
    "mvtec_ad",
    "mvtec_ad_2",
    "visa",
)  # all of their anomalies are tested on, unless some are held out
HELD_OUT = ("dataset.split.holdout=0.2",)  # to choose on, never tested on
EMBEDDED = ("tiny_brain", "tiny_texture")
QUESTIONS = {"paper": "leaderboard.report.paper.page", "vae_settings": "leaderboard.report.paper.settings"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "data_dir=FOLDER, or dataset=a,b for these alone; any other override of the runs"
    add_overrides(parser, text)
    add = parser.add_argument
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="the folder of the runs, as out=DIR; default runs_paper (or runs_vae_settings)",
    )
    add(
        "--to",
        type=output_file,
        metavar="FILE",
        help="the page, default docs/results/paper.md; its pictures lie beside it",
    )
    add("--write-only", action="store_true", help="write the page from the runs that are there, and run nothing")
    add("--dry-run", action="store_true", help="list the datasets and runs, how they stand and the expected time")
    text = "the other question, which setting of a VAE decides the KL gradient's worth: experiment=vae_settings"
    add("--settings", action="store_true", help=text)
    add_config_dir(parser)
    add_jobs(parser)


def call(options: argparse.Namespace) -> int:
    """Which datasets there are, their runs, the page. Exit code 1 if a run or a dataset failed."""
    from anomaly_bench.config.load import load_config

    name = "vae_settings" if options.settings else "paper"
    outs = [text for text in options.overrides if text.startswith("out=")]
    others = [text for text in options.overrides if text not in outs]
    if options.out and outs:
        raise ConfigError(f"--out {options.out} {outs[0]}: the folder is given twice; leave one out")
    out = options.out or Path(load_config(outs).out if outs else f"runs_{name}")
    code = 0
    if not options.write_only:
        configs, damaged = _sound(name, others, out, options.jobs)
        if options.dry_run:
            return dry_run(configs)
        code = carry_out(configs, options.fail_fast) or int(damaged)
    write(name, out, options.to or Path("docs/results", f"{name}.md"))
    return code


def _sound(name: str, overrides: Sequence[str], out: Path, jobs: int | None) -> tuple[list[RunConfig], bool]:
    """The runs of every sound dataset, and whether another one is damaged, which is said.

    They come seed by seed, so that whoever stops early has something of each dataset.
    """
    from anomaly_bench.base.bars import reporting
    from anomaly_bench.config.grid import load_grid
    from anomaly_bench.sweep.bench import planned

    others = [text for text in overrides if not text.startswith("dataset=")]
    named = [text.partition("=")[2] for text in overrides if text.startswith("dataset=")]
    datasets = named[-1].split(",") if named else list(EMBEDDED) if name == "vae_settings" else at_hand(others)
    sound: list[RunConfig] = []
    damaged = False
    for dataset in datasets:
        chosen = [
            f"experiment={name}",
            f"dataset={dataset}",
            *HELD_OUT * (dataset in OFFICIAL),
            *others,
            f"out='{out}'",
        ]
        configs = with_jobs(load_grid(chosen), jobs)
        try:
            with reporting(None) as reporter:
                planned(configs, reporter)
            sound += configs
        except (ConfigError, DataError) as error:
            damaged = True
            print(f"left out: {dataset}: {error}", file=sys.stderr)
    if not sound:
        raise DataError(f"no run is left of {', '.join(datasets)}: mend what is said of each above")
    return sorted(sound, key=lambda config: config.seed), damaged


def at_hand(overrides: Sequence[str]) -> list[str]:
    """The datasets whose files are found, and the embedded ones. Says which are taken, and which not and why.

    Raises ConfigError if the folder that data_dir, or the environment, names is not there.
    """
    _check_data_dir(overrides)
    units = dict(_entries(overrides))
    entries = list(units)
    taken = [entry for entry in entries if entry.state in AT_HAND]
    for entry in taken:
        count = plural(entry.subjects, units[entry]) if entry.subjects is not None else entry.state
        print(f"takes     {entry.option}: {count}, {entry.root}")
    lacking = [entry for entry in entries if entry.state == "missing"]
    if lacking:
        print(
            f"lacks     {', '.join(entry.option for entry in lacking)}: no folder {lacking[0].root.parent}/NAME; "
            "`anomaly-bench data fetch NAME` gets one or says how, data_dir=FOLDER names another place"
        )
    for entry in entries:
        if entry.state not in (*AT_HAND, "missing"):
            print(f"leaves    {entry.option}: {' '.join(entry.note.split()) or entry.state}")
    return [entry.option for entry in taken]


def _check_data_dir(overrides: Sequence[str]) -> None:
    from anomaly_bench.config.load import load_config

    given = [text for text in overrides if text.partition("=")[0] == "data_dir"]
    if (given or VARIABLE in os.environ) and not (folder := load_config(given).data).is_dir():
        raise ConfigError(
            f"{(given or [f'{VARIABLE}={folder}'])[0]}: there is no such folder; give the one with a folder for each dataset"
        )


def _entries(overrides: Sequence[str]) -> Iterator[tuple[Entry, str]]:
    """Each dataset, and what is counted of it: subjects or pictures."""
    from anomaly_bench.cli.data.list import PLACES, each
    from data_modules.base.names import unit_of
    from data_modules.base.options.folders import options_of
    from data_modules.catalog.entries import look

    names = [name for name in options_of("dataset") if name not in NEVER]
    places = [text for text in overrides if text.partition("=")[0] in PLACES]
    for name, config in zip(names, each(names, places), strict=True):
        yield look(name, config.dataset, config.cache, config.data), unit_of(config.dataset)


def write(name: str, out: Path, page: Path) -> None:
    """Write the page of a question from the results in a folder, and say where it is."""
    from importlib import import_module

    from anomaly_bench.cli.results.leaderboard import warn
    from leaderboard.board import build
    from leaderboard.results.collect import collect

    collection = collect(out)
    warn(collection.damaged, collection.failed)
    with explained(page.parent, OTHER_FILE):
        pictures = import_module(QUESTIONS[name]).write_page(build(collection), page)
    print(f"wrote     {page} and {len(pictures)} pictures in {page.with_suffix('')}")
