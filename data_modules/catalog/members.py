"""The members of an archive, written into a folder: each where no other lies, and no more than an honest archive holds."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Protocol

from data_modules.base.errors import DataError
from data_modules.cases.files import speakable

from .download import need_space, one_line

CHUNK = 2**16
RATIO, PLENTY = 200, 2**30  # a bomb: so many times the archive's bytes, and more than these
MOST = 1_000_000  # members
DEEPEST = 64  # folders in one another


class DamagedArchiveError(DataError):
    """An archive that did not arrive whole, something else in its place, or one not to be trusted: not worth keeping."""


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Members:
    """What is written of an archive. files: how many there are so far.

    The methods raise DamagedArchiveError for names and sizes that no archive of data has, and NoSpaceError for a member that
    the disk cannot hold.
    """

    def __init__(self, archive: Path, folder: Path) -> None:
        self.archive, self.folder = archive, folder
        self.files = self._members = self._bytes = 0
        self._most = max(PLENTY, RATIO * archive.stat().st_size)
        self._names: dict[str, str] = {}  # by what a disk sees that tells neither case nor Unicode form

    def count(self, name: str, size: int) -> None:
        """A member more, of so many bytes."""
        self._members += 1
        if self._members > MOST:
            raise self._refused(f"it has more than {MOST} members")
        self.weigh(size, name)

    def weigh(self, size: int, name: str = "its padding") -> None:
        """So many bytes more."""
        self._bytes += size
        if self._bytes > self._most:
            raise self._refused(
                f"with {one_line(name)}, it unpacks to {self._bytes / 1e9:.3g} GB, too many for a file of "
                f"{self.archive.stat().st_size} bytes"
            )

    def check(self, name: str) -> None:
        """Refuse what could not be told from other text in a message, a list or a table."""
        if not speakable(name):
            raise self._refused(f"its member {one_line(name)} has control characters in its name")

    def make_folder(self, name: str) -> None:
        """A folder, also an empty one."""
        self._path(name).mkdir(parents=True, exist_ok=True)

    def write(self, name: str, packed: Readable, size: int | None = None, chunk: int = CHUNK) -> None:
        """A file; size: its bytes as they were counted, None if that is not known."""
        path = self._new(name)
        if size is not None:
            need_space(self.folder, size, f"{one_line(name)} of {self.archive.name}")
        with path.open("xb") as out:
            while data := packed.read(chunk):
                if size is None:
                    self.weigh(len(data), name)
                    need_space(self.folder, len(data), f"{one_line(name)} of {self.archive.name}")
                out.write(data)

    def link(self, name: str, target: str) -> None:
        """The same file as an earlier member, under another name. Raises LookupError if there is no such member."""
        first = self._relative(target)
        if self._names.get(_key(first)) != first:
            raise LookupError(f"{name} is a link to {target}, which is not there before it")
        if self._relative(name) != first:
            path = self._new(name)
            try:
                os.link(self.folder / first, path)
            except OSError:  # a disk without links, or with no more of them
                size = (self.folder / first).stat().st_size
                self.weigh(size, name)
                need_space(self.folder, size, f"{one_line(name)} of {self.archive.name}")
                shutil.copyfile(self.folder / first, path)

    def _new(self, name: str) -> Path:
        """Where a file belongs, whose folder is made."""
        relative = self._relative(name)
        if not relative:
            raise self._refused("it has a member without a name")
        if (other := self._names.get(_key(relative))) is not None:
            also = "" if other == relative else f" and {one_line(other)}"
            raise self._refused(f"two members are called {one_line(name)}{also}")
        self._names[_key(relative)] = relative
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.files += 1
        return path

    def _path(self, name: str) -> Path:
        relative = self._relative(name)
        if relative.count("/") >= DEEPEST:
            raise self._refused(f"its member {one_line(name)} lies more than {DEEPEST} folders deep")
        return self.folder / relative

    def _relative(self, name: str) -> str:
        return "/".join(part for part in PurePosixPath(name).parts if part.strip("/") not in ("", ".", ".."))

    def _refused(self, why: str) -> DamagedArchiveError:
        return DamagedArchiveError(
            f"{self.archive}: {why}; it is refused; if you trust it, unpack a copy of your own into the dataset's folder"
        )


def is_clutter(name: str) -> bool:
    """Whether a member is one that macOS adds."""
    path = PurePosixPath(name)
    return "__MACOSX" in path.parts or path.name.startswith("._") or path.name == ".DS_Store"


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
