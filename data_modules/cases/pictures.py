"""From a folder of pictures to its cases: which are normal, which anomalous, and the mask of each. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from data_modules.base.config import PictureConfig
from data_modules.base.errors import DataError, Report, did_you_mean, stop
from data_modules.base.names import chosen_categories, picture_patterns

from .case import Case
from .patterns import Tree, names_in
from .picture_paths import Found, Picture, case_of, read_official_split, spells_out, subject_name
from .unused import Tell, Unused, unused

CATEGORY = "category"
IMAGE_LEVEL = {"bmad": ("Chest", "Histopathology", "Retina_OCT2017")}  # sets with image labels alone, by dataset


def find_pictures(config: PictureConfig, folder: Path, report: Report = stop, tell: Tell | None = None) -> list[Case]:
    """Normal pictures of every pool, anomalous ones with their masks.

    A picture that the patterns of both find is normal if that of the normal ones spells out, in the name of a folder
    or of the file, what is a `{name}` (not {stem}) in that of the anomalous ones: MT_Free of MT_{defect}. Masks are no
    pictures: a path is left out that is the mask of another of the normal pictures, or of the anomalous ones.

    report: told of each anomalous picture without a mask (or with several), of other pictures that both find, of a
    mask that is a normal picture, of pictures that cannot be told apart, and of those that `official_split` says
    nothing about. tell: told of the files that belong to no case. Raises DataError if no picture is normal or none is
    anomalous, for a category that is not there, for names of `mask` that `anomalous` lacks, and for an official split that
    cannot be read.
    """
    if config.mask is None:
        raise DataError(
            f"{folder}: {config.name} says which pictures are anomalous, not where (dataset.mask=null): there is nothing to "
            "localize; choose a set with masks"
        )
    search = _Search(config, Tree(folder), report)
    search.check_category()
    normal = search.normal()
    if not normal and not (config.squares or config.empty_mask_is_normal):
        raise search.no_normal()
    suspects = search.suspects([one.picture for one in normal])
    _report_copies(search.tree, [*(one.picture for one in normal), *suspects], report)
    search.check_mask_names(suspects)
    masked = search.masked(suspects)
    if suspects and not masked:
        raise DataError(
            f"{folder}: none of {len(suspects)} anomalous pictures has a mask that can be used; is dataset.mask right?"
        )
    _report_trained_masks(search.tree, {one.picture.path for one in normal}, masked, report)
    if not normal and all(one.pool == "test" for one in masked):
        raise search.no_normal()
    if masked and config.empty_mask_is_normal and all(one.normal for one in masked):
        lower = f"lower dataset.mask_threshold={config.mask_threshold:g}, or " if config.mask_threshold else ""
        raise DataError(
            f"{folder}: the masks of all {len(masked)} pictures of dataset.anomalous are empty; {lower}correct the masks"
        )
    if not masked:
        raise DataError(
            f"{folder}: no anomalous picture fits dataset.anomalous={list(config.anomalous)}; {search.tree.there()}; is "
            "dataset.root right?"
        )
    subjects: dict[str, dict[str, Found]] = {}
    for one in (*normal, *masked):
        subjects.setdefault(one.picture.owner, {}).setdefault(one.picture.subject, one)
    cases = []
    for owner, found in subjects.items():
        try:
            cases.append(case_of(owner, list(found.values()), folder))
        except DataError as error:
            report(error)
    if tell:
        tell(search.unused(cases))
    return cases


@dataclass(frozen=True)
class _Search:
    """The patterns of a config, looked for in one tree; report: see find_pictures."""

    config: PictureConfig
    tree: Tree
    report: Report

    def check_category(self) -> None:
        """Raises DataError if a chosen category is not there, or if no pattern tells categories apart."""
        config, chosen = self.config, chosen_categories(self.config)
        patterns = picture_patterns(config)
        if chosen is None:
            return
        if alone := [name for name in chosen if name in IMAGE_LEVEL.get(config.name, ())]:
            raise DataError(
                f"dataset.category={', '.join(alone)}: this set has image labels alone, nothing to localize; see "
                f"dataset={config.name}_image_level, or choose a set with masks"
            )
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

    def unused(self, cases: list[Case]) -> Unused:
        """The files of the chosen categories that belong to none of the cases."""
        config, chosen = self.config, chosen_categories(self.config)
        known = {name for case in cases for masks in case.masks.values() for name in masks}
        known |= {path for path, _ in self.tree.find(config.official_split)} if config.official_split else set()

        def wanted(names: Mapping[str, str]) -> bool:
            return chosen is None or names.get(CATEGORY, chosen[0]) in chosen

        return unused(self.tree, picture_patterns(config), self._mask_patterns(), known, wanted)

    def no_normal(self) -> DataError:
        patterns = ", ".join([*self.config.normal, *self.config.train_normal])
        return DataError(
            f"{self.tree.root}: no normal picture fits dataset.normal / dataset.train_normal ({patterns}); "
            f"{self.tree.there()}; is dataset.root right?"
        )

    def normal(self) -> list[Found]:
        """Normal pictures, each with its pool."""
        config, tree = self.config, self.tree
        pools = {"train": config.train_normal, "val": config.val_normal, "test": config.test_normal}
        normal = [
            Found(picture, pool, normal=True)
            for pool, patterns in pools.items()
            for picture in self._pictures(patterns)
        ]
        official = None if config.official_split is None else read_official_split(tree, config.official_split)
        for picture in self._pictures(config.normal):
            pool = "any" if official is None else official.get(picture.subject)
            if pool is None:
                said = f"dataset.official_split={config.official_split} says nothing about it"
                self.report(
                    DataError(f"{tree.root / picture.path}: {said}; add a row, remove the picture, or set it to null")
                )
            else:
                normal.append(Found(picture, pool, normal=True))
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

    def check_mask_names(self, suspects: list[Picture]) -> None:
        """Raises DataError if each pattern of masks has names that a pattern of anomalous pictures, which fits some, lacks."""
        for pattern in dict.fromkeys(picture.pattern for picture in suspects):
            known = names_in(pattern)
            lacking = {mask: [name for name in names_in(mask) if name not in known] for mask in self._mask_patterns()}
            if lacking and all(lacking.values()):
                mask = min(lacking, key=lambda mask: len(lacking[mask]))
                lacks, names = (", ".join(f"{{{name}}}" for name in some) for some in (lacking[mask], known))
                lacks += " of dataset.mask " + ("are" if len(lacking[mask]) > 1 else "is")
                raise DataError(
                    f"{lacks} not in dataset.anomalous, which names {names or 'nothing'}; "
                    f"use the same names in '{mask}' as in '{pattern}'"
                )

    def masked(self, suspects: list[Picture]) -> list[Found]:
        """The pictures that have a mask: of pool 'test', or 'any' if it is empty and may be, or if parts of them are normal."""
        config, root = self.config, self.tree.root
        masks = [(picture, mask) for picture in suspects if (mask := self._mask(picture))]
        if config.squares:
            return [Found(picture, "any", mask) for picture, mask in masks]
        if not config.empty_mask_is_normal:
            return [Found(picture, "test", mask) for picture, mask in masks]
        pools = _pools([[root / name for name in mask] for _, mask in masks], config.mask_threshold)
        for pool in pools:
            if isinstance(pool, DataError):
                self.report(pool)
        in_pools = zip(masks, pools, strict=True)
        return [
            Found(picture, pool, mask, normal=pool == "any")
            for (picture, mask), pool in in_pools
            if isinstance(pool, str)
        ]

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

    def _mask(self, picture: Picture) -> tuple[str, ...] | None:
        """The masks' paths; None, once reported, if there is none, or more than one where one is expected."""
        problems: list[DataError] = []
        fitting = self._masks(picture, problems.append)
        if problems:
            self.report(problems[0])
            return None
        if len(fitting) == 1 or (fitting and self.config.mask_union):
            return tuple(fitting)
        path, expected = self.tree.root / picture.path, " or ".join(f"'{pattern}'" for pattern in self._mask_patterns())
        if fitting:
            more = "keep one of them, or set dataset.mask_union=true"
            self.report(DataError(f"{path}: has the masks {' and '.join(fitting)}; {more}"))
        else:
            self.report(DataError(f"{path}: its mask is missing, expected {expected}; add it or remove the picture"))
        return None

    def _masks(self, picture: Picture, report: Report) -> list[str]:
        """The paths that are masks of the picture; report: told of a pattern that several files fit, unless all count."""
        fitting: dict[str, None] = {}
        for pattern in self._mask_patterns():
            try:
                masks = self.tree.all(pattern, picture.names)
                if not self.config.mask_union and (mask := self.tree.one(pattern, picture.names)):
                    masks = [mask]
                fitting |= dict.fromkeys(masks)
            except DataError as error:
                report(error)
        return list(fitting)

    def _mask_patterns(self) -> list[str]:
        mask = self.config.mask
        return [mask] if isinstance(mask, str) else list(mask)


