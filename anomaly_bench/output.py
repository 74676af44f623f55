"""Writing failures of the output folder, told as what they are."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import OutputError

REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder (out=FOLDER, or OUT=FOLDER with make)",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another folder (out=FOLDER, or OUT=FOLDER with make)",
    errno.EROFS: "it is read-only: choose another folder (out=FOLDER, or OUT=FOLDER with make)",
    errno.EACCES: "there is no permission to write: choose another folder (out=FOLDER, or OUT=FOLDER with make)",
    errno.EPERM: "there is no permission to write: choose another folder (out=FOLDER, or OUT=FOLDER with make)",
    errno.ENOTDIR: "it is no folder: choose another one (out=FOLDER, or OUT=FOLDER with make)",
    errno.EEXIST: "it is no folder: choose another one (out=FOLDER, or OUT=FOLDER with make)",
}
LITTLE = 1 << 20


def check_writable(folder: Path) -> None:
    """Make the folder and try to write in it. Raises OutputError naming it and the remedy."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"0" * 4096)


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turns the failures to write below the folder, however a library words them, into OutputError."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        raise OutputError(f"{error.filename or folder}: {REMEDIES[error.errno]}; what was finished is kept") from error
    except RuntimeError as error:
        if "PytorchStreamWriter" not in str(error) or free_bytes(folder) > LITTLE:
            raise
        raise OutputError(f"{folder}: {REMEDIES[errno.ENOSPC]}; what was finished is kept") from error


def free_bytes(folder: Path) -> int:
    """Free space of the disk that holds the folder."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
