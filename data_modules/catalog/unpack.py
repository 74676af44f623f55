"""Archives, unpacked with distrust: nothing is written outside the folder, and no more than the disk holds.

Every member is written as a plain file or folder of this process; a link is written as a copy of the file that it points
to, so that no later member can be led out of the folder by one.
"""

from __future__ import annotations

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Literal, cast

from data_modules.base.errors import DataError

CHUNK = 2**20
BLOCK = 4096  # bytes that even an empty file costs; no honest link is longer
MOST_RATIO = 200  # of unpacked to packed bytes; images reach about 10, an archive bomb 1000
ALWAYS_ALLOWED = 2**28  # bytes that no disk minds, whatever the ratio
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError)

Kind = Literal["tar", "zip", "gz"]
SIGNS: dict[bytes, Kind] = {b"PK": "zip", b"\x1f\x8b": "gz", b"\xfd7zXZ\0": "tar", b"BZh": "tar"}


@dataclass(frozen=True)
class _Member:
    """One entry of an archive; link: the path in the archive that it stands for; stream: None for folders and links."""

    name: str
    stream: IO[bytes] | None = None
    link: str | None = None


_Members = Generator[_Member, None, None]


class DamagedArchiveError(DataError):
    """An archive that did not arrive whole, or something else in its place: worth another download."""


