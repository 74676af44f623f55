"""What a failed run leaves in its folder. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

from leaderboard.collect import FAILURE_FILE

from ..output import explained
from .job import Job

TAIL = 4000  # characters of a log that a failure shows


def write_failure(job: Job, reason: str, details: str) -> None:
    """Leave the reason in the run's folder, in the first line, and the details below. Raises OutputError."""
    with explained(job.folder):
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / FAILURE_FILE).write_text(f"{reason}\n\n{details}", encoding="utf-8")


def tail(log: Path) -> str:
    """The end of a log."""
    try:
        return log.read_text(encoding="utf-8", errors="replace")[-TAIL:]
    except OSError:
        return "(there is none)"
