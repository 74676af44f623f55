"""Processes that are forked from a warm one: a fresh interpreter that has imported torch and the rest, and nothing more.

What is forked from a process that has computed something lacks its threads and would hang; the standard library's
forkserver is one that has not. Each process does one call and sends what comes of it; when its parent dies, so does it.
"""

from __future__ import annotations

import faulthandler
import os
import pkgutil
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

from anomaly_bench.base.progress import PipeReporter, Reporter

from .run_log import tell_of_interrupt

PRELOAD = "anomaly_bench.sweep.preload"
PATIENCE = 5.0  # seconds that a process has to end by itself
MOMENT = 0.3  # seconds that it has when it is stopped
_leaving = threading.Lock()


@dataclass
class Worker:
    """A process at work and the pipe that its news come through: ('news', method, arguments), then ('result', value)."""

    process: BaseProcess
    pipe: Connection

    def stop(self) -> None:
        """End it, at once: whatever it was writing is whole or not there."""
        self.pipe.close()
        self.process.join(MOMENT)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def died(self) -> str:
        """How a process ended that sent no result."""
        self.process.join(PATIENCE)
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"its process ended with exit code {code}"
        name = signal.Signals(-code).name
        memory = ", most likely by the system for lack of memory: fewer jobs, or a smaller trainer.batch_size"
        return f"its process was killed ({name}{memory if name == 'SIGKILL' else ''})"


def warm_up() -> None:
    """Start the warm process, unless there is one, and return while it imports."""
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()  # before, as it gives the signal free
    context = get_context("forkserver")
    context.set_forkserver_preload([PRELOAD])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # a terminal's Ctrl-C is for this process alone
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start(
    call: str,
    arguments: tuple[Any, ...],
    log: Path | None = None,
    environment: Mapping[str, str] | None = None,
    threads: int | None = None,
) -> Worker:
    """Call `module:function(*arguments, reporter)` in a process of its own.

    log: the file for what it prints, else it prints where this one does. environment: variables in addition to this
    process's; threads: of each torch operation.
    """
    warm_up()
    context = get_context("forkserver")
    ours, theirs = context.Pipe()
    surroundings = {**os.environ, **(environment or {})}
    task = (theirs, call, arguments, log, surroundings, Path.cwd(), threads)
    process = context.Process(target=_main, args=task, daemon=True)
    process.start()
    theirs.close()
    return Worker(process, ours)


class DiedError(RuntimeError):
    """A process ended without a result; code: its exit code, None if it is not known."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker.died())
        self.code = worker.process.exitcode


def call(name: str, arguments: tuple[Any, ...], reporter: Reporter, **options: Any) -> Any:
    """The result of `start`, whose options these are, with its news to the reporter.

    Raises what the function raises, and DiedError.
    """
    worker = start(name, arguments, **options)
    try:
        while True:
            kind, *content = worker.pipe.recv()
            if kind == "result":
                return content[0]
            if kind == "error":
                raise content[0]
            tell(reporter, content)
    except EOFError:
        raise DiedError(worker) from None
    finally:
        worker.stop()


def tell(reporter: Reporter, content: list[Any]) -> None:
    """Hand the news of a process on."""
    method, arguments = content
    getattr(reporter, method)(*arguments)


def _main(
    pipe: Connection,
    name: str,
    arguments: tuple[Any, ...],
    log: Path | None,
    environment: dict[str, str],
    cwd: Path,
    threads: int | None,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    signal.signal(signal.SIGTERM, _die)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    if log is not None:
        print_to(log)
    faulthandler.enable()
    threading.Thread(target=_die_with_parent, args=(pipe,), daemon=True).start()
    reporter = PipeReporter(partial(_send, pipe))
    warnings.showwarning = lambda message, *_, **__: _warn(reporter, str(message), log is not None)
    try:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        result = pkgutil.resolve_name(name)(*arguments, reporter)
        message = ("result", result)
    except Exception as error:
        error.add_note(traceback.format_exc())
        message = ("error", error)
    reporter.flush()
    _send(pipe, message)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # nothing is left to do, and libraries' exit handlers take their time


def _die(number: int, _: Any) -> None:
    """As if nothing handled the signal: a trainer, which would end the epoch and then fail, leaves a handler alone."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _die_with_parent(pipe: Connection) -> None:
    try:
        pipe.recv()
    except (EOFError, OSError):
        _leave()


def _send(pipe: Connection, message: Any) -> None:
    try:
        pipe.send(message)
    except OSError:  # the parent has died, or is done with this process
        _leave()


def _leave() -> NoReturn:
    """Nobody waits for what this process does any more. Threads may see it at the same time: the first one does it all."""
    _leaving.acquire()
    tell_of_interrupt()
    os._exit(1)


def print_to(log: Path) -> None:
    """Whatever this process prints from now on is added to the file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _warn(reporter: Reporter, text: str, logged: bool) -> None:
    if logged:
        print(f"warning: {text}", file=sys.stderr)
    reporter.say(f"warning: {text}")
