"""Splits by subject: deterministic, written beside the result, validation never test."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Sequence
from math import floor

from data_modules.base.config import DatasetConfig, SplitConfig
from data_modules.base.digests import hash_of, hash_of_bytes
from data_modules.base.errors import DataError
from data_modules.base.names import composed, unit_of

from .case import SPLITS, Case
from .split_checks import (
    check_filled,
    check_folds,
    check_group,
    check_settings,
    few_subjects,
    few_to_train_on,
    ungrouped,
)
from .split_given import follow, given_split, is_given


def split_cases(
    cases: Sequence[Case], config: SplitConfig, twins: Sequence[tuple[str, str]] = (), dropped: Collection[str] = ()
) -> dict[str, list[str]]:
    """Subjects of train, val and test, each sorted by name.

    twins: pairs of subjects that are of one group, that of the first; dropped: subjects that are in no split, which a given
    one may nonetheless name.

    A group of subjects (several scans of one patient, several pictures of one object) is never divided. Within each pool
    groups are ordered by the hash of their names and cut into shares, which are met to within one group; no share above 0
    is without a group if there are enough. A new group then moves at most two others of its pool. Subjects of pool 'train'
    go to train or (share `val`) to val, those of pool 'val' to val, those of pool 'test' to test or (share `holdout`) to
    val; others to any split. A group goes where the pool of all of its subjects that are not of pool 'any' sends it.

    folds: each group that may be tested is in the test split of exactly one fold, and folds are equal to within one group;
    a new group moves at most one other across each border of two folds. Of the groups that are not tested, those of pool
    'test' go to val, and of the rest a share `val`, drawn anew for every fold.
    stratify: the same within each value of the attribute and each pool, but that strata too small for a share have their
    chance of it. A new group then moves others of its own value and pool alone. A group whose subjects differ has their
    values together as its value.
    A split that is given (by Case.split, config.file or lists) is followed as it is.

    Raises DataError for shares outside [0, 1), folds that are not there, a pattern `group` that matches no name, a group of
    two pools other than 'any', a given split that misses or repeats a subject, divides a group, puts a subject where its pool
    forbids it or comes with folds or stratify, and for an empty split.
    """
    check_settings(config)
    cases = [case for case in cases if case.subject not in dropped]
    check_group(cases, config)
    groups = _joined(group_cases(cases, config), twins)
    given = given_split(cases, config)
    if given is not None:
        given = {part: [name for name in names if name not in dropped] for part, names in given.items()}
    if given is None:
        testable = sum(_pool(name, members) not in ("train", "val") for name, members in groups.items())
        check_folds(testable, config)
    split = _by_hash(groups, config) if given is None else follow(cases, given)
    part_of = {name: part for part in SPLITS for name in split[part]}
    for group, members in groups.items():
        if len({part_of[case.subject] for case in members}) > 1:
            raise DataError(
                f"dataset.split divides the group {group}, of which {members[0].subject} is one; keep it together"
            )
    if given is None:
        check_filled(split, len(groups), config, lambda other: _by_hash(groups, other))
    elif empty := [part for part in SPLITS if not split[part]]:
        raise DataError(f"dataset.split gives none of {len(cases)} subjects to '{empty[0]}'; give it at least one")
    return split


def doubts(split: dict[str, list[str]], cases: Sequence[Case], config: DatasetConfig) -> list[str]:
    """What lets the split of these subjects, made as config.split says, be doubted; each with its remedy after a semicolon."""
    said = [few_subjects(split, unit_of(config)), ungrouped(cases, config)]
    if not is_given(cases, config.split):
        placed = {name for names in split.values() for name in names}
        groups = group_cases([case for case in cases if case.subject in placed], config.split)
        said.append(few_to_train_on(split, groups, config))
    return list(filter(None, said))


def group_cases(cases: Sequence[Case], config: SplitConfig) -> dict[str, list[Case]]:
    """Cases by group: Case.group, else what the first parentheses of the pattern `group` find in the subject's name; else
    (or if they took no part in the match) the name.

    With `group_gap` that text is a number, and numbers in a row that lie no further apart make one group.
    """
    matches = [re.search(composed(config.group), case.subject) if config.group else None for case in cases]
    inside = [match.group(1) if match else None for match in matches]
    names = [case.group or (case.subject if text is None else text) for text, case in zip(inside, cases, strict=True)]
    if config.group_gap is not None:
        numbers = sorted({int(name) for name in names if name.isdecimal()})
        starts: dict[str, str] = {}
        for before, number in zip([None, *numbers], numbers, strict=False):
            near = before is not None and number - before <= config.group_gap
            starts[str(number)] = starts[str(before)] if near else str(number)
        names = [starts[str(int(name))] if name.isdecimal() else name for name in names]
    groups: dict[str, list[Case]] = {}
    for name, case in zip(names, cases, strict=True):
        groups.setdefault(name, []).append(case)
    return groups


def _joined(groups: dict[str, list[Case]], pairs: Sequence[tuple[str, str]]) -> dict[str, list[Case]]:
    """The groups, of which those of a pair of subjects are one, by the name of the first's."""
    joined = dict(groups)
    group_of = {case.subject: name for name, members in groups.items() for case in members}
    for first, other in pairs:
        kept, gone = group_of[first], group_of[other]
        if kept != gone:
            group_of |= {case.subject: kept for case in joined[gone]}
            joined[kept] = [*joined[kept], *joined.pop(gone)]
    return joined


