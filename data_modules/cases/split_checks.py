"""What a split by hash must fulfil, and what to do about a cohort that is too small for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from data_modules.base.config import DatasetConfig, NiftiConfig, SplitConfig
from data_modules.base.errors import DataError
from data_modules.base.names import unit_of

from .case import SPLITS, Case
from .patterns import group_pattern

FEW, TRIES = 200, 100  # groups up to which another salt is looked for, and how many
LEAST = 3  # subjects of a split, below which its numbers are those of single ones
Split = dict[str, list[str]]


def check_settings(config: SplitConfig) -> None:
    """Raise DataError, naming the key, for settings that no cohort could be divided by."""
    if config.group:
        group_pattern("dataset.split.group", config.group)
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


def check_group(cases: Sequence[Case], config: SplitConfig) -> None:
    """Raise DataError if `group` matches the name of none of the subjects whose group it is to say."""
    unmatched = _unmatched(cases, config)
    if unmatched and len(unmatched) == sum(case.group is None for case in cases):
        raise DataError(
            f"dataset.split.group={config.group} matches none of {len(unmatched)} names, such as {unmatched[0]}, so that "
            "nothing is kept together; correct the pattern, or set dataset.split.group=null"
        )


def check_folds(testable: int, config: SplitConfig) -> None:
    """Raise DataError if there are more folds than groups of subjects that may be tested."""
    if config.folds is not None and testable < config.folds:
        raise DataError(
            f"dataset.split.folds={config.folds}: there are {testable} subjects (or groups of them) to test on, and each "
            f"is tested in one fold; {f'choose 2 to {testable} folds' if testable > 1 else 'set it to null'}"
        )


def check_filled(split: Split, groups: int, config: SplitConfig, divide: Callable[[SplitConfig], Split]) -> None:
    """Raise DataError for an empty part, with the counts, and with another salt if one of TRIES fills all parts.

    groups: how many there are to divide; divide: the split by hash at other settings.
    """
    empty = [part for part in SPLITS if not split[part]]
    if not empty:
        return
    part, subjects = empty[0], sum(len(names) for names in split.values())
    if groups < len(SPLITS):
        raise DataError(
            f"{groups} subjects (or groups of them) cannot be divided into train, val and test; {len(SPLITS)} are the least"
        )
    counts = ", ".join(f"{name} {len(split[name])}" for name in SPLITS)
    if config.folds is None:
        where, why = "", f"{counts}, by the hash of their names at val={config.val:g}, test={config.test:g}"
    else:
        sizes = [len(divide(replace(config, fold=fold))["test"]) for fold in range(config.folds)]
        where = f" in fold {config.fold} of {config.folds}"
        why = f"{counts}, and the folds test {', '.join(map(str, sizes))}"
    lower = f"lower dataset.split.folds={config.folds}" if config.folds else None
    remedies = [
        _another_salt(groups, config, divide) or "change dataset.split.salt",
        lower if lower and part == "test" else f"raise dataset.split.{part if part != 'train' else 'val'}",
        "or list the subjects (dataset.split.file)",
    ]
    raise DataError(f"none of {subjects} subjects falls into '{part}'{where} ({why}); {', '.join(remedies)}")


def few_subjects(split: Split, unit: str = "subject") -> str:
    """Which splits have fewer subjects than LEAST, and the remedy; empty if none has."""
    few = [
        f"{len(split[part])} {unit}{'s'[: len(split[part]) - 1]} in {part}"
        for part in SPLITS
        if len(split[part]) < LEAST
    ]
    said = f"{', '.join(few)}: what fewer than {LEAST} {unit}s say may be chance"
    return f"{said}; add some, raise dataset.split.val and test, or set dataset.split.folds" if few else ""


def few_to_train_on(split: Split, groups: Mapping[str, Sequence[Case]], config: DatasetConfig) -> str:
    """That train has less than half of what the shares are to give it, the cause if it is groups, and the remedy; else empty.

    groups: those of the subjects that are in the split.
    """
    shares, unit = _train_shares(config.split), unit_of(config)
    cases = [case for members in groups.values() for case in members]
    due, there = sum(shares.get(case.pool, 0.0) for case in cases), len(split["train"])
    if 2 * there >= round(due, 9):
        return ""
    said = (
        f"{there} of {len(cases)} {unit}s in train, less than half of the {due:.0f} that the shares of dataset.split are to "
        "give it"
    )
    withheld = [members for members in groups.values() if any(case.pool not in shares for case in members)]
    lost = sum(case.pool in shares for members in withheld for case in members)
    if lost:
        remedy = "let the pattern tell more groups apart"
        if unit == "picture":
            instead = "put {subject} into the patterns of pictures instead of it"
            remedy += f", or {instead}: the normal pictures of a subject are trained on though others are anomalous"
        return f"{said}: {lost} are in a group (dataset.split.group) with one that is never trained on; {remedy}"
    if len(groups) < len(cases):
        return f"{said}: they are {len(groups)} groups, none of which is divided; change dataset.split.salt or group"
    return f"{said}; change dataset.split"


def _train_shares(config: SplitConfig) -> dict[str, float]:
    """By pool the share that is to train; other pools are never trained on."""
    if config.folds is None:
        return {"any": 1 - config.val - config.test, "train": 1 - config.val}
    return {"any": (1 - 1 / config.folds) * (1 - config.val), "train": 1 - config.val}


def _another_salt(groups: int, config: SplitConfig, divide: Callable[[SplitConfig], Split]) -> str | None:
    """A salt with which no part (of any fold) is empty, to offer; a cohort of a few subjects has few that do."""
    folds = range(config.folds) if config.folds else [config.fold]
    for number in range(1, TRIES + 1) if groups <= FEW else []:
        salted = replace(config, salt=f"{config.salt} {number}")
        if all(all(divide(replace(salted, fold=fold)).values()) for fold in folds):
            return f"set 'dataset.split.salt=\"{salted.salt}\"', with which none is empty"
    return None


def ungrouped(cases: Sequence[Case], config: DatasetConfig) -> str:
    """How many subjects of the dataset itself dataset.split.group does not match; empty if it matches all.

    It is not written for the names of a healthy cohort, which has a pattern of its own.
    """
    healthy = f"{config.healthy.name}/" if isinstance(config, NiftiConfig) and config.healthy else None
    own = [case for case in cases if healthy is None or not case.subject.startswith(healthy)]
    unmatched = _unmatched(own, config.split)
    if not unmatched:
        return ""
    said = f"does not match {len(unmatched)} of {len(own)} {unit_of(config)}s, such as {unmatched[0]}"
    remedy = "correct the pattern, or end it with |$ if they are to be alone"
    return f"dataset.split.group={config.split.group} {said}, each of which is a group of its own; {remedy}"


def _unmatched(cases: Sequence[Case], config: SplitConfig) -> list[str]:
    """The names in which the pattern `group` is looked for and not found."""
    if not config.group:
        return []
    pattern = group_pattern("dataset.split.group", config.group)
    return [case.subject for case in cases if case.group is None and not pattern.search(case.subject)]
