"""What a file is that cannot be read as what it should be, by its first bytes."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data_modules.base.errors import DataError

HEAD = 1 << 12
AGAIN = "copy it again"
NIFTI, GZIP, POINTER = "a NIfTI file", "a file packed by gzip", "a pointer of git-lfs in place of the file"
SERVED = "such as a server gives in place of a file"
SUCH_AS = {"picture": "PNG, JPEG, TIFF", "volume": "NIfTI, MetaImage", "map": "NIfTI, NumPy, TIFF, PNG"}
NIFTI_SIZES = tuple(size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big"))  # of the header
SIGNS = {  # first bytes: what it is
    b"\x1f\x8b": GZIP,
    b"version https://git-lfs": POINTER,
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"BM": "a BMP picture",
    b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture",
    b"%PDF": "a PDF file",
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"BZh": "a file packed by bzip2",
    b"\xfd7zXZ": "a file packed by xz",
    b"\x28\xb5\x2f\xfd": "a file packed by zstandard",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"ObjectType": "a MetaImage file",
    b"NRRD": "an NRRD file",
}
FITTING = {  # whose damage is not a question of what they are
    "picture": ("a PNG picture", "a JPEG picture", "a GIF picture", "a BMP picture", "a TIFF picture"),
    "volume": (NIFTI, "a MetaImage file"),
    "map": ("a PNG picture", "a BMP picture", "a TIFF picture", "a NumPy array", "a zip archive", NIFTI),
}


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turns whatever a library makes of a damaged file into a DataError that names it and says what it is.

    what: it should be, one of FITTING.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # there is no list of what a fuzzed file raises
        if known := what_it_is(path, what):
            raise DataError(f"{path}: cannot be read as a {what}: it is {known[0]}; {known[1]}") from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        reason = reason.replace(f"{str(path)!r}", path.name).replace(str(path), path.name).replace("; ", ", ")
        raise DataError(
            f"{path}: cannot be read as a {what} ({reason}); it is damaged or no {what}: {AGAIN}"
        ) from error


def what_it_is(path: Path, what: str) -> tuple[str, str] | None:
    """What a file is that should be a `what`, and the remedy; None if its first bytes do not say."""
    if path.is_dir():
        return "a folder", "name a file in it"
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError:
        return None
    if not head:
        return "empty, 0 bytes long", AGAIN
    packed, kind = path.name.lower().endswith((".gz", ".mgz")), _kind(head)
    if kind == GZIP and packed:
        inside = _kind(_unpacked(head))
        if inside == NIFTI and NIFTI not in FITTING[what]:
            return NIFTI, _other(what)
        if inside not in (None, NIFTI):
            return f"{inside} that gzip has packed", AGAIN
        return None if (damage := _damage(path)) is None else (damage, AGAIN)
    if kind == GZIP:
        named = path.name.lower().endswith((".nii", ".img"))  # of which packed ones are read
        return f"{GZIP} with another ending", f"call it {path.name}.gz" if named else "unpack it with gunzip"
    if packed and kind == NIFTI:
        return f"{NIFTI} that is not compressed", f"call it {path.name[: -len('.gz')]}"
    if packed and kind is None:
        return "not compressed by gzip, as its ending says", AGAIN
    if kind is None or kind in FITTING[what]:
        return None
    if kind == POINTER:
        return kind, "run git lfs pull where it comes from"
    return kind, AGAIN if kind.endswith(SERVED) else _other(what)


def _other(what: str) -> str:
    """The remedy for a file of another kind."""
    return f"give a {what} ({SUCH_AS[what]}), or copy it again if it should be one"


def _kind(head: bytes) -> str | None:
    """What begins with these bytes."""
    if head[:4] in NIFTI_SIZES:
        return NIFTI
    if head[128:132] == b"DICM":
        return "a DICOM file"
    if sign := next((sign for sign in SIGNS if head.startswith(sign)), None):
        return SIGNS[sign]
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return f"an HTML page, {SERVED}"
    if text.startswith((b"<?xml", b"<")):
        return f"an XML file, {SERVED}"
    return None if not head or any(byte < 9 or 13 < byte < 32 for byte in head) else "a text file"


def _damage(path: Path) -> str | None:
    """What is wrong with a file that gzip has packed, read to its end."""
    try:
        with gzip.open(path) as stream:
            while stream.read(1 << 20):
                pass
    except EOFError:
        return f"cut off, after {path.stat().st_size} bytes"
    except (OSError, zlib.error):
        return "damaged within its compressed data"
    return None


def _unpacked(head: bytes) -> bytes:
    with suppress(zlib.error):
        return zlib.decompressobj(31).decompress(head)
    return b"\0"