def _pools(masks: list[list[Path]], threshold: float | None) -> list[str | DataError]:
    """Per picture: 'test' if its masks have an anomalous pixel, else 'any'; or why they cannot be read."""
    from data_modules.readers.pictures import read_mask

    def pool(names: list[Path]) -> str | DataError:
        try:
            return "test" if any(bool(read_mask(mask, threshold).any()) for mask in names) else "any"
        except DataError as error:
            return error

    with ThreadPoolExecutor() as threads:
        return list(threads.map(pool, masks))


def _report_trained_masks(tree: Tree, normal: set[str], masked: Iterable[Found], report: Report) -> None:
    """Tell of each mask that is a normal picture as well."""
    for one in masked:
        for mask in normal & set(one.masks):
            both = f"is the mask of {one.picture.path} and a normal picture as well"
            report(DataError(f"{tree.root / mask}: {both}; make dataset.normal or dataset.mask stricter"))


def _report_copies(tree: Tree, pictures: Iterable[Picture], report: Report) -> None:
    """Tell of each picture whose subject another picture is already."""
    paths: dict[str, str] = {}
    for picture in pictures:
        if (first := paths.setdefault(picture.subject, picture.path)) != picture.path:
            both = f"{first} and {picture.path} are both {picture.subject}"
            report(DataError(f"{tree.root}: {both}; set dataset.root to the folder of one copy"))
