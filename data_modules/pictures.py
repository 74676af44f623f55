"""Folders of pictures with masks: MVTec AD's layout and any other that patterns can describe."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from .config import PictureConfig
from .errors import DataError
from .geometry import resize_anomalies, resize_images
from .layout import Case, Tree
from .module import AnomalyDataModule, file_digest
from .store import Slices


class ImageDataModule(AnomalyDataModule):
    """Pictures, each of them its own subject (PictureConfig)."""

    def find_cases(self, tree: Tree) -> list[Case]:
        """Normal pictures of the three pools, anomalous ones with their masks.

        Raises DataError if a pool that must not be empty is, if a mask is missing, or if the category is unknown.
        """
        config = cast(PictureConfig, self.config)
        pools = {"any": config.normal, "train": config.train_normal, "test": config.test_normal}
        cases: dict[str, Case] = {}
        for pool, patterns in pools.items():
            for path, _ in self._find(tree, list(patterns)):
                cases.setdefault(path, Case(path, {"image": path}, pool))
        if not cases:
            raise DataError(
                f"{tree.root}: no normal picture fits dataset.normal / dataset.train_normal{self._hint(tree)}"
            )
        normal = len(cases)
        for path, names in self._find(tree, list(config.anomalous)):
            if path not in cases:
                cases[path] = Case(path, {"image": path}, "test", label=self._mask(tree, path, names))
        if len(cases) == normal:
            raise DataError(f"{tree.root}: no anomalous picture fits dataset.anomalous={list(config.anomalous)}")
        return list(cases.values())

    def read_case(self, tree: Tree, case: Case) -> Slices:
        config = cast(PictureConfig, self.config)
        path = tree.root / case.images["image"]
        image = read_picture(path, color=config.color)
        mask = torch.zeros(1, *image.shape[1:], dtype=torch.bool)
        if case.label:
            mask = read_picture(tree.root / case.label, color=False) > config.mask_threshold
            if mask.shape[1:] != image.shape[1:]:
                raise DataError(
                    f"{tree.root / case.label}: the mask has {tuple(mask.shape[1:])} pixels, "
                    f"its image {path} has {tuple(image.shape[1:])}"
                )
            if not mask.any():
                raise DataError(
                    f"{tree.root / case.label}: the mask of an anomalous picture is empty; lower "
                    "dataset.mask_threshold if its values are small, or move the picture to the normal ones"
                )
        size = (config.size[0], config.size[1])
        mask = resize_anomalies(mask[None], size)
        digest = file_digest([tree.root / file for file in case.files])
        return Slices(
            case.subject,
            resize_images(image[None], size),
            mask,
            torch.ones_like(mask),
            torch.zeros(1, dtype=torch.int64),
            mask.flatten(1).any(1),
            digest,
        )

    def _find(self, tree: Tree, patterns: list[str]) -> list[tuple[str, dict[str, str]]]:
        category = cast(PictureConfig, self.config).category
        found = [match for pattern in patterns for match in tree.find(pattern)]
        return [
            (path, names) for path, names in found if category is None or names.get("category", category) == category
        ]

    def _mask(self, tree: Tree, path: str, names: dict[str, str]) -> str:
        config = cast(PictureConfig, self.config)
        mask = tree.one(config.mask, names)
        if mask is None:
            raise DataError(
                f"{tree.root / path}: its mask is missing, expected '{config.mask}'; add it or remove the picture"
            )
        return mask

    def _hint(self, tree: Tree) -> str:
        config = cast(PictureConfig, self.config)
        patterns = [*config.normal, *config.train_normal]
        there = sorted({names["category"] for p in patterns for _, names in tree.find(p) if "category" in names})
        if there:
            return f" for dataset.category={config.category}; there are {', '.join(there)}"
        return f" ({', '.join(patterns)}); is dataset.root right?"


def read_picture(path: Path, color: bool) -> Tensor:
    """A picture (C, H, W) float32 in [0, 1], C = 3 if color else 1, turned as its EXIF data says.

    Raises DataError naming the file if it cannot be read.
    """
    try:
        with Image.open(path) as opened:
            turned = ImageOps.exif_transpose(opened)
            if turned.mode.startswith("I") or turned.mode == "F":
                grey = np.asarray(turned, dtype=np.float32) / (65535.0 if turned.mode != "F" else 1.0)
                array = np.repeat(grey[..., None], 3 if color else 1, axis=2)
            else:
                array = np.asarray(turned.convert("RGB" if color else "L"), dtype=np.float32) / 255.0
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path}: cannot be read as a picture ({error}); it is damaged or no picture: copy it again"
        ) from error
    if not np.isfinite(array).all():
        raise DataError(f"{path}: holds NaN or infinite pixels; repair the picture or remove it")
    return torch.from_numpy(np.atleast_3d(array)).permute(2, 0, 1).contiguous()
