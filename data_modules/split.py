"""Splits by subject: deterministic, written beside the result, validation never test."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from math import floor
from pathlib import Path

from .config import SplitConfig
from .errors import DataError
from .layout import Case

SPLITS = ("train", "val", "test")
FORBIDDEN = (  # to a subject of this pool in this split
    ("train", "test", "trains on {}, which is only to test on; put it into val or test"),
    ("train", "val", "trains on {}, which is only to validate on; put it into val"),
    ("test", "train", "tests on {}, which is only to train on; put it into train or val"),
)


def split_cases(cases: Sequence[Case], config: SplitConfig) -> dict[str, list[str]]:
    """Subjects of train, val and test, each sorted by name.

    A group of subjects (several scans of one patient, several pictures of one object) is never divided. Its place
    depends on the hash of its name alone, so adding other groups never moves it. Subjects of pool 'train' go to train or
    (share `val`) to val, those of pool 'val' to val, those of pool 'test' to test or (share `holdout`) to val; others to
    any split. A group goes where the pool of all of its subjects that are not of pool 'any' sends it.

    folds: each group that may be tested is in the test split of exactly one fold, which the hash of its name decides. Of
    the other groups, those of pool 'test' go to val, and of the rest a share `val`, drawn anew for every fold.
    stratify: within each value of the attribute, and within each pool, groups are ordered by their hash and cut into
    shares, which are met to within one group. A new group then moves others of its own value and pool alone, and without
    folds at most two of them. A group whose subjects differ has their values together as its value.
    A split that is given (by Case.split, config.file or lists) is followed as it is.

    Raises DataError for shares outside [0, 1), folds that are not there, a group of two pools other than 'any', a given split
    that misses or repeats a subject, divides a group, puts a subject where its pool forbids it or comes with folds or
    stratify, and for an empty split.
    """
    _check_settings(config)
    groups = group_cases(cases, config)
    given = _given(cases, config)
    split = _follow(cases, given) if given else _by_hash(groups, config)
    part_of = {name: part for part in SPLITS for name in split[part]}
    for group, members in groups.items():
        if len({part_of[case.subject] for case in members}) > 1:
            raise DataError(
                f"dataset.split divides the group {group}, of which {members[0].subject} is one; keep it together"
            )
    for part in SPLITS:
        if not split[part]:
            raise DataError(f"none of {len(cases)} subjects falls into '{part}': {_remedy(part, config)}")
    return split


def group_cases(cases: Sequence[Case], config: SplitConfig) -> dict[str, list[Case]]:
    """Cases by group: Case.group, else what the first parentheses of the pattern `group` find in the subject's name; else
    (or if they took no part in the match) the name.

    With `group_gap` that text is a number, and numbers in a row that lie no further apart make one group.
    """
    found = [re.search(config.group, case.subject) if config.group else None for case in cases]
    inside = [match.group(1) if match else None for match in found]
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


def split_digest(split: dict[str, list[str]]) -> str:
    """A short digest of who is where; equal digests mean equal splits."""
    return hashlib.blake2b(json.dumps(split, sort_keys=True).encode(), digest_size=8).hexdigest()


def unit_hash(salt: str, name: str) -> float:
    """A number in [0, 1) that only the salt and the name decide.

    A name is the same however a file system composes its accents, and need not be UTF-8.
    """
    text = unicodedata.normalize("NFC", f"{salt}/{name}").encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) / 2**64


def _by_hash(groups: dict[str, list[Case]], config: SplitConfig) -> dict[str, list[str]]:
    strata: dict[tuple[str, str | None], list[str]] = {}
    for name, members in groups.items():
        stratum = (_pool(name, members), _value(members, config.stratify) if config.stratify else None)
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

    Without a value the hash of a name decides. With one, names are ordered by it and cut by rank; the offset, as in
    systematic sampling, gives strata too small for a share their chance of it.
    """
    hashes = {name: unit_hash(salt, name) for name in names}
    if value is None:
        return {name: bisect_right(shares, u) for name, u in hashes.items()}
    offset = unit_hash(f"{salt}/stratum {pool}", value)
    cuts = [floor(share * len(names) + offset) for share in shares]
    order = sorted(names, key=lambda name: (hashes[name], name))
    return {name: bisect_right(cuts, rank) for rank, name in enumerate(order)}


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


