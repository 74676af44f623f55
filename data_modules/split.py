"""Splits by subject: deterministic, written beside the result, validation never test."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from .config import SplitConfig
from .errors import DataError
from .layout import Case

SPLITS = ("train", "val", "test")


def split_cases(cases: Sequence[Case], config: SplitConfig) -> dict[str, list[str]]:
    """Subjects of train, val and test, each sorted by name.

    A group of subjects (several scans of one patient, several pictures of one object) is never divided. Its place
    depends on the hash of its name alone, so adding other groups never moves it. Subjects of pool 'train' go to train or
    (share `val`) to val; groups with a subject of pool 'test' to test or (share `holdout`) to val.
    Raises DataError for shares outside [0, 1), for a group of both pools, for lists or a file that miss or repeat a
    subject or divide a group, and for an empty train, val or test.
    """
    _check_shares(config)
    groups = group_cases(cases, config)
    fixed = _fixed(config)
    split = _from_lists(cases, fixed) if fixed else _by_hash(groups, config)
    part_of = {name: part for part in SPLITS for name in split[part]}
    for group, members in groups.items():
        if len({part_of[case.subject] for case in members}) > 1:
            raise DataError(
                f"dataset.split divides the group {group}, of which {members[0].subject} is one; keep it together"
            )
    for part in SPLITS:
        if not split[part]:
            raise DataError(
                f"none of {len(cases)} subjects falls into '{part}': raise dataset.split.{part if part != 'train' else 'val'}, "
                "change dataset.split.salt, or list the subjects (dataset.split.file)"
            )
    return split


def group_cases(cases: Sequence[Case], config: SplitConfig) -> dict[str, list[Case]]:
    """Cases by group: what the first parentheses of the pattern `group` find in the subject's name; else the name.

    With `group_gap` that text is a number, and numbers in a row that lie no further apart make one group.
    """
    found = [re.search(config.group, case.subject) if config.group else None for case in cases]
    names = [match.group(1) if match else case.subject for match, case in zip(found, cases, strict=True)]
    if config.group_gap is not None:
        numbers = sorted({int(name) for name in names if name.isdigit()})
        starts: dict[str, str] = {}
        for before, number in zip([None, *numbers], numbers, strict=False):
            near = before is not None and number - before <= config.group_gap
            starts[str(number)] = starts[str(before)] if near else str(number)
        names = [starts[str(int(name))] if name.isdigit() else name for name in names]
    groups: dict[str, list[Case]] = {}
    for name, case in zip(names, cases, strict=True):
        groups.setdefault(name, []).append(case)
    return groups


def split_digest(split: dict[str, list[str]]) -> str:
    """A short digest of who is where; equal digests mean equal splits."""
    return hashlib.blake2b(json.dumps(split, sort_keys=True).encode(), digest_size=8).hexdigest()


def unit_hash(salt: str, name: str) -> float:
    """A number in [0, 1) that only the salt and the name decide."""
    return int.from_bytes(hashlib.blake2b(f"{salt}/{name}".encode(), digest_size=8).digest()) / 2**64


def _by_hash(groups: dict[str, list[Case]], config: SplitConfig) -> dict[str, list[str]]:
    split: dict[str, list[str]] = {part: [] for part in SPLITS}
    for name, members in groups.items():
        pools = {case.pool for case in members}
        if pools >= {"train", "test"}:
            raise DataError(
                f"group {name} has subjects to train on and subjects to test on; change dataset.split.group"
            )
        u = unit_hash(config.salt, name)
        if "test" in pools:
            part = "val" if u < config.holdout else "test"
        elif u < config.val:
            part = "val"
        else:
            part = "test" if "any" in pools and u < config.val + config.test else "train"
        split[part] += [case.subject for case in members]
    return {part: sorted(names) for part, names in split.items()}


def _check_shares(config: SplitConfig) -> None:
    try:
        if config.group and re.compile(config.group).groups < 1:
            raise DataError(f"dataset.split.group={config.group}: expected parentheses around what names the group")
    except re.error as error:
        raise DataError(f"dataset.split.group={config.group}: no regular expression ({error})") from error
    for key in ("val", "test", "holdout"):
        share = getattr(config, key)
        if not 0 <= share < 1:
            raise DataError(f"dataset.split.{key}={share}: expected a share from 0 up to (not including) 1")
    if config.val + config.test >= 1:
        raise DataError(
            f"dataset.split.val + dataset.split.test = {config.val + config.test}: nothing is left to train on"
        )


def _fixed(config: SplitConfig) -> dict[str, list[str]] | None:
    if config.file:
        try:
            loaded = json.loads(Path(config.file).expanduser().read_text())
            return {part: list(loaded[part]) for part in SPLITS}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"dataset.split.file={config.file}: cannot be read ({error}); expected JSON with lists under train, val, test"
            ) from error
    lists = (config.train_subjects, config.val_subjects, config.test_subjects)
    listed = {part: list(names) for part, names in zip(SPLITS, lists, strict=True)}
    return listed if any(listed.values()) else None


def _from_lists(cases: Sequence[Case], fixed: dict[str, list[str]]) -> dict[str, list[str]]:
    known, listed = {case.subject for case in cases}, [name for names in fixed.values() for name in names]
    if twice := sorted({name for name in listed if listed.count(name) > 1}):
        raise DataError(f"dataset.split lists {twice[0]} twice; a subject belongs to one split")
    if unknown := sorted(set(listed) - known):
        raise DataError(f"dataset.split lists {unknown[0]}, which is not in the data; there are {sorted(known)[:5]} …")
    if missing := sorted(known - set(listed)):
        raise DataError(f"dataset.split says nothing about {missing[0]} ({len(missing)} in all); list every subject")
    return {part: sorted(names) for part, names in fixed.items()}
