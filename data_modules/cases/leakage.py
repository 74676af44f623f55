"""No image in two splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from data_modules.base.errors import DataError

from .case import SPLITS, Case


def twins(images: Sequence[Mapping[str, str]]) -> list[tuple[int, int]]:
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


def check_leakage(cases: Sequence[Case], images: Sequence[Mapping[str, str]], split: dict[str, list[str]]) -> None:
    """Raises DataError naming two files of the same digest (see twins) in different splits."""
    part_of = {name: part for part in SPLITS for name in split[part]}
    for pair in twins(images):
        parts = [part_of[cases[position].subject] for position in pair]
        if parts[0] == parts[1]:
            continue
        common = set.intersection(*(set(images[position].values()) for position in pair)) - {""}
        names = [
            cases[position].root
            / next(name for channel, name in cases[position].images.items() if images[position][channel] in common)
            for position in pair
        ]
        raise DataError(
            f"{names[0]} ({parts[0]}) and {names[1]} ({parts[1]}) hold the same image, in two splits; remove one, or keep "
            "them together (dataset.split.group, dataset.split.file)"
        )
