"""The verb `ensemble`: its arguments and its table."""

from __future__ import annotations

import argparse
import statistics
import sys
import traceback
from collections.abc import Sequence

from anomaly_bench.cli.arguments import add_folder
from anomaly_bench.cli.completers import by_tab, runs_below
from leaderboard.record import RunResult

ABOUT = "combine the models of each setting's seeds: calibrated maps, rows of their own in the leaderboard"
EXAMPLE = "runs --how max"
EXITS = "0 done; 1 a setting failed; 2 something to mend, named in one line"
WAYS = ("probit", "tail", "mean", "product", "max")
METRICS = ("auroc", "ap", "dice")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    add = parser.add_argument
    add("--how", choices=WAYS, default=WAYS[0], help="of the seeds' calibrated maps, default probit")
    text = "ids of the runs to combine, or their beginnings; default: all"
    by_tab(add("--members", nargs="+", default=[], metavar="RUN", help=text), runs_below)
    add("--predictors", nargs="+", default=[], metavar="NAME", help="the rows to combine; default: all of the runs")


def call(options: argparse.Namespace) -> int:
    """Combine, print a table of ensembles beside their single seeds. Exit code 1 if a setting failed."""
    from anomaly_bench.base.bars import reporting
    from anomaly_bench.config.differences import differences_of
    from anomaly_bench.ensembles.finished import find_settings
    from anomaly_bench.ensembles.seeds import combine_all
    from anomaly_bench.localization.trained import CONFIG_FILE

    settings, damaged = find_settings(options.folder, options.members)
    for message in damaged:
        print(f"left out: {message}", file=sys.stderr)
    differs = differences_of({runs[0].result.setting_id: runs[0].folder / CONFIG_FILE for runs in settings})
    with reporting(len(settings)) as reporter:
        done, failed = combine_all(settings, options.folder, options.how, options.predictors, reporter, differs)
    for runs, result in done:
        print_ensemble([run.result for run in runs], result, differs.get(result.setting_id, ""))
    for title, error in failed.items():
        if options.debug:
            traceback.print_exception(error)
        print(f"failed: {title}: {error}", file=sys.stderr)
    return 1 if failed else 0


def print_ensemble(seeds: Sequence[RunResult], ensemble: RunResult, differs: str) -> None:
    """Each predictor's mean over single seeds → what the ensemble of all of them reaches, on test.

    differs: in what the setting differs from others of the same dataset and model.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    names = ", ".join(str(result.seed) for result in seeds)
    setting = ", ".join(filter(None, (ensemble.dataset, ensemble.model, f"beta {ensemble.beta:g}", differs)))
    title = escape(f"{setting}: mean of seeds {names} → their ensemble")
    table = Table("predictor", *(Column(metric, justify="right") for metric in METRICS), title=title)
    for row, reached in ensemble.predictors.items():
        name = row.rpartition("@")[0]
        cells = []
        for metric in METRICS:
            alone = [value for one in seeds if (value := one.predictors[name].test[metric].value) is not None]
            together = reached.test[metric].value
            cells.append(f"{_text(statistics.mean(alone) if alone else None)} → {_text(together)}")
        table.add_row(name, *cells)
    Console().print(table)


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
