"""Of several processes that want the same folder of the cache one makes it, and the others wait."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)


def lock_path(folder: Path) -> Path:
    """The lock of a folder, held by the process that writes it; the file stays, since one who waits has it open."""
    return folder.parent.parent / "locks" / f"{folder.name}.lock"


@contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a folder; if another process has it, say so and wait. The lock of a dead process holds nobody.

    Raises filelock.Timeout if another process has it and this one is not to wait.
    """
    path = lock_path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise
        logger.warning("waiting for another process that prepares the same data (%s)", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
