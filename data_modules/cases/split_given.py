"""A split that is given: by the CSV of subjects, by a file or by lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from data_modules.base.config import SplitConfig
from data_modules.base.errors import DataError
from data_modules.base.names import composed
from data_modules.base.regular import regular
from data_modules.base.strict_json import loads

from .case import SPLITS, Case

FORBIDDEN = (  # to a subject of this pool in this split
    ("train", "test", "trains on {}, which is only to test on; put it into val or test"),
    ("train", "val", "trains on {}, which is only to validate on; put it into val"),
    ("test", "train", "tests on {}, which is only to train on; put it into train or val"),
)


def given_split(cases: Sequence[Case], config: SplitConfig) -> dict[str, list[str]] | None:
    """The split that the CSV of subjects, the file or the lists give, in this order; None if there is none."""
    if not is_given(cases, config):
        return None
    lists = (config.train_subjects, config.val_subjects, config.test_subjects)
    by_csv = any(case.split for case in cases)
    if by_csv and config.file:
        raise DataError(
            f"dataset.split.file={config.file} and the column 'split' of dataset.subjects_file both give the split; "
            "set one of them to null"
        )
    source = "the column 'split' of dataset.subjects_file" if by_csv else "dataset.split.file"
    if not by_csv and not config.file:
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
    return {part: [composed(name) for name in names] for part, names in zip(SPLITS, lists, strict=True)}


def is_given(cases: Sequence[Case], config: SplitConfig) -> bool:
    """Whether the CSV of subjects, a file or lists give the split: no shares are to be met."""
    lists = (config.train_subjects, config.val_subjects, config.test_subjects)
    return any(case.split for case in cases) or bool(config.file) or any(lists)


def follow(cases: Sequence[Case], given: dict[str, list[str]]) -> dict[str, list[str]]:
    """The given split, each part sorted. Raises DataError if it does not name every subject once, where it may go."""
    pool_of = {case.subject: case.pool for case in cases}
    listed = Counter(name for part in SPLITS for name in given[part])
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


def _read(file: str) -> dict[str, list[str]]:
    if Path(file).suffix.lower() in (".csv", ".tsv"):
        raise DataError(
            f"dataset.split.file={file}: expected JSON; give a CSV with the columns subject and split as dataset.subjects_file"
        )
    try:
        loaded = loads(regular(Path(file).expanduser()).read_bytes())
        if not all(isinstance(loaded[part], list) for part in SPLITS):
            raise TypeError("a split is no list")
        return {part: [composed(str(name)) for name in loaded[part]] for part in SPLITS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"dataset.split.file={file}: cannot be read ({error}); expected JSON with lists under train, val, test"
        ) from error
