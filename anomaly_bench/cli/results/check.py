"""The verb `check`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.cli.arguments import add_folder, output_file, write_text

from .leaderboard import warn

ABOUT = "compare results with a baseline; exit code 1 when worse"
EXAMPLE = ".check --baseline leaderboard/baselines/tiny_brain.json"
COMMAND = "anomaly-bench check OUT --update --baseline FILE"  # as a new baseline says where it is from
NO_RUNS = (
    "do the runs that the baseline is of; `anomaly-bench bench experiment=check` does those of the embedded datasets."
)
EXITS = "0 as good as the baseline; 1 worse, or a result is damaged; 2 something to mend"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    text = "what the results are held against; repeatable"
    parser.add_argument("--baseline", type=Path, action="append", required=True, metavar="FILE", help=text)
    parser.add_argument("--update", action="store_true", help="write the results to the baseline instead")
    parser.add_argument(
        "--dataset", metavar="NAME", help="with --update, which dataset a new baseline is of, of several"
    )
    parser.add_argument("--junit", type=output_file, metavar="FILE", help="write the verdicts as JUnit XML")


def call(options: argparse.Namespace) -> int:
    """The newest sweep of a folder against baselines."""
    from rich.console import Console

    from leaderboard.results.collect import check_folder, collect, newest_sweep
    from leaderboard.rows.aggregate import aggregate
    from leaderboard.show.check import diff_table, junit, step_summary
    from leaderboard.verdicts.check import (
        Checked,
        compare,
        make_baseline,
        read_baseline,
        setting_changes,
        write_baseline,
    )

    check_folder(options.folder)
    collection = collect(options.folder, newest_sweep(options.folder, NO_RUNS))
    warn(collection.damaged)
    rows = aggregate(collection)
    console, checks = Console(), []
    found = f"{len(collection.results)} of {len(collection.planned)} runs of the newest sweep in {options.folder}"
    console.print(found, highlight=False, markup=False, soft_wrap=True)
    for path in options.baseline:
        if options.update:
            dataset, metric = _updated(path, options.dataset, sorted({row.dataset for row in rows}))
            of_dataset = [row for row in rows if row.dataset == dataset]
            write_baseline(make_baseline(of_dataset, COMMAND, metric), path)
            console.print(f"{path}: written", highlight=False, markup=False)
            continue
        baseline = read_baseline(path)
        of_dataset = [row for row in rows if row.dataset == baseline.dataset]
        checks.append(Checked(baseline, compare(of_dataset, baseline), setting_changes(of_dataset, baseline)))
        diff_table(checks[-1], console)
    if options.junit:
        write_text(options.junit, junit(checks, collection.damaged))
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as stream:
            stream.write(step_summary(checks, collection.damaged))
    return 1 if collection.damaged or any(check.failed for check in checks) else 0


def _updated(path: Path, wanted: str | None, found: Sequence[str]) -> tuple[str, str]:
    """Dataset and metric of a baseline that is written anew: those that are in the older file.

    Of a new one pixel AUROC, and the dataset that is wanted, or the only one of the results. Raises ConfigError.
    """
    from leaderboard.verdicts.check import read_baseline

    older = read_baseline(path) if path.exists() else None
    dataset = older.dataset if older else wanted or (found[0] if len(found) == 1 else None)
    if dataset is None or dataset not in found:
        said = f"it is of {dataset}" if dataset else "it is new, and says no dataset"
        raise ConfigError(
            f"--baseline {path}: {said}; there are results of {', '.join(found)}; choose with --dataset NAME"
        )
    return dataset, older.metric if older else "auroc"
