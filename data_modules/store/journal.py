"""The journal of a slice store: what the store holds, case by case, and where the bytes of each lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from data_modules.base.checksummed_lines import read_lines

FORMAT = 4
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

    shape (n, C, H, W); ends and checksums, per file, where the case's bytes end and their CRC-32; zero and levels, per
    channel of a store in uint8: a pixel q stands for (q - zero) / levels; pixels, per channel, the digest of its slices,
    empty for a channel of a single value; content, the digest of the case's files, empty if it is not known.
    """

    subject: str
    shape: Sequence[int]
    ends: Sequence[int]
    checksums: Sequence[int]
    kept: int
    dropped: int
    geometry: dict[str, Any]
    zero: Sequence[int] = ()
    levels: Sequence[float] = ()
    pixels: Sequence[str] = ()
    content: str = ""

    def after(self, ends: Sequence[int]) -> Entry:
        """The entry, with ends relative to its own start, for files that end where `ends` says."""
        return replace(self, ends=[before + length for before, length in zip(ends, self.ends, strict=True)])


def read_journal(folder: Path) -> tuple[Header | None, list[tuple[Entry, int]], bool]:
    """The header, the entries with the offsets of their lines' ends, and whether the last line says that it is all.

    Reads up to the first damaged line; None if the header is damaged or of another format.
    """
    header, entries = None, []
    for record, end in read_lines(folder / JOURNAL):
        if header is None:
            if record.get("format") != FORMAT:
                break
            header = Header(**record)
        elif "subject" in record:
            entries.append((Entry(**record), end))
        else:
            size = (folder / JOURNAL).stat().st_size
            return header, entries, record == last_line(len(entries)) and end == size
    return header, entries, False


def last_line(cases: int) -> dict[str, int]:
    """What the journal of a whole store ends with."""
    return {"cases": cases}


def as_record(line: Header | Entry) -> dict[str, Any]:
    """A header or an entry as JSON can say it."""
    return asdict(line)
