"""Archives, unpacked with distrust: `tarfile` with its filter for data and `zipfile` say what there is, `members` writes it.

A symbolic link is refused, since members that come after it may be led out of the folder by it.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from data_modules.base.errors import DataError

from .download import one_line
from .members import CHUNK, DamagedArchiveError, Members, is_clutter

# what the readers raise where they do not understand, and what members that stand in each other's way make of the disk
DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError),
    *(ValueError, LookupError, ArithmeticError, RecursionError, MemoryError),
)
CONTRADICTORY = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, None)

Kind = Literal["tar", "zip", "gz"]
SIGNS: dict[bytes, Kind] = {b"PK": "zip", b"\x1f\x8b": "gz", b"\xfd7zXZ\0": "tar", b"BZh": "tar"}
OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\0": lzma.open, b"BZh": bz2.open}
FOREIGN = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
    b"\x28\xb5\x2f\xfd": "zst",
    b"\x04\x22\x4d\x18": "lz4",
    b"LZIP": "lzip",
    b"MSCF": "cab",
}
TAR_NAME = re.compile(r"\.(tar|tgz)(\.gz)?$", re.IGNORECASE)
GLOBAL_HEADERS = 100
TAR_HEADER = 2**16  # bytes that all headers of a member may take: names have at most 4096, maps of holes seldom more
TAR_READ = 2**14  # bytes of one of them
ENDLESS = re.compile(rb"[0-9]{256}|[0-9] [^=]{1000}")  # a number and a keyword of which that parsing takes the square
ZIP_DIRECTORY = 2**26  # bytes of the list of members


def archive_kind(path: Path) -> Kind | None:
    """What the content, not the name, says: a tar (plain, gz, bz2, xz), a zip, a single gz file, or None."""
    try:
        with _open_tar(path) as (_, tar):
            if tar.next():  # without a member it may as well be a gz of zeros
                return "tar"
    except (*DAMAGED, OSError):
        pass  # no tar, or one that ends too soon, which is told as such when it is unpacked
    start = _start(path)
    return next((kind for sign, kind in SIGNS.items() if start.startswith(sign)), None)


def unpack(archive: Path, folder: Path, name: str) -> None:
    """Unpack into the (empty) folder; name: of the file in a single .gz.

    A zip's member that would leave the folder is put into it instead, and so is a tar's with an absolute name. Files that
    macOS adds (`._*`, `.DS_Store`, `__MACOSX`) are left out.
    Raises DamagedArchiveError for an archive that is damaged, none, or not to be trusted: a tar's member that would leave the
    folder by `..` or a link, two members of one name, a header or a size beyond reason; NoSpaceError for a member that the
    disk cannot hold; DataError for what a person may unpack: links, devices, encrypted members, 7z, rar.
    """
    kind = archive_kind(archive)
    if kind is None:
        raise _no_archive(archive)
    if kind == "tar" and not hasattr(tarfile, "data_filter"):
        raise DataError(
            f"{archive}: a tar is unpacked by Python 3.11.4 or later, which keeps its members from leaving the folder; update "
            "Python, or unpack it yourself into the dataset's folder"
        )
    members = Members(archive, folder)
    try:
        if kind == "tar":
            _unpack_tar(archive, members)
        elif kind == "zip":
            _unpack_zip(archive, members)
        elif TAR_NAME.search(archive.name):
            raise tarfile.ReadError("there is no tar in it")
        else:
            with gzip.open(archive) as packed:
                members.write(name, packed)
    except DataError:
        raise
    except tarfile.FilterError as error:
        raise DamagedArchiveError(f"{archive}: its member {error}; it is refused, do not trust it") from error
    except NotImplementedError as error:  # what zipfile cannot read
        raise DataError(f"{archive}: {error}; unpack it yourself into the dataset's folder") from error
    except (*DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno not in CONTRADICTORY:
            raise  # the disk's fault
        raise DamagedArchiveError(f"{archive}: is damaged ({one_line(error)}); fetch it again") from error
    if not members.files:
        raise DamagedArchiveError(f"{archive}: holds no file; fetch it again")


class _Bounded(io.BufferedReader):
    """A file that gives its reader `left` bytes, and no more until that is set anew; None: as many as are asked for."""

    left: int | None = None
    most: int | None = None  # bytes at once, while left is set

    def read(self, size: int | None = -1, /) -> bytes:
        if self.left is None:
            return super().read(size)
        most = min(self.left, self.most or self.left)
        data = super().read(size if size is not None and 0 <= size <= most else most + 1)
        self.left -= len(data)
        if len(data) > most or (self.most and ENDLESS.search(data)):
            raise tarfile.ReadError("a header is larger than any file needs")
        return data


@contextmanager
def _open_tar(path: Path) -> Iterator[tuple[_Bounded, tarfile.TarFile]]:
    """The decompressed bytes of a tar, and tarfile's view of them, which is kept from headers without end."""
    with _Bounded(_opener(path)(path, "rb")) as stream:
        stream.left, stream.most = TAR_HEADER, TAR_READ
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            yield stream, tar


