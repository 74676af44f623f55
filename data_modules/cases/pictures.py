"""From a folder of pictures to its cases: which are normal, which anomalous, and the mask of each. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from data_modules.base.config import PictureConfig
from data_modules.base.errors import DataError, Report, did_you_mean, stop
from data_modules.base.names import chosen_categories

from .case import Case
from .patterns import Tree
from .picture_paths import Picture, read_official_split, spells_out, subject_name

CATEGORY = "category"


def find_pictures(config: PictureConfig, folder: Path, report: Report = stop) -> list[Case]:
    """Normal pictures of every pool, anomalous ones with their masks.

    A picture that the patterns of both find is normal if that of the normal ones spells out, in the name of a folder
    or of the file, what is a `{name}` (not {stem}) in that of the anomalous ones: MT_Free of MT_{defect}. Masks are no
    pictures: a path is left out that is the mask of another of the normal pictures, or of the anomalous ones.

    report: told of each anomalous picture without a mask (or with several), of other pictures that both find, of a
    mask that is a normal picture, of pictures that cannot be told apart, and of those that `official_split` says
    nothing about. Raises DataError if no picture is normal or none is anomalous, for a category that is not there, and
    for an official split that cannot be read.
    """
    search = _Search(config, Tree(folder), report)
    search.check_category()
    normal = search.normal()
    suspects = search.suspects([picture for picture, _ in normal])
    _report_copies(search.tree, [*(picture for picture, _ in normal), *suspects], report)
    masked = search.masked(suspects)
    _report_trained_masks(search.tree, {picture.path for picture, _ in normal}, masked, report)
    if not normal and all(case.pool == "test" for case in masked):
        raise DataError(
            f"{folder}: no normal picture fits dataset.normal / dataset.train_normal "
            f"({', '.join([*config.normal, *config.train_normal])}); is dataset.root right?"
        )
    if all(case.pool != "test" for case in masked):
        raise DataError(
            f"{folder}: no anomalous picture fits dataset.anomalous={list(config.anomalous)}; is dataset.root right?"
        )
    cases: dict[str, Case] = {}
    for case in (*(picture.case(folder, pool) for picture, pool in normal), *masked):
        cases.setdefault(case.subject, case)
    return list(cases.values())


@dataclass(frozen=True)
class _Search:
    """The patterns of a config, looked for in one tree; report: see find_pictures."""

    config: PictureConfig
    tree: Tree
    report: Report

    def check_category(self) -> None:
        """Raises DataError if a chosen category is not there, or if no pattern tells categories apart."""
        config, chosen = self.config, chosen_categories(self.config)
        lists = (config.normal, config.train_normal, config.val_normal, config.test_normal, config.anomalous)
        patterns = [pattern for patterns in lists for pattern in patterns]
        if chosen is None:
            return
        if not any(f"{{{CATEGORY}}}" in pattern for pattern in patterns):
            raise DataError(
                f"dataset.category={config.category}: no pattern of {config.name} has {{{CATEGORY}}}; set it to null"
            )
        there = {names[CATEGORY] for pattern in patterns for _, names in self.tree.find(pattern) if CATEGORY in names}
        if there and (unknown := sorted(set(chosen) - there)):
            raise DataError(
                f"{self.tree.root}: no picture for dataset.category={', '.join(unknown)}; "
                f"{did_you_mean(unknown[0], sorted(there))}"
            )

    def normal(self) -> list[tuple[Picture, str]]:
        """Normal pictures, each with its pool."""
        config, tree = self.config, self.tree
        pools = {"train": config.train_normal, "val": config.val_normal, "test": config.test_normal}
        normal = [(picture, pool) for pool, patterns in pools.items() for picture in self._pictures(patterns)]
        official = None if config.official_split is None else read_official_split(tree, config.official_split)
        for picture in self._pictures(config.normal):
            pool = "any" if official is None else official.get(picture.subject)
            if pool is None:
                said = f"dataset.official_split={config.official_split} says nothing about it"
                self.report(
                    DataError(f"{tree.root / picture.path}: {said}; add a row, remove the picture, or set it to null")
                )
            else:
                normal.append((picture, pool))
        return normal

    def suspects(self, normal: list[Picture]) -> list[Picture]:
        """Pictures of `anomalous` that are not normal."""
        patterns: dict[str, list[str]] = {}
        for picture in normal:
            patterns.setdefault(picture.path, []).append(picture.pattern)
        suspects = []
        for picture in self._pictures(self.config.anomalous):
            if picture.path not in patterns:
                suspects.append(picture)
            elif not any(spells_out(pattern, picture.pattern) for pattern in patterns[picture.path]):
                both = f"is normal by '{patterns[picture.path][0]}' and anomalous by '{picture.pattern}'"
                self.report(DataError(f"{self.tree.root / picture.path}: {both}; make one of the patterns stricter"))
        return suspects

    def masked(self, suspects: list[Picture]) -> list[Case]:
        """The pictures that have a mask: of pool 'test', or 'any' if the mask is empty and may be."""
        tree = self.tree
        masks = [(picture, mask) for picture in suspects if (mask := self._mask(picture))]
        if not self.config.empty_mask_is_normal:
            return [picture.case(tree.root, "test", mask) for picture, mask in masks]
        pools = _pools([tree.root / mask for _, mask in masks], self.config.mask_threshold)
        for pool in pools:
            if isinstance(pool, DataError):
                self.report(pool)
        in_pools = zip(masks, pools, strict=True)
        return [picture.case(tree.root, pool, mask) for (picture, mask), pool in in_pools if isinstance(pool, str)]

    def _pictures(self, patterns: list[str]) -> list[Picture]:
        """What the patterns find, less the masks of others that they find."""
        chosen = chosen_categories(self.config)
        pictures = [
            Picture(path, subject_name(pattern, path), names, pattern)
            for pattern in patterns
            for path, names in self.tree.find(pattern)
            if chosen is None or names.get(CATEGORY, chosen[0]) in chosen
        ]
        masks = {mask for picture in pictures for mask in self._masks(picture, lambda _: None) if mask != picture.path}
        return [picture for picture in pictures if picture.path not in masks]

    def _mask(self, picture: Picture) -> str | None:
        """The mask's path; None, once reported, if there is none or more than one."""
        problems: list[DataError] = []
        fitting = self._masks(picture, problems.append)
        if problems:
            self.report(problems[0])
            return None
        if len(fitting) == 1:
            return next(iter(fitting))
        path, expected = self.tree.root / picture.path, " or ".join(f"'{pattern}'" for pattern in self._mask_patterns())
        if fitting:
            self.report(DataError(f"{path}: has the masks {' and '.join(fitting)}; keep one of them"))
        else:
            self.report(DataError(f"{path}: its mask is missing, expected {expected}; add it or remove the picture"))
        return None

    def _masks(self, picture: Picture, report: Report) -> list[str]:
        """The paths that are masks of the picture; report: told of a pattern that several files fit."""
        fitting: dict[str, None] = {}
        for pattern in self._mask_patterns():
            try:
                if mask := self.tree.one(pattern, picture.names):
                    fitting[mask] = None
            except DataError as error:
                report(error)
        return list(fitting)

    def _mask_patterns(self) -> list[str]:
        mask = self.config.mask
        return [mask] if isinstance(mask, str) else list(mask)


