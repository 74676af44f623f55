"""Progress of a sweep and of the run in hand, with the time that is left."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

MOMENT = 0.2  # seconds


class Reporter:
    """Takes the news of a run and shows nothing: the base of those that do."""

    def run(self, title: str) -> None:
        """A run begins."""

    def stage(self, title: str, total: int) -> None:
        """A stage of the run, of `total` steps, begins."""

    def advance(self, steps: int = 1) -> None:
        """Steps of the stage are done."""

    def note(self, text: str) -> None:
        """A word on how the stage stands."""

    def say(self, line: str) -> None:
        """A line that the user should read."""

    def finished(self, line: str, timed: bool = True) -> None:
        """A run has ended; one line says how. timed: whether it was done just now, so that its time tells something."""

    def lane(self, title: str) -> Reporter:
        """A reporter for one of several runs that go on at once; the run's title is that of the lane."""
        del title
        return self

    def leave(self) -> None:
        """The run of this lane is over."""

    def steps(self, title: str) -> StageSteps:
        """A callback (done, total) that shows a stage of known length."""
        return StageSteps(self, title)


class StageSteps:
    """Turns (done, total) calls into a stage of a reporter."""

    def __init__(self, reporter: Reporter, title: str) -> None:
        self.reporter, self.title, self.done = reporter, title, -1

    def __call__(self, done: int, total: int) -> None:
        if self.done < 0 or done < self.done:
            self.reporter.stage(self.title, total)
            self.done = 0
        self.reporter.advance(done - self.done)
        self.done = done


class PipeReporter(Reporter):
    """Sends the news to another process, as ('news', method, arguments), steps and notes gathered for a moment.

    send: raises OSError when nobody listens any more, which ends this process.
    """

    def __init__(self, send: Callable[[Any], None]) -> None:
        self.send, self.steps_done, self.last_note, self.sent = send, 0, "", 0.0

    def flush(self) -> None:
        """Send what was gathered."""
        self.sent = time.monotonic()
        steps, note, self.steps_done, self.last_note = self.steps_done, self.last_note, 0, ""
        if steps:
            self._tell("advance", steps)
        if note:
            self._tell("note", note)

    def stage(self, title: str, total: int) -> None:
        self.flush()
        self._tell("stage", title, total)

    def advance(self, steps: int = 1) -> None:
        self.steps_done += steps
        self._flush_sometimes()

    def note(self, text: str) -> None:
        self.last_note = text
        self._flush_sometimes()

    def say(self, line: str) -> None:
        self._tell("say", line)

    def _flush_sometimes(self) -> None:
        if time.monotonic() - self.sent > MOMENT:
            self.flush()

    def _tell(self, method: str, *arguments: Any) -> None:
        try:
            self.send(("news", method, arguments))
        except OSError:
            os._exit(1)


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


@contextmanager
def reporting(runs: int) -> Iterator[Reporter]:
    """A reporter for a sweep of `runs`: bars on a terminal, lines elsewhere; both on standard error."""
    console = Console(stderr=True)
    if not (sys.stderr.isatty() and console.is_terminal):
        yield PlainReporter(console, runs)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeLeftColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        yield BarReporter(console, runs, bars)