def _remedy(part: str, config: SplitConfig) -> str:
    lists = "or list the subjects (dataset.split.file)"
    if config.folds is not None and part == "test":
        return f"lower dataset.split.folds (there are {config.folds}), change dataset.split.salt, {lists}"
    return f"raise dataset.split.{part if part != 'train' else 'val'}, change dataset.split.salt, {lists}"


def _check_settings(config: SplitConfig) -> None:
    try:
        if config.group and re.compile(config.group).groups < 1:
            raise DataError(f"dataset.split.group={config.group}: expected parentheses around what names the group")
    except re.error as error:
        raise DataError(f"dataset.split.group={config.group}: no regular expression ({error})") from error
    for key in ("val", "test", "holdout"):
        share = getattr(config, key)
        if not 0 <= share < 1:
            raise DataError(f"dataset.split.{key}={share}: expected a share from 0 up to (not including) 1")
    if config.folds is None and config.val + config.test >= 1:
        raise DataError(
            f"dataset.split.val + dataset.split.test = {config.val + config.test}: nothing is left to train on"
        )
    if config.folds is not None and config.folds < 2:
        raise DataError(f"dataset.split.folds={config.folds}: expected at least 2 folds, or null for a single split")
    if config.fold != 0 and config.folds is None:
        raise DataError(
            f"dataset.split.fold={config.fold}: there are no folds; set dataset.split.folds to their number"
        )
    if config.folds is not None and not 0 <= config.fold < config.folds:
        raise DataError(f"dataset.split.fold={config.fold}: expected 0 to {config.folds - 1} (dataset.split.folds)")


def _given(cases: Sequence[Case], config: SplitConfig) -> dict[str, list[str]] | None:
    """The split that the CSV of subjects, the file or the lists give, in this order; None if there is none."""
    lists = (config.train_subjects, config.val_subjects, config.test_subjects)
    by_csv = any(case.split for case in cases)
    if by_csv and config.file:
        raise DataError(
            f"dataset.split.file={config.file} and the column 'split' of dataset.subjects_file both give the split; "
            "set one of them to null"
        )
    source = "the column 'split' of dataset.subjects_file" if by_csv else "dataset.split.file"
    if not by_csv and not config.file:
        if not any(lists):
            return None
        source = "dataset.split.train_subjects, val_subjects and test_subjects"
    for key in ("folds", "stratify"):
        if getattr(config, key) is not None:
            raise DataError(
                f"dataset.split.{key}={getattr(config, key)}: the split is given already by {source}; "
                f"take that away (empty lists: []) or set dataset.split.{key}=null"
            )
    if by_csv:
        return {part: [case.subject for case in cases if case.split == part] for part in SPLITS}
    if config.file:
        return _read(config.file)
    return {part: list(names) for part, names in zip(SPLITS, lists, strict=True)}


def _read(file: str) -> dict[str, list[str]]:
    if Path(file).suffix.lower() in (".csv", ".tsv"):
        raise DataError(
            f"dataset.split.file={file}: expected JSON; give a CSV with the columns subject and split as dataset.subjects_file"
        )
    try:
        loaded = json.loads(Path(file).expanduser().read_text(encoding="utf-8"))
        if not all(isinstance(loaded[part], list) for part in SPLITS):
            raise TypeError("a split is no list")
        return {part: [str(name) for name in loaded[part]] for part in SPLITS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"dataset.split.file={file}: cannot be read ({error}); expected JSON with lists under train, val, test"
        ) from error


def _follow(cases: Sequence[Case], given: dict[str, list[str]]) -> dict[str, list[str]]:
    pool_of, listed = (
        {case.subject: case.pool for case in cases},
        Counter(name for part in SPLITS for name in given[part]),
    )
    if twice := sorted(name for name, times in listed.items() if times > 1):
        raise DataError(f"dataset.split lists {twice[0]} twice; a subject belongs to one split")
    if unknown := sorted(set(listed) - set(pool_of)):
        raise DataError(
            f"dataset.split lists {unknown[0]}, which is not in the data; there are {sorted(pool_of)[:5]} …"
        )
    if missing := sorted(set(pool_of) - set(listed)):
        raise DataError(f"dataset.split says nothing about {missing[0]} ({len(missing)} in all); list every subject")
    for part, pool, problem in FORBIDDEN:
        if wrong := sorted(name for name in given[part] if pool_of[name] == pool):
            raise DataError(f"dataset.split {problem.format(wrong[0])}")
    return {part: sorted(names) for part, names in given.items()}
