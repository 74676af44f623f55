"""A run's log: a line for each time that it was begun, below it what was said, warned of and printed, and how it ended."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from anomaly_bench.base.progress import Reporter

_open: list[TextIO] = []  # logs of the runs that this process is at


@contextmanager
def run_log(path: Path, printed: bool) -> Iterator[TextIO]:
    """The log of a run that begins now, written line by line. Raises OSError.

    printed: what this process prints goes there by itself (processes.print_to); else it goes there as well.
    """
    with path.open("a", buffering=1, encoding="utf-8") as log:
        print(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {socket.gethostname()}, process {os.getpid()}", file=log)
        _open.append(log)
        try:
            with nullcontext() if printed else _copied(log):
                yield log
        except KeyboardInterrupt:
            print("interrupted", file=log)
            raise
        finally:
            _open.remove(log)


def tell_of_interrupt() -> None:
    """The last line of the logs of all runs that this process is at, which is about to end without a look back."""
    for log in _open:
        print("interrupted", file=log)


class Said(Reporter):
    """A reporter whose lines are logged too."""

    def __init__(self, reporter: Reporter, log: TextIO) -> None:
        self.reporter, self.log = reporter, log

    def stage(self, title: str, total: int) -> None:
        self.reporter.stage(title, total)

    def advance(self, steps: int = 1) -> None:
        self.reporter.advance(steps)

    def note(self, text: str) -> None:
        self.reporter.note(text)

    def say(self, line: str) -> None:
        print(line, file=self.log)
        self.reporter.say(line)


class _Copy:
    """A stream whose text is logged too, but for what rich draws on it."""

    def __init__(self, stream: Any, log: TextIO) -> None:
        self.stream, self.log = stream, log
        self.rich_proxied_file = getattr(stream, "rich_proxied_file", stream)

    def write(self, text: str) -> int:
        self.log.write(text)
        return int(self.stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def _copied(log: TextIO) -> Iterator[None]:
    out: Any = _Copy(sys.stdout, log)
    err: Any = _Copy(sys.stderr, log)
    with redirect_stdout(out), redirect_stderr(err):
        yield
