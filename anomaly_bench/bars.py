"""A progress bar for the verbs that have no trainer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(title: str, in_bytes: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A progress callback (done, total); a bar on standard error if that is a terminal, else nothing."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    counts = (DownloadColumn(binary_units=True), TransferSpeedColumn()) if in_bytes else (MofNCompleteColumn(),)
    columns = (TextColumn("{task.description}"), BarColumn(24), *counts, TimeRemainingColumn())
    hidden = not (sys.stderr.isatty() and console.is_terminal)
    with Progress(*columns, console=console, transient=True, disable=hidden) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total or None)
