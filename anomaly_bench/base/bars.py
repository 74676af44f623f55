"""Progress on standard error: bars on a terminal, lines or nothing elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.progress import MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from data_modules.base.bars import bar as bar
from data_modules.base.bars import bars

from .progress import Reporter
from .text import harmless


class Stage(Reporter):
    """A bar for the stage that a run is in."""

    def __init__(self, bars: Progress, title: str = "") -> None:
        self.bars, self.title = bars, title
        self.task = bars.add_task(title, total=None, visible=bool(title), note="")

    def stage(self, title: str, total: int) -> None:
        self.bars.reset(self.task, total=total, description=f"{self.title} {title}".strip(), visible=True, note="")

    def advance(self, steps: int = 1) -> None:
        self.bars.advance(self.task, steps)

    def note(self, text: str) -> None:
        self.bars.update(self.task, note=text)


class SweepReporter(Stage):
    """A bar of all runs above that of the stage, and one line per finished run; the lines alone if bars are disabled."""

    def __init__(self, bars: Progress, runs: int) -> None:
        self.runs, self.done, self.timed, self.start = runs, 0, 0, 0.0
        self.all = bars.add_task("runs", total=runs, note="")
        super().__init__(bars)

    def run(self, title: str) -> None:
        self.start = self.start or time.monotonic()
        self.title = title

    def say(self, line: str) -> None:
        self.bars.console.print(harmless(line), highlight=False, markup=False, soft_wrap=True)

    def finished(self, line: str, timed: bool = True) -> None:
        self.done += 1
        self.timed += timed
        left = (time.monotonic() - self.start) / self.timed * (self.runs - self.done) if self.timed else 0.0
        eta = f"; about {timedelta(seconds=round(left))} left" if round(left) else ""
        self.say(f"[{self.done}/{self.runs}] {line}{eta}")
        self.bars.advance(self.all)

    def lane(self, title: str) -> Reporter:
        return Lane(self, title)


class Lane(Stage):
    """A bar of its own for one of several runs; what it says begins with its title."""

    def __init__(self, sweep: SweepReporter, title: str) -> None:
        super().__init__(sweep.bars, title)
        self.sweep = sweep

    def run(self, title: str) -> None:
        self.sweep.start = self.sweep.start or time.monotonic()

    def say(self, line: str) -> None:
        self.sweep.say(f"{self.title}: {line}")

    def leave(self) -> None:
        self.bars.remove_task(self.task)


class TimeLeftColumn(ProgressColumn):
    """Time left at the mean speed so far: right for the few, slow steps of a sweep."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        if not task.completed or task.total is None or task.elapsed is None:
            return Text("-:--:-- left")
        return Text(f"{timedelta(seconds=round(task.elapsed / task.completed * (task.total - task.completed)))} left")


@contextmanager
def reporting(runs: int | None) -> Iterator[Reporter]:
    """A reporter for a sweep of `runs`: bars, or lines; of None the bar of a stage alone, for what will be said again."""
    note = TextColumn("{task.fields[note]}")
    with bars(MofNCompleteColumn(), TimeElapsedColumn(), TimeLeftColumn(), note) as shown:
        yield Stage(shown) if runs is None else SweepReporter(shown, runs)