def _pools(masks: list[Path], threshold: float) -> list[str | DataError]:
    """Per mask: 'test' if it has an anomalous pixel, else 'any'; or why it cannot be read."""
    from data_modules.readers.pictures import read_mask

    def pool(mask: Path) -> str | DataError:
        try:
            return "test" if bool(read_mask(mask, threshold).any()) else "any"
        except DataError as error:
            return error

    with ThreadPoolExecutor() as threads:
        return list(threads.map(pool, masks))


def _report_trained_masks(tree: Tree, normal: set[str], masked: Iterable[Case], report: Report) -> None:
    """Tell of each mask that is a normal picture as well."""
    for case in masked:
        if case.label in normal:
            both = f"is the mask of {case.images['image']} and a normal picture as well"
            report(DataError(f"{tree.root / case.label}: {both}; make dataset.normal or dataset.mask stricter"))


def _report_copies(tree: Tree, pictures: Iterable[Picture], report: Report) -> None:
    """Tell of each picture whose subject another picture is already."""
    paths: dict[str, str] = {}
    for picture in pictures:
        if (first := paths.setdefault(picture.subject, picture.path)) != picture.path:
            both = f"{first} and {picture.path} are both {picture.subject}"
            report(DataError(f"{tree.root}: {both}; set dataset.root to the folder of one copy"))
