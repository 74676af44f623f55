"""What the files of cases hold, as digests: what a store is named after, and how a leak between splits is seen."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data_modules.base.digests import DigestCache, Progress, unreadable
from data_modules.base.errors import DataError
from data_modules.base.names import file_and_frame, slices_of
from data_modules.cases.case import Case

HEADER = 1 << 16  # bytes in which a .mha says where its voxels are


class Content(NamedTuple):
    """Digests of the files of a subject; of a channel of a file, with the channel; label: of its label or of all its masks."""

    subject: str
    images: dict[str, str]
    label: str | None
    brain_mask: str | None


def read_contents(cases: Sequence[Case], cache: DigestCache, progress: Progress | None = None) -> list[Content]:
    """The content of each case. Raises DataError naming a file that cannot be read."""
    files = {file: with_companion(file) for case in cases for file in case.files}
    digests = cache.digests([part for parts in files.values() for part in parts], progress)

    def digest(case: Case, name: str) -> str:
        file, frame = file_and_frame(str(case.root / name))
        parts = [part for one in slices_of(file) for part in files[one]]
        return "+".join(digests[part] for part in parts) + ("" if frame is None else f"#{frame}")

    def masks(case: Case) -> str | None:
        parts = {key: "+".join(digest(case, mask) for mask in names) for key, names in case.masks.items()}
        return ";".join(text if key == "image" else f"{key}:{text}" for key, text in parts.items()) or None

    return [
        Content(
            case.subject,
            {channel: digest(case, name) for channel, name in case.images.items()},
            digest(case, case.label) if case.label else masks(case),
            digest(case, case.brain_mask) if case.brain_mask else None,
        )
        for case in cases
    ]


def with_companion(file: Path) -> list[Path]:
    """The file, and the others of formats that keep header and voxels apart, as far as they are there.

    These are what .mhd and .mha name, of .hdr and .img the other one, and the .mat that SPM puts beside them. Raises
    DataError for a MetaImage header that cannot be read.
    """
    others: list[Path] = []
    for ending, rest in ((".hdr", (".img", ".mat")), (".img", (".hdr", ".mat"))):
        if file.name.endswith((ending, f"{ending}.gz")):
            others = [file.with_name(other.join(file.name.rsplit(ending, 1))) for other in rest]
    if file.suffix in (".mhd", ".mha"):
        others = [file.parent / name for name in _named(file)]
    return [file, *(other for other in others if other != file and other.is_file())]


def _named(file: Path) -> list[str]:
    """The data files that a MetaImage header names: one, a LIST of them, or `PATTERN first last step`."""
    try:
        with file.open("rb") as stream:
            head = stream.read(HEADER if file.suffix == ".mha" else -1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(file, error) from error
    match = re.search(rb"^ElementDataFile[ \t]*=(.*)", head, re.MULTILINE | re.DOTALL)
    lines = [os.fsdecode(line.strip()) for line in match[1].splitlines()] if match else []
    if not lines or lines[0].upper() == "LOCAL":
        return []
    if lines[0].upper().split()[:1] == ["LIST"]:
        return [line for line in lines[1:] if line]
    if "%" not in lines[0]:
        return lines[:1]
    return _numbered(file, lines[0])


def _numbered(file: Path, text: str) -> list[str]:
    """The names of `slice%03d.raw 1 20 1`."""
    match = re.fullmatch(r"(.*%0?\d*d\S*)\s+(\d+)\s+(\d+)(?:\s+([1-9]\d*))?", text)
    if not match or match[1].count("%") != 1:
        raise DataError(
            f"{file}: ElementDataFile = {text}: expected a name such as slice%03d.raw, and its first and last number and "
            "step; name the files one by one (ElementDataFile = LIST)"
        )
    return [match[1] % number for number in range(int(match[2]), int(match[3]) + 1, int(match[4] or 1))]
