"""Images that stand in a dataset more than once: refused, left out or kept together; never in two splits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from data_modules.base.config import SplitConfig
from data_modules.base.errors import DataError

from .case import SPLITS, Case
from .split import split_cases

DUPLICATES = ("error", "drop", "together")
SHOWN = 5  # pairs in a message
Pair = tuple[int, int]


def twins(images: Sequence[Mapping[str, str]]) -> list[Pair]:
    """Positions of cases that have an image in common, of several each with the first.

    images: per case the digests of its images by channel; empty digests are like no other.
    """
    first: dict[str, int] = {}
    pairs = [
        (first.setdefault(digest, position), position)
        for position, digests in enumerate(images)
        for digest in digests.values()
        if digest
    ]
    return list(dict.fromkeys((twin, other) for twin, other in pairs if twin != other))


def disagreeing(
    cases: Sequence[Case], truths: Sequence[Any], anomalous: Collection[int], pairs: Sequence[Pair], wanted: str
) -> list[Pair]:
    """Twins with different masks, of which dataset.duplicates=drop keeps the first by name.

    truths: per case what is the same for two of them if they are anomalous in the same pixels; anomalous: positions of those
    that have any. Raises DataError for such twins if they are not to be dropped, and always if one of them is normal.
    """
    differing = [pair for pair in pairs if truths[pair[0]] != truths[pair[1]]]
    if contrary := [pair for pair in differing if (pair[0] in anomalous) != (pair[1] in anomalous)]:
        raise DataError(
            f"{_named(cases, contrary)}: the same image, once anomalous and once normal; correct the masks, or leave one out "
            "(dataset.subjects_file, split exclude)"
        )
    if differing and wanted != "drop":
        raise DataError(
            f"{_named(cases, differing)}: the same image with another mask; correct the masks, leave one out "
            "(dataset.subjects_file, split exclude), or keep the first with dataset.duplicates=drop"
        )
    return differing


def refuse(cases: Sequence[Case], pairs: Sequence[Pair]) -> None:
    """Raises DataError if there is any pair of twins."""
    if pairs:
        raise DataError(
            f"{_named(cases, pairs)}: hold the same image; remove one of them, or set dataset.duplicates=drop (of images that "
            "are wholly the same the first by name stays) or together (never in two splits)"
        )


def parted(
    cases: Sequence[Case], pairs: Sequence[Pair], split: Mapping[str, Sequence[str]]
) -> list[tuple[Pair, list[str]]]:
    """The twins that are in two splits, with these."""
    part_of = {name: part for part in SPLITS for name in split[part]}
    parts = [(pair, [part_of[cases[position].subject] for position in pair]) for pair in pairs]
    return [(pair, both) for pair, both in parts if both[0] != both[1]]


def together(cases: Sequence[Case], pairs: Sequence[Pair], config: SplitConfig) -> dict[str, list[str]]:
    """The split in which no twins are parted.

    Raises DataError naming two that one has to train on and to test on, and two that a given split parts.
    """
    try:
        return split_cases(cases, config, [(cases[first].subject, cases[other].subject) for first, other in pairs])
    except DataError:
        for pair, parts in parted(cases, pairs, split_cases(cases, config)):
            first, second = (f"{cases[at].files[0]} ({part})" for at, part in zip(pair, parts, strict=True))
            raise DataError(
                f"{first} and {second} hold the same image, in two splits; remove one, set dataset.duplicates=drop, or give a "
                "split that keeps them together (dataset.split.file)"
            ) from None
        raise


def _named(cases: Sequence[Case], pairs: Sequence[Pair]) -> str:
    shown = ", ".join(f"{cases[first].files[0]} and {cases[other].files[0]}" for first, other in pairs[:SHOWN])
    return shown if len(pairs) <= SHOWN else f"{shown} and {len(pairs) - SHOWN} more pairs"
