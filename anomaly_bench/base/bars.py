"""Progress on standard error: bars on a terminal, lines or nothing elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from .progress import Reporter


class PlainReporter(Reporter):
    """One line per finished run, for logs; what a run in a lane says begins with its title."""

    def __init__(self, console: Console, runs: int) -> None:
        self.console, self.runs, self.done, self.timed, self.start = console, runs, 0, 0, 0.0

    def run(self, title: str) -> None:
        self.start = self.start or time.monotonic()

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def finished(self, line: str, timed: bool = True) -> None:
        self.done += 1
        self.timed += timed
        left = (time.monotonic() - self.start) / self.timed * (self.runs - self.done) if self.timed else 0.0
        eta = f"; about {timedelta(seconds=round(left))} left" if left else ""
        self.say(f"[{self.done}/{self.runs}] {line}{eta}")

    def lane(self, title: str) -> Reporter:
        return PlainLane(self, title)


class BarReporter(PlainReporter):
    """Two bars: the sweep's and the stage's."""

    def __init__(self, console: Console, runs: int, bars: Progress) -> None:
        super().__init__(console, runs)
        self.bars = bars
        self.sweep: TaskID = bars.add_task("runs", total=runs, note="")
        self.current: TaskID = bars.add_task("", total=None, visible=False, note="")
        self.title = ""

    def run(self, title: str) -> None:
        super().run(title)
        self.title = title

    def stage(self, title: str, total: int) -> None:
        self.bars.reset(self.current, total=total, description=f"{self.title} {title}".strip(), visible=True, note="")

    def advance(self, steps: int = 1) -> None:
        self.bars.advance(self.current, steps)

    def note(self, text: str) -> None:
        self.bars.update(self.current, note=text)

    def finished(self, line: str, timed: bool = True) -> None:
        super().finished(line, timed)
        self.bars.advance(self.sweep)

    def lane(self, title: str) -> Reporter:
        return Lane(self, title)


class PlainLane(Reporter):
    """Says whose words it passes on."""

    def __init__(self, sweep: PlainReporter, title: str) -> None:
        self.sweep, self.title = sweep, title

    def run(self, title: str) -> None:
        self.sweep.run(title)

    def say(self, line: str) -> None:
        self.sweep.say(f"{self.title}: {line}")


class Lane(PlainLane):
    """A bar of its own for one of several runs."""

    def __init__(self, sweep: BarReporter, title: str) -> None:
        super().__init__(sweep, title)
        self.bars = sweep.bars
        self.task = self.bars.add_task(title, total=None, note="")

    def stage(self, title: str, total: int) -> None:
        self.bars.reset(self.task, total=total, description=f"{self.title} {title}".strip(), visible=True, note="")

    def advance(self, steps: int = 1) -> None:
        self.bars.advance(self.task, steps)

    def note(self, text: str) -> None:
        self.bars.update(self.task, note=text)

    def leave(self) -> None:
        self.bars.remove_task(self.task)


class TimeLeftColumn(ProgressColumn):
    """Time left at the mean speed so far: right for the few, slow steps of a sweep."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        if not task.completed or task.total is None or task.elapsed is None:
            return Text("-:--:-- left")
        return Text(f"{timedelta(seconds=round(task.elapsed / task.completed * (task.total - task.completed)))} left")


def _bars(*columns: ProgressColumn) -> Progress:
    """Bars with a title and these columns; disabled where standard error is no terminal."""
    console = Console(stderr=True)
    hidden = not (sys.stderr.isatty() and console.is_terminal)
    titled = (TextColumn("{task.description}"), BarColumn(24), *columns)
    return Progress(*titled, console=console, transient=True, disable=hidden)


@contextmanager
def bar(title: str, in_bytes: bool = False, then: str = "") -> Iterator[Callable[[int, int], None]]:
    """A progress callback (done, total) with a bar, or nothing.

    then: the title when all is done and the caller is not, who has something to do with it.
    """
    counts = (DownloadColumn(binary_units=True), TransferSpeedColumn()) if in_bytes else (MofNCompleteColumn(),)
    with _bars(*counts, TimeRemainingColumn()) as bars:
        task = bars.add_task(title, total=None)

        def show(done: int, total: int) -> None:
            description = then if then and done >= total else title
            bars.update(task, completed=done, total=total or None, description=description)

        yield show


@contextmanager
def reporting(runs: int) -> Iterator[Reporter]:
    """A reporter for a sweep of `runs`: bars, or lines."""
    note = TextColumn("{task.fields[note]}")
    with _bars(MofNCompleteColumn(), TimeElapsedColumn(), TimeLeftColumn(), note) as bars:
        yield PlainReporter(bars.console, runs) if bars.disable else BarReporter(bars.console, runs, bars)
