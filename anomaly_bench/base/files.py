"""Writing failures of the output folder, told as what they are."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import OutputError

REASONS = {
    errno.ENOSPC: "the disk is full: free some space or",
    errno.EDQUOT: "the disk quota is used up: free some space or",
    errno.EROFS: "it is read-only:",
    errno.EACCES: "there is no permission to write:",
    errno.EPERM: "there is no permission to write:",
    errno.ENOTDIR: "it is no folder:",
    errno.EEXIST: "it is no folder:",
    errno.EISDIR: "it is a folder: give the name of a file in it, or",
    errno.ENOENT: "it cannot be made, or its folder was removed meanwhile: start again, or",
    errno.ELOOP: "its links go round in a circle:",
    errno.ENAMETOOLONG: "its name is too long:",
}
OUT = "choose another folder (out=FOLDER)"
CACHE = "choose another folder (cache_dir=FOLDER, or ANOMALY_BENCH_CACHE=FOLDER)"
LITTLE = 1 << 20


def check_writable(folder: Path, remedy: str = OUT) -> None:
    """Try to write in the folder, or where it is to be made. Raises OutputError naming it and the remedy.

    It is not made: what is refused later leaves nothing behind.
    """
    with explained(folder, remedy):
        there = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(b"0" * 4096)


@contextmanager
def explained(folder: Path, remedy: str = OUT) -> Iterator[None]:
    """Turns the failures to write below the folder, however a library words them, into OutputError."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        if error.errno not in REASONS:
            raise
        below = error.filename and folder in Path(str(error.filename)).parents
        place = Path(str(error.filename)) if below else folder
        if place != folder and (place.name.startswith("tmp") or place.suffix == ".tmp"):
            place = place.parent  # nobody knows the names of files that are only there while another one is written
        raise OutputError(f"{place}: {REASONS[error.errno]} {remedy}; what was finished is kept") from error
    except RuntimeError as error:
        if "PytorchStreamWriter" not in str(error) or free_bytes(folder) > LITTLE:
            raise
        raise OutputError(f"{folder}: {REASONS[errno.ENOSPC]} {remedy}; what was finished is kept") from error


def free_bytes(folder: Path) -> int:
    """Free space of the disk that holds the folder."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
