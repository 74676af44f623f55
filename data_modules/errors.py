"""The error that a user's data can cause."""

from __future__ import annotations

from collections.abc import Callable


class DataError(ValueError):
    """Data that cannot be used; the message names the file or key and the remedy (the command line exits with 2)."""


Report = Callable[[DataError], None]


def stop(error: DataError) -> None:
    """The report of a run: the first problem ends it. The doctor of `anomaly-bench data verify` collects them instead."""
    raise error


class NoSpaceError(DataError):
    """The disk would not hold what is to be written: nothing is wrong with the data."""
