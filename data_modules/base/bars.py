"""Bars on standard error, where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


def bars(*columns: ProgressColumn) -> Progress:
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
    with bars(*counts, TimeRemainingColumn()) as shown:
        task = shown.add_task(title, total=None)

        def show(done: int, total: int) -> None:
            description = then if then and done >= total else title
            shown.update(task, completed=done, total=total or None, description=description)

        yield show
