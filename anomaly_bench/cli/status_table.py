"""How a sweep stands, as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from anomaly_bench.runs.code_digest import source_digest
from anomaly_bench.sweep.job import title
from anomaly_bench.sweep.states import STATES, Standing, estimate, standings
from leaderboard.results.collect import PlannedRun

LISTED = ("running", "queued", "failed")


@dataclass(frozen=True)
class View:
    """What is shown, and whether there is nothing more to come."""

    shown: RenderableType
    over: bool


def overview(runs: Sequence[PlannedRun], out: Path, differs: Mapping[str, str]) -> View:
    """Counts for each setting, the runs that go on or have failed, and the time that is left.

    differs: by setting id, what tells it from others of the same dataset, model and beta.
    """
    found = standings(runs, out)
    shown = [state for state in STATES if state == "done" or _count(found, state)]
    kinds = ["dataset", "model", "beta", *(["setting"] if differs else [])]
    table = Table(title=escape(f"{_count(found, 'done')}/{len(found)} runs done"))
    for head in (*kinds, *shown):
        table.add_column(head, overflow="fold")
    counts: dict[tuple[str, ...], Counter[str]] = {}
    for one in found:
        key: tuple[str, ...] = (
            one.run.dataset,
            one.run.model,
            f"{one.run.beta:g}",
            differs.get(one.run.setting_id, ""),
        )
        counts.setdefault(key[: len(kinds)], Counter())[one.state] += 1
    for key, count in counts.items():
        table.add_row(*map(escape, key), *(str(count[state] or "") for state in shown))
    lines = [f"{one.state}: {_title(one.run, differs)} ({one.detail})" for one in found if one.state in LISTED]
    lines += _remarks(found, max(1, _count(found, "running")), out)
    return View(Group(table, *map(escape, lines)), _count(found, "done") + _count(found, "failed") == len(found))


def listing(runs: Sequence[PlannedRun], out: Path, differs: Mapping[str, str], jobs: int) -> RenderableType:
    """Every run with its state, and the expected time with `jobs` at once; differs: as in `overview`."""
    found = standings(runs, out)
    table = Table("run", "state", "", title=escape(f"{len(found)} runs, {_count(found, 'done')} done"))
    for one in found:
        table.add_row(escape(_title(one.run, differs)), one.state, escape(one.detail))
    return Group(table, *map(escape, _remarks(found, jobs, out)))


def _remarks(found: Sequence[Standing], jobs: int, out: Path) -> list[str]:
    """The time that is left, and what else should be known."""
    lines, left = [], estimate(found)
    if left.seconds:
        at_once = f" with {jobs} at once" if jobs > 1 else ""
        lines.append(f"about {timedelta(seconds=round(left.seconds / jobs))} left{at_once}")
    if left.unknown:
        lines.append(f"expected time not known of {left.unknown}, as no run of their dataset and model is finished")
    others = sum(one.finished is not None and one.finished.source != source_digest() for one in found)
    if others:
        lines.append(
            f"{others} results are of another version of the code; `bench` would do those runs again, as others"
        )
    if _count(found, "failed"):
        lines.append(f"`anomaly-bench retry {out}` does the failed runs again")
    return lines


def _count(found: Sequence[Standing], state: str) -> int:
    return sum(one.state == state for one in found)


def _title(run: PlannedRun, differs: Mapping[str, str]) -> str:
    return title(run.dataset, run.model, run.beta, differs.get(run.setting_id, ""), run.seed)