class _Budget:
    """Bytes that may still be written."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self.archive, self.left = archive, int(0.95 * shutil.disk_usage(folder).free)
        self.by_ratio = max(MOST_RATIO * archive.stat().st_size, ALWAYS_ALLOWED)

    def spend(self, size: int) -> None:
        self.left -= size
        self.by_ratio -= size
        if self.by_ratio < 0:
            raise DataError(
                f"{self.archive}: unpacks to more than {MOST_RATIO} times its size, as only an archive bomb does; "
                "look at it before you unpack it yourself"
            )
        if self.left < 0:
            raise DataError(
                f"{self.archive}: the disk cannot hold what it unpacks to; free some space, or set data_dir (or "
                "ANOMALY_BENCH_DATA) to a folder on another disk"
            )


def archive_kind(path: Path) -> Kind | None:
    """What the content, not the name, says: a tar (plain, gz, bz2, xz), a zip, a single gz file, or None."""
    try:
        with tarfile.open(path) as tar:
            if tar.next():  # without a member it may as well be a gz of zeros
                return "tar"
    except DAMAGED:
        pass  # no tar, or one that ends too soon, which is told as such when it is unpacked
    with path.open("rb") as stream:
        start = stream.read(6)
    return next((kind for sign, kind in SIGNS.items() if start.startswith(sign)), None)


def unpack(archive: Path, folder: Path, name: str) -> None:
    """Unpack into the (empty) folder; name: of the file in a single .gz.

    Raises DataError for an archive that is damaged or none (DamagedArchiveError) or encrypted, for a member or a link that
    leaves the folder or is absolute, for a link to what is not a file of the archive, for devices and pipes, and for more bytes
    than the disk or the ratio of an honest archive allows. Files that macOS adds (`._*`, `.DS_Store`, `__MACOSX`) are left out.
    """
    kind = archive_kind(archive)
    if kind is None:
        raise DamagedArchiveError(
            f"{archive}: is no tar, zip or gz, but perhaps a page on which the server asks for something; open its address in "
            "a browser and fetch again, or set unpack: false in about.downloads if it is to be kept as it is"
        )
    budget = _Budget(archive, folder)
    links: list[tuple[Path, Path]] = []
    try:
        with closing({"tar": _tar, "zip": _zip, "gz": _gz}[kind](archive, name)) as members:
            for member in members:
                place = _place(archive, folder, member.name, member.name)
                if place == folder or _is_clutter(place.relative_to(folder)):
                    continue
                budget.spend(BLOCK)
                if member.link is not None:
                    links.append((place, _place(archive, folder, member.name, member.link)))
                elif member.stream is None:
                    place.mkdir(parents=True, exist_ok=True)
                else:
                    _write(member.stream, place, budget)
    except DAMAGED as error:
        raise DamagedArchiveError(f"{archive}: is damaged ({error}); fetch it again") from error
    except NotImplementedError as error:
        raise DataError(f"{archive}: {error}; unpack it yourself into the dataset's folder") from error
    _copy_links(archive, folder, links, budget)


def _copy_links(archive: Path, folder: Path, links: list[tuple[Path, Path]], budget: _Budget) -> None:
    while links:
        ready = [(place, source) for place, source in links if source.is_file() and place != source]
        if not ready:
            member = links[0][0].relative_to(folder)
            raise DataError(
                f"{archive}: {member} is a link to what is not a file of the archive; unpack it yourself if you trust it"
            )
        for place, source in ready:
            with source.open("rb") as stream:
                _write(stream, place, budget)
        links = [link for link in links if link not in ready]


def _place(archive: Path, folder: Path, member: str, path: str) -> Path:
    pieces = _inside(path)
    if pieces is None:
        leads = "" if path == member else f", a link to {path},"
        raise DataError(
            f"{archive}: its member {member}{leads} would lie outside the folder; it is refused, do not trust it"
        )
    return folder.joinpath(*pieces)


def _write(stream: IO[bytes], place: Path, budget: _Budget) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("wb") as out:
        while chunk := stream.read(CHUNK):
            budget.spend(len(chunk))
            out.write(chunk)


def _inside(path: str) -> list[str] | None:
    """The pieces of a path from the top of the archive; None if it is absolute or leaves it."""
    windows = PureWindowsPath(path)
    if windows.drive or windows.root or "\0" in path:
        return None
    pieces: list[str] = []
    for piece in path.replace("\\", "/").split("/"):
        if piece == "..":
            if not pieces:
                return None
            pieces.pop()
        elif piece not in ("", "."):
            pieces.append(piece)
    return pieces


def _is_clutter(path: Path) -> bool:
    return "__MACOSX" in path.parts or path.name.startswith("._") or path.name == ".DS_Store"


def _tar(archive: Path, _: str) -> _Members:
    with tarfile.open(archive) as tar:
        for entry in tar:
            if entry.isdir():
                yield _Member(entry.name)
            elif entry.islnk():
                yield _Member(entry.name, link=entry.linkname)
            elif entry.issym():
                yield _Member(entry.name, link=_from_top(entry.name, entry.linkname))
            elif entry.isreg():
                yield _Member(entry.name, stream=tar.extractfile(entry))
            else:
                raise _device(archive, entry.name)


def _zip(archive: Path, _: str) -> _Members:
    with zipfile.ZipFile(archive) as zipped:
        for entry in zipped.infolist():
            mode = entry.external_attr >> 16 if entry.create_system == 3 else 0
            if entry.flag_bits & 1:
                raise DataError(
                    f"{archive}: {entry.filename} is encrypted; unpack it yourself into the dataset's folder"
                )
            if entry.is_dir():
                yield _Member(entry.filename)
            elif stat.S_ISLNK(mode) and entry.file_size <= BLOCK:
                target = zipped.read(entry).decode(errors="replace")
                yield _Member(entry.filename, link=_from_top(entry.filename, target))
            elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
                with zipped.open(entry) as stream:
                    yield _Member(entry.filename, stream=stream)
            else:
                raise _device(archive, entry.filename)


def _gz(archive: Path, name: str) -> _Members:
    with gzip.open(archive) as stream:
        yield _Member(name, stream=cast(IO[bytes], stream))


def _from_top(member: str, target: str) -> str:
    """Where a symbolic link leads, from the top of the archive; an absolute one stays as it is."""
    return (PurePosixPath(member).parent / target).as_posix()


def _device(archive: Path, member: str) -> DataError:
    return DataError(f"{archive}: its member {member} is neither file, folder nor link; the archive is refused")
