"""Gzip files: decompressed whole by libdeflate, the quickest decoder, where their size is known; else as a stream."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, cast

import deflate
from isal import igzip

TRAILER = 4  # bytes at the end of a file: the size of its content modulo 2^32
LARGEST = 1 << 32  # bytes of content from which on the trailer does not tell the size
FOOTER = 1 << 16  # bytes that may follow the content that is asked for


def decompressed(file: Path, size: int) -> bytearray | None:
    """The content of a gzip file, at least `size` bytes, its checksum verified; None if it has to be read as a stream.

    That is so of a file of several members, of 4 GiB or more, of another size than expected, and of a damaged one, so that
    the stream's reader says what is wrong with it.
    """
    if not 0 < size < LARGEST - FOOTER:
        return None
    packed = file.read_bytes()
    told = int.from_bytes(packed[-TRAILER:], "little")
    if not size <= told <= size + FOOTER:
        return None
    try:
        content = deflate.gzip_decompress(packed, told)
    except (deflate.DeflateError, ValueError):
        return None
    return content if len(content) == told else None  # else a first member of several


def open_gzip(file: str | os.PathLike[str]) -> BinaryIO:
    """The content of a gzip file as a stream, which raises OSError, EOFError or zlib.error where the file is damaged."""
    return cast(BinaryIO, igzip.open(file, "rb"))