def split_digest(split: dict[str, list[str]]) -> str:
    """A short digest of who is where; equal digests mean equal splits."""
    return hash_of(split, 8)


def unit_hash(salt: str, name: str) -> float:
    """A number in [0, 1) that only the salt and the name decide.

    A name is the same however a file system composes its accents, and need not be UTF-8.
    """
    text = composed(f"{salt}/{name}").encode("utf-8", "surrogateescape")
    return int(hash_of_bytes(text, size=8), 16) / 2**64


def _by_hash(groups: dict[str, list[Case]], config: SplitConfig) -> dict[str, list[str]]:
    strata: dict[tuple[str, str | None], list[str]] = {}
    for name, members in groups.items():
        stratum = (_pool(name, members), _value(members, composed(config.stratify)) if config.stratify else None)
        strata.setdefault(stratum, []).append(name)
    split: dict[str, list[str]] = {part: [] for part in SPLITS}
    for (pool, value), names in strata.items():
        placed = (
            _place_fold(names, pool, value, config, config.folds)
            if config.folds
            else _place(names, pool, value, config)
        )
        for name, part in placed.items():
            split[part] += [case.subject for case in groups[name]]
    return {part: sorted(names) for part, names in split.items()}


def _place(names: list[str], pool: str, value: str | None, config: SplitConfig) -> dict[str, str]:
    shares, parts = {
        "test": ([config.holdout], ("val", "test")),
        "train": ([config.val], ("val", "train")),
        "any": ([config.val, config.val + config.test], ("val", "test", "train")),
        "val": ([], ("val",)),
    }[pool]
    return {name: parts[index] for name, index in _cut(names, shares, config.salt, pool, value).items()}


def _place_fold(names: list[str], pool: str, value: str | None, config: SplitConfig, folds: int) -> dict[str, str]:
    fold: dict[str, int] = {}
    if pool not in ("train", "val"):
        shares = [index / folds for index in range(1, folds)]
        fold = _cut(names, shares, f"{config.salt}/folds", pool, value)
    rest = [name for name in names if fold.get(name) != config.fold]
    share = 1.0 if pool in ("test", "val") else config.val
    val = _cut(rest, [share], f"{config.salt}/val of fold {config.fold}", pool, value)
    return dict.fromkeys(names, "test") | {name: ("val", "train")[index] for name, index in val.items()}


def _cut(names: list[str], shares: list[float], salt: str, pool: str, value: str | None) -> dict[str, int]:
    """Which interval between the ascending shares each name falls into: 0 below the first, len(shares) above the last.

    Names are ordered by their hash and cut by rank. With a value the offset, as in systematic sampling, gives strata too small
    for a share their chance of it; without one cuts are rounded, and no interval is empty if there are names for all.
    """
    order = sorted(names, key=lambda name: (unit_hash(salt, name), name))
    offset = 0.5 if value is None else unit_hash(f"{salt}/stratum {pool}", value)
    cuts = [floor(round(share * len(names), 9) + offset) for share in shares]  # 0.15 + 0.3 is a little less than 0.45
    if value is None:
        cuts = _filled(cuts, shares, len(names))
    return {name: bisect_right(cuts, rank) for rank, name in enumerate(order)}


def _filled(cuts: list[int], shares: list[float], count: int) -> list[int]:
    """The cuts of so many names, moved so that each interval of a share above 0 has at least one of them."""
    least = [int(high > low) for low, high in zip([0.0, *shares], [*shares, 1.0], strict=True)]
    if sum(least) > count:
        return cuts
    filled: list[int] = []
    for index, cut in enumerate(cuts):
        lowest = (filled[-1] if filled else 0) + least[index]
        filled.append(min(max(cut, lowest), count - sum(least[index + 1 :])))
    return filled


def _pool(group: str, members: list[Case]) -> str:
    """The pool of the subjects that are not of pool 'any': one that may go anywhere goes with the others."""
    pools = {case.pool for case in members} - {"any"}
    if pools >= {"train", "test"}:
        raise DataError(f"group {group} has subjects to train on and subjects to test on; change dataset.split.group")
    if len(pools) > 1:
        raise DataError(f"group {group} has subjects to validate on and others; change dataset.split.group")
    return next(iter(pools), "any")


def _value(members: list[Case], attribute: str) -> str:
    for case in members:
        if attribute not in case.attributes:
            there = ", ".join(sorted(case.attributes)) or "none"
            raise DataError(
                f"dataset.split.stratify={attribute}: {case.subject} has no such attribute (it has: {there}); "
                "give it a value in a CSV of subjects (dataset.subjects_file) or stratify by another"
            )
    return "+".join(sorted({case.attributes[attribute] for case in members}))
