"""Folders of pictures with masks: MVTec AD's layout and any other that patterns can describe."""

from __future__ import annotations

from pathlib import Path

import torch

from data_modules.base.batch import Slices
from data_modules.base.config import PictureConfig
from data_modules.base.errors import DataError, Report, stop
from data_modules.base.names import chosen_categories, unit_of
from data_modules.cases.case import Case
from data_modules.cases.pictures import find_pictures
from data_modules.readers.pictures import read_mask, read_picture
from data_modules.transforms.augment import check_augment
from data_modules.transforms.geometry import resize_anomalies, resize_images

from .base import AnomalyDataModule
from .fashion_mnist import fashion_mnist_pictures

CONVERTERS = {"fashion_mnist": fashion_mnist_pictures}


class PictureDataModule(AnomalyDataModule):
    """Pictures, each of them its own subject unless their patterns have {subject} (PictureConfig).

    PictureDataModule("tiny_texture")                                    # embedded: made on first use
    PictureDataModule("mvtec_ad", root="/data/mvtec", category="bottle", batch_size=64)
    PictureDataModule("folder", root="/data/mine", normal=["ok/{stem}.png"], anomalous=["ko/{stem}.png"], size=(64, 64))

    A subject is called by its path, less the folders that a leading `**/` of its pattern stands for: its name, and so its
    split, do not depend on which of the folders above it is the root. Its attributes are what the pattern's names stand
    for, other than {stem}: category, defect, …
    """

    schema = PictureConfig
    config: PictureConfig

    def find_cases(self, report: Report = stop) -> list[Case]:
        """Every picture that is normal, or anomalous with a mask; see find_pictures."""
        self.unused = []
        return find_pictures(self.config, self._folder(), report, self.unused.append)

    def read_case(self, case: Case) -> Slices:
        """The subject's pictures (or the squares of them) and their masks, scaled to `size`.

        geometry: the first picture's own (h, w), turned as its EXIF data says.
        """
        read = [self._read(case, key) for key in case.images]
        images = [part for image, _ in read for part in self._parts(image)]
        masks = [part for _, mask in read for part in self._parts(mask)]
        mask = torch.cat([resize_anomalies(part[None], self._size) for part in masks])
        return Slices(
            case.subject,
            torch.cat([resize_images(part[None], self._size) for part in images]),
            mask,
            torch.ones_like(mask),
            torch.arange(len(mask)),
            mask.flatten(1).any(1),
            geometry={"shape": list(read[0][0].shape[1:]), "resized": list(self._size)},
        )

    def nothing_anomalous(self, dropped: bool) -> tuple[str, str]:
        """See AnomalyDataModule: the masks; no picture is left out."""
        del dropped
        threshold = self.config.mask_threshold
        lower = f"lower dataset.mask_threshold={threshold:g}, or " if threshold else ""
        return f"no {unit_of(self.config)} of the dataset has an anomalous pixel", f"{lower}correct the masks"

    def _read(self, case: Case, key: str) -> tuple[torch.Tensor, torch.Tensor]:
        """A picture (C, h, w) and the union of its masks (1, h, w)."""
        path = case.root / case.images[key]
        image = read_picture(path, color=self.config.color)
        union = torch.zeros(1, *image.shape[1:], dtype=torch.bool)
        for label in (case.root / name for name in case.masks.get(key, ())):
            mask = read_mask(label, self.config.mask_threshold)
            self._check_mask(label, mask, path, image)
            union |= mask
        return image, union

    def _parts(self, picture: torch.Tensor) -> list[torch.Tensor]:
        """The squares (C, s, s) of a picture (C, h, w) along its longer side, or itself."""
        if not self.config.squares:
            return [picture]
        axis = 1 if picture.shape[1] >= picture.shape[2] else 2
        side, length = min(picture.shape[1:]), max(picture.shape[1:])
        starts = dict.fromkeys(min(start, length - side) for start in range(0, length, side))
        return [picture.narrow(axis, start, side) for start in starts]

    @property
    def channels(self) -> int:
        return 3 if self.config.color else 1

    def _check_config(self) -> None:
        super()._check_config()
        for key, value, none in (("context", self.config.context, "0"), ("depth", self.config.depth, "null")):
            if value:
                says = f"{self.config.name} holds pictures, which have no neighbouring slices; set {none}"
                raise DataError(f"dataset.{key}={value}: {says}")
        check_augment(self.config.augment, (self.channels, *self._size))

    def _check_mask(self, label: Path, mask: torch.Tensor, path: Path, image: torch.Tensor) -> None:
        if mask.shape[1:] != image.shape[1:]:
            raise DataError(
                f"{label}: the mask has {tuple(mask.shape[1:])} pixels, its image {path} has {tuple(image.shape[1:])}, "
                "both turned as their EXIF data say; save the mask with the pixels of the picture as it is shown"
            )
        if not mask.any() and not self.config.empty_mask_is_normal:
            raise DataError(
                f"{label}: the mask of an anomalous picture is empty; lower dataset.mask_threshold if its values are "
                "small, move the picture to the normal ones, or set dataset.empty_mask_is_normal=true"
            )

    def _folder(self) -> Path:
        """Where the pictures are: the root, or the folder in the cache that `convert` turned the root's files into."""
        if self.config.convert is None:
            return self.root()
        if self.config.convert not in CONVERTERS:
            raise DataError(f"dataset.convert={self.config.convert}: expected {', '.join(CONVERTERS)} or null")
        return CONVERTERS[self.config.convert](
            self.root(), self.cache_dir, chosen_categories(self.config), self.progress
        )