def _unpack_tar(archive: Path, members: Members) -> None:
    with _open_tar(archive) as (stream, tar):
        while (member := tar.next()) is not None:
            vars(tar)["members"].clear()  # which grows with the archive
            stream.left = None
            members.count(member.name, member.size)
            if len(tar.pax_headers) > GLOBAL_HEADERS or not _is_sound(member):
                raise tarfile.ReadError(f"the header of {member.name} contradicts itself")
            if not is_clutter(member.name):
                _unpack_member(archive, tar, member, members)
            stream.left = TAR_HEADER
        stream.left = None
        stream.seek(tar.offset)
        end = stream.read(tarfile.BLOCKSIZE)
        while chunk := end:
            members.weigh(len(chunk))
            if chunk.count(0) < len(chunk):
                raise tarfile.ReadError("something else follows its last member")
            end = stream.read(CHUNK)
        if not stream.tell() > tar.offset:
            raise tarfile.ReadError("it ends without its end mark")


def _unpack_member(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, members: Members) -> None:
    members.check(member.name)
    if member.issym():
        raise _link(archive, member.name)
    name = tarfile.data_filter(member, str(members.folder)).name
    if member.isdir():
        members.make_folder(name)
    elif member.islnk():
        members.link(name, member.linkname)
    elif member.isreg():
        packed = tar.extractfile(member)
        assert packed is not None
        members.write(name, packed, member.size)
    else:
        raise _link(archive, member.name)


def _is_sound(member: tarfile.TarInfo) -> bool:
    """Whether the size is one, and the parts of a file with holes lie in it, one after the other."""
    end = 0
    for start, size in getattr(member, "sparse", None) or ():
        if not (end <= start and size >= 0):
            return False
        end = start + size
    return 0 <= end <= member.size


def _unpack_zip(archive: Path, members: Members) -> None:
    with _Bounded(archive.open("rb", buffering=0)) as stream:
        stream.left = ZIP_DIRECTORY
        zipped = zipfile.ZipFile(stream)
        stream.left = None
        listed = zipped.infolist()
        if _start(archive).startswith(b"PK\3\4") and min((each.header_offset for each in listed), default=0) > 0:
            raise zipfile.BadZipFile("something else lies before its first member")
        for member in listed:
            name = member.filename.replace("\\", "/")  # as some programs of Windows write it
            members.count(name, member.file_size)
            if is_clutter(name):
                continue
            members.check(name)
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _link(archive, name)
            if member.flag_bits & 1:
                raise NotImplementedError(f"its member {one_line(name)} is encrypted")
            if name.endswith("/"):
                members.make_folder(name)
                continue
            bounded = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            with zipped.open(member) as packed:  # bz2 and lzma give all that they find in what is read at once
                members.write(name, packed, member.file_size, CHUNK if bounded else 2**12)


def _start(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(6)


def _opener(path: Path) -> Callable[..., Any]:
    start = _start(path)
    return next((opener for sign, opener in OPENERS.items() if start.startswith(sign)), Path.open)


def _no_archive(archive: Path) -> DataError:
    start = _start(archive)
    for sign, name in FOREIGN.items():
        if start.startswith(sign):
            return DataError(f"{archive}: is a {name} archive; unpack it yourself into the dataset's folder")
    return DamagedArchiveError(
        f"{archive}: is no tar, zip or gz, but perhaps a page on which the server asks for something; open its address in "
        "a browser and fetch again, or set unpack: false in about.downloads if it is to be kept as it is"
    )


def _link(archive: Path, name: str) -> DataError:
    return DataError(
        f"{archive}: its member {one_line(name)} is a link or a device, no file; unpack it yourself if you trust it"
    )
