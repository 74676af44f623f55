"""Ctrl-C, SIGTERM and SIGHUP: the command ends where it is, with one message and the exit code of the signal."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import active_children
from typing import Any, NoReturn

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
OF_RUNS = ("run", "bench", "retry", "paper", "tune")
SHOW_CURSOR, NEW_LINE = "\x1b[?25h", "\n"  # as bars hide it, and ^C stands in the last line


class Stop:
    """The handler of the signals. The first one raises KeyboardInterrupt; a second one ends the process there and then.

    Whatever is being written is whole or not there, and processes of the runs die with this one: nothing is lost by it.
    """

    def __init__(self) -> None:
        self.number, self.command, self.kept = 0, "anomaly-bench", ""

    @property
    def code(self) -> int:
        """128 and the signal's number: 130 of Ctrl-C, 143 of SIGTERM."""
        return 128 + (self.number or signal.SIGINT)

    def about(self, options: argparse.Namespace) -> None:
        """What is stopped, once that is known."""
        self.command = getattr(options, "command", self.command)
        self.kept = ", and the checkpoints of runs under way" * (self.command.rpartition(" ")[2] in OF_RUNS)

    def message(self) -> str:
        """What was stopped, what is kept and how to go on."""
        terminal = sys.__stderr__ is not None and sys.__stderr__.isatty()
        name = NAMES[signal.Signals(self.number or signal.SIGINT)]
        kept = f"what was finished is kept{self.kept}: start the same command again to go on"
        return f"{(SHOW_CURSOR + NEW_LINE) * terminal}{self.command}: interrupted by {name}; {kept}\n"

    def __call__(self, number: int, _: Any) -> None:
        if self.number:
            self.end()
        self.number = number
        raise KeyboardInterrupt

    def tell(self) -> None:
        """The message, once all has been left as it should be; what is left is the end of the interpreter."""
        if self.number:
            for number in NAMES:
                signal.signal(number, signal.SIG_IGN)
            _end_children()
        with suppress(OSError):  # the terminal may be gone
            print(self.message(), end="", file=sys.stderr, flush=True)

    def end(self) -> NoReturn:
        """Without a look back: code under way may be anything, a print among it."""
        with suppress(OSError):
            os.write(2, self.message().encode())
        _end_children()
        os._exit(self.code)


def _end_children() -> None:
    """The processes of the runs, and the one that they are forked from, which sees that nobody is there after its imports."""
    for child in active_children():
        child.kill()
    server = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    if pid := getattr(server, "_forkserver_pid", None):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Handles the signals that nobody else does, nor ignores as nohup does, until a command has ended by itself."""
    stop, before = Stop(), {}
    with suppress(ValueError):  # not the main thread
        for number in NAMES:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, stop)
    try:
        yield stop
    finally:
        if not stop.number:
            for number, handler in before.items():
                signal.signal(number, handler)
