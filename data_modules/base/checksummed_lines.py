"""Lines of JSON that carry their own checksum: what a kill or a bad disk spoils is seen, line by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from isal import isal_zlib

crc32 = isal_zlib.crc32


def encode_line(record: Any) -> bytes:
    """A record (anything that JSON can say) as one line: the JSON, a blank, its CRC-32 in hexadecimal, a newline."""
    text = json.dumps(record, separators=(",", ":")).encode()
    return b"%s %08x\n" % (text, crc32(text))


def decode_line(line: bytes) -> Any:
    """The record of a line, with or without its newline. Raises ValueError if the line is not whole."""
    text, _, checksum = line.rstrip(b"\n").rpartition(b" ")
    if checksum != b"%08x" % crc32(text):
        raise ValueError("the checksum of a line does not fit the line")
    return json.loads(text)


def read_lines(path: Path) -> tuple[list[Any], bool]:
    """The records of a file up to the first damaged or unfinished line, and whether that is all of it."""
    records: list[Any] = []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            record = decode_line(line)
        except ValueError:
            return records, False
        if not line.endswith(b"\n"):
            return records, False
        records.append(record)
    return records, True
