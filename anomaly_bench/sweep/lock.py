"""The lock of a run: a file that its holder keeps fresh, on any file system that machines share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from filelock import LeaseCompromise, SoftFileLease, Timeout

from .job import Job

LOCKS_FOLDER = ".locks"
LOST = 75  # exit code of a process whose run another one has taken
LEASE = 60.0  # seconds without a sign of life after which another machine may take a run


def lock_of(job: Job) -> SoftFileLease:
    """The lock of a job. On its holder's machine it is free as soon as the holder is dead, elsewhere after LEASE seconds."""
    folder = job.out / LOCKS_FOLDER
    folder.mkdir(exist_ok=True)
    return lease(folder / f"{job.identity.folder}.lock")


def lease(path: Path) -> SoftFileLease:
    return SoftFileLease(path, lease_duration=LEASE, on_compromise=_lost, thread_local=False)


def taken(lock: SoftFileLease) -> bool:
    """Try to take the lock, at once or not at all."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def _lost(compromise: LeaseCompromise) -> None:
    """Whoever has been thought dead must not go on beside the one that took its run."""
    print(
        f"{compromise.lock_file}: {compromise.reason}; another process has taken this run", file=sys.stderr, flush=True
    )
    os._exit(LOST)
