"""Files that are read as a whole: none that would never end."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

LARGEST = 2**28  # bytes; no table, note or result of a study has as many


def regular(path: Path, largest: int = LARGEST) -> Path:
    """The path. Raises OSError if nothing is there, for a pipe or a device, which may have no end, and too large a file."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):  # a folder is named where it is read
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")
    if status.st_size > largest:
        raise OSError(errno.EFBIG, f"it has {status.st_size} bytes, more than the {largest} that are read")
    return path
