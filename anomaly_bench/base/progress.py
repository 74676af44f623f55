"""Progress of a sweep and of the run in hand, with the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

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

    def steps(self, title: str) -> Callable[[int, int], None]:
        """A callback (done, total) that shows a stage of known length, from its start again when done falls."""
        before = -1

        def show(done: int, total: int) -> None:
            nonlocal before
            if not 0 <= before <= done:
                self.stage(title, total)
                before = 0
            self.advance(done - before)
            before = done

        return show


class PipeReporter(Reporter):
    """Sends the news to another process, as ('news', method, arguments), steps and notes gathered for a moment.

    send: is given each, and ends this process when nobody listens any more.
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
        self.send(("news", method, arguments))
