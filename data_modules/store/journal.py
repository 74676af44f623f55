"""The journal of a slice store: what the store holds, case by case, and where the bytes of each lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from data_modules.base.checksummed_lines import read_lines

FORMAT = 6
JOURNAL = "journal.jsonl"
FILES = ("image", "foreground", "mask", "region", "index")


@dataclass(frozen=True)
class Header:
    """What a store holds.

    settings: everything that changes pixels; fingerprint: of the settings and the files' content; reuse: what two stores
    have in common if a case of the same files has the same bytes in both, empty if that is not known.
    """

    name: str
    fingerprint: str
    settings: dict[str, Any]
    storage: str = "float16"
    format: int = FORMAT
    reuse: str = ""


@dataclass(frozen=True)
class Entry:
    """A case in the journal.

    shape (n, C, H, W); sizes and checksums, per file, how many bytes of it are the case's and their CRC-32; zero and levels,
    per channel of a store in uint8: a pixel q stands for (q - zero) / levels; pixels, per channel, the digest of its slices,
    empty for a channel of a single value; content, the digest of the case's files, empty if it is not known.
    """

    subject: str
    shape: Sequence[int]
    sizes: Sequence[int]
    checksums: Sequence[int]
    kept: int
    dropped: int
    geometry: dict[str, Any]
    zero: Sequence[int] = ()
    levels: Sequence[float] = ()
    pixels: Sequence[str] = ()
    content: str = ""


class Journal(NamedTuple):
    """What a journal says up to its first damaged line; finished: whether its last line says that this is all.

    header: None if it is damaged or of another format.
    """

    header: Header | None = None
    entries: Sequence[Entry] = ()
    finished: bool = False


def read_journal(folder: Path) -> Journal:
    records, sound = read_lines(folder / JOURNAL)
    if not records or records[0].get("format") != FORMAT:
        return Journal()
    header, *lines = records
    entries = [Entry(**line) for line in lines if "subject" in line]
    return Journal(Header(**header), entries, sound and lines[len(entries) :] == [last_line(len(entries))])


def last_line(cases: int) -> dict[str, int]:
    """What the journal of a whole store ends with."""
    return {"cases": cases}


def offsets(entries: Sequence[Entry]) -> list[list[int]]:
    """Where each case begins in each file, and at last where the files end."""
    ends = [list(accumulate((entry.sizes[file] for entry in entries), initial=0)) for file in range(len(FILES))]
    return [list(case) for case in zip(*ends, strict=True)]
