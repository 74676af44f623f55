"""What the files of cases hold, as digests: what a store is named after, and how a leak between splits is seen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .digests import DigestCache, Progress
from .errors import DataError
from .layout import Case
from .split import SPLITS


class Content(NamedTuple):
    """Digests of the files of a subject; of a channel of a file, with the channel."""

    subject: str
    images: dict[str, str]
    label: str | None
    brain_mask: str | None


def read_contents(cases: Sequence[Case], cache: DigestCache, progress: Progress | None = None) -> list[Content]:
    """The content of each case. Raises DataError naming a file that cannot be read."""
    files = {file: with_companion(file) for case in cases for file in case.files}
    digests = cache.digests([part for parts in files.values() for part in parts], progress)

    def digest(case: Case, name: str) -> str:
        file, mark, channel = name.partition("#")
        return "+".join(digests[part] for part in files[case.root / file]) + mark + channel

    return [
        Content(
            case.subject,
            {channel: digest(case, name) for channel, name in case.images.items()},
            digest(case, case.label) if case.label else None,
            digest(case, case.brain_mask) if case.brain_mask else None,
        )
        for case in cases
    ]


def with_companion(file: Path) -> list[Path]:
    """The file, and the other one of formats that keep header and voxels apart: .mhd and what it names, .hdr and .img."""
    for ending, other in ((".hdr", ".img"), (".img", ".hdr")):
        if file.name.endswith((ending, f"{ending}.gz")):
            partner = file.with_name(other.join(file.name.rsplit(ending, 1)))
            return [file, partner] if partner.is_file() else [file]
    if file.suffix == ".mhd" and file.is_file():
        named = re.search(rb"^ElementDataFile\s*=\s*(\S.*?)\s*$", file.read_bytes()[:65536], re.MULTILINE)
        partner = file.with_name(named[1].decode(errors="surrogateescape")) if named else file
        return [file, partner] if partner != file and partner.is_file() else [file]
    return [file]


def twins(contents: Sequence[Content]) -> list[tuple[int, int]]:
    """Positions of cases that have the content of an image in common; of several, each with the first."""
    first: dict[str, int] = {}
    pairs = [
        (first.setdefault(digest, position), position)
        for position, content in enumerate(contents)
        for digest in content.images.values()
    ]
    return list(dict.fromkeys((one, other) for one, other in pairs if one != other))


def check_leakage(cases: Sequence[Case], contents: Sequence[Content], split: dict[str, list[str]]) -> None:
    """Raises DataError naming two files of the same content in different splits."""
    part_of = {name: part for part in SPLITS for name in split[part]}
    for pair in twins(contents):
        parts = [part_of[cases[position].subject] for position in pair]
        if parts[0] == parts[1]:
            continue
        common = set.intersection(*(set(contents[position].images.values()) for position in pair))
        names = [
            cases[position].root
            / next(name for channel, name in cases[position].images.items() if images[channel] in common)
            for position, images in ((position, contents[position].images) for position in pair)
        ]
        raise DataError(
            f"{names[0]} ({parts[0]}) and {names[1]} ({parts[1]}) hold the same image, in two splits; remove one, or keep "
            "them together (dataset.split.group, dataset.split.file)"
        )
