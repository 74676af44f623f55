"""Archives, unpacked with distrust: by `tarfile`'s filter for data and `zipfile`'s cleaning of names, and without links.

A symbolic link is refused, since members that come after it may be led out of the folder by it.
"""

from __future__ import annotations

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Literal

from data_modules.base.errors import DataError

from .download import need_space

DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError)
# members that stand in each other's way, and a hard link to what is not in its tar
CONTRADICTORY = (IsADirectoryError, NotADirectoryError, KeyError)

Kind = Literal["tar", "zip", "gz"]
SIGNS: dict[bytes, Kind] = {b"PK": "zip", b"\x1f\x8b": "gz", b"\xfd7zXZ\0": "tar", b"BZh": "tar"}


class DamagedArchiveError(DataError):
    """An archive that did not arrive whole, or something else in its place: worth another download."""


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

    A zip's member that would leave the folder is put into it instead, and so is a tar's with an absolute name. Files that
    macOS adds (`._*`, `.DS_Store`, `__MACOSX`) are left out.
    Raises DataError for an archive that is damaged or none (DamagedArchiveError) or encrypted, for a tar's member that would
    leave the folder by `..` or a link, for symbolic links, devices and pipes, and for a member that the disk cannot hold.
    """
    kind = archive_kind(archive)
    if kind is None:
        raise DamagedArchiveError(
            f"{archive}: is no tar, zip or gz, but perhaps a page on which the server asks for something; open its address in "
            "a browser and fetch again, or set unpack: false in about.downloads if it is to be kept as it is"
        )
    if kind == "tar" and not hasattr(tarfile, "data_filter"):
        raise DataError(
            f"{archive}: a tar is unpacked by Python 3.11.4 or later, which keeps its members from leaving the folder; update "
            "Python, or unpack it yourself into the dataset's folder"
        )
    try:
        if kind == "tar":
            _unpack_tar(archive, folder)
        elif kind == "zip":
            _unpack_zip(archive, folder)
        else:
            with gzip.open(archive) as packed, (folder / name).open("wb") as out:
                shutil.copyfileobj(packed, out)
    except tarfile.FilterError as error:
        raise DataError(f"{archive}: its member {error}; it is refused, do not trust it") from error
    except (*DAMAGED, *CONTRADICTORY) as error:
        raise DamagedArchiveError(f"{archive}: is damaged ({error}); fetch it again") from error
    except NotImplementedError as error:  # what zipfile cannot read
        raise DataError(f"{archive}: {error}; unpack it yourself into the dataset's folder") from error


def _unpack_tar(archive: Path, folder: Path) -> None:
    def checked(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
        if _is_clutter(member.name):
            return None
        if member.issym():
            raise _link(archive, member.name)
        need_space(folder, member.size, f"{member.name} of {archive.name}")
        return tarfile.data_filter(member, path)

    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter=checked)


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            if _is_clutter(member.filename):
                continue
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _link(archive, member.filename)
            if member.flag_bits & 1:
                raise NotImplementedError(f"its member {member.filename} is encrypted")
            need_space(folder, member.file_size, f"{member.filename} of {archive.name}")
            zipped.extract(member, folder)


def _is_clutter(name: str) -> bool:
    path = PurePosixPath(name)
    return "__MACOSX" in path.parts or path.name.startswith("._") or path.name == ".DS_Store"


def _link(archive: Path, name: str) -> DataError:
    return DataError(f"{archive}: its member {name} is a link or a device, no file; unpack it yourself if you trust it")
