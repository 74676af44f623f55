"""Folders of pictures with masks: MVTec AD's layout and any other that patterns can describe."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import torch

from .config import PictureConfig
from .errors import DataError, Report, stop
from .fashion_mnist import fashion_mnist_pictures
from .geometry import resize_anomalies, resize_images
from .layout import Case, Tree
from .module import AnomalyDataModule
from .names import chosen_categories
from .picture_files import read_mask, read_picture
from .picture_paths import Found, read_official_split, spells_out, subject_name
from .store import Slices

CONVERTERS = {"fashion_mnist": fashion_mnist_pictures}
CATEGORY = "category"


class ImageDataModule(AnomalyDataModule):
    """Pictures, each of them its own subject (PictureConfig).

    A subject is called by its path, less the folders that a leading `**/` of its pattern stands for: its name, and so its
    split, do not depend on which of the folders above it is the root. Its attributes are what the pattern's names stand
    for, other than {stem}: category, defect, …
    """

    def find_cases(self, report: Report = stop) -> list[Case]:
        """Normal pictures of every pool, anomalous ones with their masks.

        A picture that the patterns of both find is normal if that of the normal ones spells out, in the name of a folder
        or of the file, what is a `{name}` (not {stem}) in that of the anomalous ones: MT_Free of MT_{defect}. Masks are no
        pictures: a path is left out that is the mask of another of the normal pictures, or of the anomalous ones.

        report: told of each anomalous picture without a mask (or with several), of other pictures that both find, of a
        mask that is a normal picture, of pictures that cannot be told apart, and of those that `official_split` says
        nothing about. Raises DataError if no picture is normal or none is anomalous, for a category that is not there, and
        for an official split that cannot be read.
        """
        config, tree = cast(PictureConfig, self.config), Tree(self._folder())
        self._check_category(tree)
        normal = self._normal(tree, report)
        suspects = self._suspects(tree, [found for found, _ in normal], report)
        _report_copies(tree, [*(found for found, _ in normal), *suspects], report)
        masked = self._masked(tree, suspects, report)
        _report_trained_masks(tree, {found.path for found, _ in normal}, masked, report)
        if not normal and all(case.pool == "test" for case in masked):
            raise DataError(
                f"{tree.root}: no normal picture fits dataset.normal / dataset.train_normal "
                f"({', '.join([*config.normal, *config.train_normal])}); is dataset.root right?"
            )
        if all(case.pool != "test" for case in masked):
            raise DataError(f"{tree.root}: no anomalous picture fits dataset.anomalous={list(config.anomalous)}")
        cases: dict[str, Case] = {}
        for case in (*(found.case(tree.root, pool) for found, pool in normal), *masked):
            cases.setdefault(case.subject, case)
        return list(cases.values())

    def read_case(self, case: Case) -> Slices:
        """The picture and its mask, scaled to `size`; geometry: the picture's own (h, w), turned as its EXIF data says."""
        config = cast(PictureConfig, self.config)
        path = case.root / case.images["image"]
        image = read_picture(path, color=config.color)
        mask = torch.zeros(1, *image.shape[1:], dtype=torch.bool)
        if case.label:
            mask = read_mask(case.root / case.label, config.mask_threshold)
            self._check_mask(case.root / case.label, mask, path, image)
        size = (config.size[0], config.size[1])
        mask = resize_anomalies(mask[None], size)
        return Slices(
            case.subject,
            resize_images(image[None], size),
            mask,
            torch.ones_like(mask),
            torch.zeros(1, dtype=torch.int64),
            mask.flatten(1).any(1),
            geometry={"shape": list(image.shape[1:]), "resized": list(size)},
        )

    def _check_mask(self, label: Path, mask: torch.Tensor, path: Path, image: torch.Tensor) -> None:
        if mask.shape[1:] != image.shape[1:]:
            raise DataError(
                f"{label}: the mask has {tuple(mask.shape[1:])} pixels, its image {path} has {tuple(image.shape[1:])}, "
                "both turned as their EXIF data say; save the mask with the pixels of the picture as it is shown"
            )
        if not mask.any() and not cast(PictureConfig, self.config).empty_mask_is_normal:
            raise DataError(
                f"{label}: the mask of an anomalous picture is empty; lower dataset.mask_threshold if its values are "
                "small, move the picture to the normal ones, or set dataset.empty_mask_is_normal=true"
            )

    def _folder(self) -> Path:
        """Where the pictures are: the root, or the folder in the cache that `convert` turned the root's files into."""
        config = cast(PictureConfig, self.config)
        if config.convert is None:
            return self.root()
        if config.convert not in CONVERTERS:
            raise DataError(f"dataset.convert={config.convert}: expected {', '.join(CONVERTERS)} or null")
        return CONVERTERS[config.convert](self.root(), self.cache_dir, chosen_categories(config), self.progress)

    def _find(self, tree: Tree, patterns: list[str]) -> list[Found]:
        chosen = chosen_categories(self.config)
        return [
            Found(path, subject_name(pattern, path), names, pattern)
            for pattern in patterns
            for path, names in tree.find(pattern)
            if chosen is None or names.get(CATEGORY, chosen[0]) in chosen
        ]

    def _normal(self, tree: Tree, report: Report) -> list[tuple[Found, str]]:
        """Normal pictures, each with its pool."""
        config = cast(PictureConfig, self.config)
        pools = {"train": config.train_normal, "val": config.val_normal, "test": config.test_normal}
        normal = [(found, pool) for pool, patterns in pools.items() for found in self._pictures(tree, patterns)]
        official = None if config.official_split is None else read_official_split(tree, config.official_split)
        for found in self._pictures(tree, config.normal):
            pool = "any" if official is None else official.get(found.subject)
            if pool is None:
                said = f"dataset.official_split={config.official_split} says nothing about it"
                report(DataError(f"{tree.root / found.path}: {said}; add a row, remove the picture, or set it to null"))
            else:
                normal.append((found, pool))
        return normal

    def _suspects(self, tree: Tree, normal: list[Found], report: Report) -> list[Found]:
        """Pictures of `anomalous` that are not normal."""
        patterns: dict[str, list[str]] = {}
        for found in normal:
            patterns.setdefault(found.path, []).append(found.pattern)
        suspects = []
        for found in self._pictures(tree, cast(PictureConfig, self.config).anomalous):
            if found.path not in patterns:
                suspects.append(found)
            elif not any(spells_out(pattern, found.pattern) for pattern in patterns[found.path]):
                both = f"is normal by '{patterns[found.path][0]}' and anomalous by '{found.pattern}'"
                report(DataError(f"{tree.root / found.path}: {both}; make one of the patterns stricter"))
        return suspects

    def _pictures(self, tree: Tree, patterns: list[str]) -> list[Found]:
        """What the patterns find, less the masks of others that they find."""
        found = self._find(tree, patterns)
        masks = {mask for one in found for mask in self._masks(tree, one, lambda _: None) if mask != one.path}
        return [one for one in found if one.path not in masks]

    def _masked(self, tree: Tree, suspects: list[Found], report: Report) -> list[Case]:
        """The pictures that have a mask: of pool 'test', or 'any' if the mask is empty and may be."""
        config = cast(PictureConfig, self.config)
        masks = [(found, mask) for found in suspects if (mask := self._mask(tree, found, report))]
        if not config.empty_mask_is_normal:
            return [found.case(tree.root, "test", mask) for found, mask in masks]

        def pool(mask: str) -> str | DataError:
            try:
                return "test" if bool(read_mask(tree.root / mask, config.mask_threshold).any()) else "any"
            except DataError as error:
                return error

        with ThreadPoolExecutor() as threads:
            pools = list(threads.map(pool, [mask for _, mask in masks]))
        for one in pools:
            if isinstance(one, DataError):
                report(one)
        pooled = zip(masks, pools, strict=True)
        return [found.case(tree.root, one, mask) for (found, mask), one in pooled if isinstance(one, str)]

    def _mask(self, tree: Tree, found: Found, report: Report) -> str | None:
        """The mask's path; None, once reported, if there is none or more than one."""
        problems: list[DataError] = []
        fitting = self._masks(tree, found, problems.append)
        if problems:
            report(problems[0])
            return None
        if len(fitting) == 1:
            return next(iter(fitting))
        picture, expected = tree.root / found.path, " or ".join(f"'{pattern}'" for pattern in self._mask_patterns())
        if fitting:
            report(DataError(f"{picture}: has the masks {' and '.join(fitting)}; keep one of them"))
        else:
            report(DataError(f"{picture}: its mask is missing, expected {expected}; add it or remove the picture"))
        return None

    def _masks(self, tree: Tree, found: Found, report: Report) -> list[str]:
        """The paths that are masks of the picture; report: told of a pattern that several files fit."""
        fitting: dict[str, None] = {}
        for pattern in self._mask_patterns():
            try:
                if mask := tree.one(pattern, found.names):
                    fitting[mask] = None
            except DataError as error:
                report(error)
        return list(fitting)

    def _mask_patterns(self) -> list[str]:
        mask = cast(PictureConfig, self.config).mask
        return [mask] if isinstance(mask, str) else list(mask)

    def _check_category(self, tree: Tree) -> None:
        config, chosen = cast(PictureConfig, self.config), chosen_categories(self.config)
        lists = (config.normal, config.train_normal, config.val_normal, config.test_normal, config.anomalous)
        patterns = [pattern for patterns in lists for pattern in patterns]
        if chosen is None:
            return
        if not any(f"{{{CATEGORY}}}" in pattern for pattern in patterns):
            raise DataError(
                f"dataset.category={config.category}: no pattern of {config.name} has {{{CATEGORY}}}; set it to null"
            )
        there = {names[CATEGORY] for pattern in patterns for _, names in tree.find(pattern) if CATEGORY in names}
        if there and (unknown := sorted(set(chosen) - there)):
            raise DataError(
                f"{tree.root}: no picture for dataset.category={', '.join(unknown)}; there are {', '.join(sorted(there))}"
            )


def _report_trained_masks(tree: Tree, normal: set[str], masked: Iterable[Case], report: Report) -> None:
    """Tell of each mask that is a normal picture as well."""
    for case in masked:
        if case.label in normal:
            both = f"is the mask of {case.images['image']} and a normal picture as well"
            report(DataError(f"{tree.root / case.label}: {both}; make dataset.normal or dataset.mask stricter"))


def _report_copies(tree: Tree, pictures: Iterable[Found], report: Report) -> None:
    """Tell of each picture whose subject another picture is already."""
    paths: dict[str, str] = {}
    for found in pictures:
        if (first := paths.setdefault(found.subject, found.path)) != found.path:
            both = f"{first} and {found.path} are both {found.subject}"
            report(DataError(f"{tree.root}: {both}; set dataset.root to the folder of one copy"))
