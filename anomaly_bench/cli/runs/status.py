"""The verb `status`: how a sweep stands, as tables."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.cli.arguments import add_folder
from anomaly_bench.cli.results.leaderboard import warn
from anomaly_bench.runs.code_digest import source_digest
from anomaly_bench.tuning import BEST_FILE, STUDY_FILE
from leaderboard.amounts import amount

if TYPE_CHECKING:
    from rich.console import RenderableType

    from anomaly_bench.sweep.states import Standing
    from leaderboard.results.collect import PlannedRun

ABOUT = "how the runs of a sweep stand, and the time that is left"
EXAMPLE = "runs --watch"
LISTED = ("running", "queued", "failed", "damaged")
OVER = ("done", "failed", "damaged")
NAMED = 6  # undertrained runs
WATCH = 2.0  # seconds between two looks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sweep(parser)
    parser.add_argument("--watch", action="store_true", help="look again and again, until all is done")


def add_sweep(parser: argparse.ArgumentParser) -> None:
    """Which runs a verb is to look at."""
    add_folder(parser)
    parser.add_argument("--all", action="store_true", help="of all sweeps in the folder, not of the newest alone")


def call(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.live import Live

    console, (runs, differs) = Console(), planned_runs(options)
    if not options.watch:
        console.print(overview(runs, options.folder, differs)[0])
        return 0
    with suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while True:
            shown, over = overview(runs, options.folder, differs)
            live.update(shown, refresh=True)
            if over:
                break
            time.sleep(WATCH)
    if not console.is_terminal:
        print()  # the last look goes without a line's end
    return 0


def planned_runs(options: argparse.Namespace) -> tuple[list[PlannedRun], dict[str, str]]:
    """The runs of the newest sweep in the folder, or of all, and in what settings differ. Raises ResultError for none."""
    from anomaly_bench.config.differences import differences_of
    from leaderboard.results.collect import newest_sweep, read_sweeps

    found, damaged = read_sweeps(options.folder)
    if not (found or damaged):
        _check_no_study(options.folder)
    chosen = set() if options.all and found else newest_sweep(options.folder)
    warn(damaged)
    sweeps = [sweep for sweep in found.values() if options.all or {run.run_id for run in sweep.runs} == chosen]
    runs = {run.run_id: run for sweep in sweeps for run in sweep.runs}
    differs = {key: text for sweep in sweeps for key, text in sweep.differs.items()}
    if len(sweeps) > 1:  # each knows its own settings alone
        files = ((run, options.folder / run.folder / "config.yaml") for run in runs.values())
        differs |= differences_of({run.setting_id: file for run, file in files if file.exists()})
    return list(runs.values()), differs


def _check_no_study(folder: Path) -> None:
    """Raises ConfigError for the folder of a study: `bench`, which else would be named, has no part in it."""
    if any((folder / name).exists() for name in (STUDY_FILE, BEST_FILE)):
        raise ConfigError(
            f"{folder}: a study of `anomaly-bench tune` and no sweep; the same `tune` command goes on with it, "
            f"`anomaly-bench leaderboard {folder}` shows its runs"
        )


def overview(runs: Sequence[PlannedRun], out: Path, differs: Mapping[str, str]) -> tuple[RenderableType, bool]:
    """Counts for each setting, the runs that go on or have failed, and the time that is left; whether all is over.

    differs: by setting id, what tells it from others of the same dataset, model and beta.
    """
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    from anomaly_bench.sweep.states import STATES, standings
    from leaderboard.results.collect import title_of

    found = standings(runs, out)
    shown = [state for state in STATES if state == "done" or _count(found, state)]
    kinds = ["dataset", "model", "beta", *(["setting"] if differs else [])]
    table = Table(title=escape(f"{_count(found, 'done')}/{len(found)} runs done"))
    for head in (*kinds, *shown):
        table.add_column(head, overflow="fold")
    counts: dict[tuple[str, ...], Counter[str]] = {}
    for standing in found:
        run = standing.run
        key: tuple[str, ...] = (run.dataset, run.model, f"{run.beta:g}", differs.get(run.setting_id, ""))
        counts.setdefault(key[: len(kinds)], Counter())[standing.state] += 1
    for key, count in counts.items():
        table.add_row(*map(escape, key), *(str(count[state] or "") for state in shown))
    lines = [f"{one.state}: {title_of(one.run, differs)} ({one.detail})" for one in found if one.state in LISTED]
    lines += _undertrained(found, differs)
    lines += _remarks(found, max(1, _count(found, "running")), out)
    return Group(table, *map(escape, lines)), all(one.state in OVER for one in found)


def listing(runs: Sequence[PlannedRun], out: Path, differs: Mapping[str, str], jobs: int) -> RenderableType:
    """Every run with its state, and the expected time with `jobs` at once; differs: as in `overview`."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    from anomaly_bench.sweep.states import standings
    from leaderboard.results.collect import title_of

    found = standings(runs, out)
    heads = ["run", "state", *[""] * any(one.detail for one in found)]
    table = Table(*heads, title=escape(f"{len(found)} runs, {_count(found, 'done')} done"))
    for one in found:
        table.add_row(*(escape(title_of(one.run, differs)), one.state, escape(one.detail))[: len(heads)])
    return Group(table, *map(escape, _remarks(found, jobs, out)))


def _undertrained(found: Sequence[Standing], differs: Mapping[str, str]) -> list[str]:
    """Which finished runs might have gone on, at most NAMED of them by name."""
    from leaderboard.results.collect import title_of

    titles = [title_of(one.run, differs) for one in found if one.finished is not None and one.finished.undertrained]
    if not titles:
        return []
    more = f" and {len(titles) - NAMED} more" if len(titles) > NAMED else ""
    done = _count(found, "done")
    return [
        f"{len(titles)} of {done} finished runs have their best epoch last, train longer (trainer.max_epochs): "
        f"{', '.join(titles[:NAMED])}{more}"
    ]


def _remarks(found: Sequence[Standing], jobs: int, out: Path) -> list[str]:
    """The time that is left, and what else should be known."""
    from anomaly_bench.sweep.states import estimate

    lines, left = [], estimate(found)
    if left.seconds:
        at_once = f" with {jobs} at once" if jobs > 1 else ""
        lines.append(f"about {timedelta(seconds=round(left.seconds / jobs))} left{at_once}")
    if left.unknown:
        lines.append(
            f"expected time of {amount(left.unknown, 'runs')} not known, as no run of that dataset and model is finished"
        )
    others = sum(one.finished is not None and one.finished.source != source_digest() for one in found)
    if others:
        lines.append(
            f"{others} results are of another version of the code; `bench` would do those runs again, as others"
        )
    if _count(found, "failed"):
        lines.append(f"`anomaly-bench retry {out}` does the failed runs again")
    if damaged := [str(out / one.run.folder) for one in found if one.state == "damaged"]:
        lines.append(f"move away {', '.join(damaged)}; then the same `anomaly-bench bench` does what was damaged again")
    return lines


def _count(found: Sequence[Standing], state: str) -> int:
    return sum(one.state == state for one in found)
