"""Writers of small datasets in the real layouts, and the configs of those that many tests read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from data_modules.base.config import NiftiConfig, PictureConfig, SplitConfig


def write_volume(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 1.0, 1.0]) if affine is None else affine), path)


def brain(seed: int, shape: tuple[int, int, int] = (20, 24, 10)) -> tuple[np.ndarray, np.ndarray]:
    """An ellipsoid of noise with a bright lesion in its upper half: volume float32, label uint8."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    inside = (grid**2).sum(0) < 0.95
    volume = (inside * rng.normal(100, 10, shape)).astype(np.float32)
    label = np.zeros(shape, np.uint8)
    label[8:11, 10:13, 6:8] = 2
    volume[label > 0] += 80
    return volume, label


def write_mvtec(category: Path, train: int = 24, good: int = 4, bad: int = 6, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)

    def picture() -> np.ndarray:
        stripes = 100 + 60 * np.sin(np.arange(24) / 2)[None, :, None]
        return (stripes + rng.normal(0, 8, (24, 24, 3))).clip(0, 255).astype(np.uint8)

    def save(array: np.ndarray, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)

    for index in range(train):
        save(picture(), category / "train/good" / f"{index:03d}.png")
    for index in range(good):
        save(picture(), category / "test/good" / f"{index:03d}.png")
    for index in range(bad):
        array, mask = picture(), np.zeros((24, 24), np.uint8)
        top, left = rng.integers(2, 16, 2)
        mask[top : top + 5, left : left + 5] = 255
        array[mask > 0] = 250
        save(array, category / "test/square" / f"{index:03d}.png")
        save(mask, category / "ground_truth/square" / f"{index:03d}_mask.png")


def volumes_config(root: Path | None, **changes: Any) -> NiftiConfig:
    """Eight subjects of brats_root: FLAIR with labels."""
    given = {
        "name": "brats",
        "kind": "nifti",
        "domain": "medical",
        "root": None if root is None else str(root),
        "image": {"flair": "{subject}/{subject}_flair.nii.gz"},
        "label": "{subject}/{subject}_seg.nii.gz",
        "modality": ["flair"],
        "size": [16, 16],
        "split": SplitConfig(val=0.3, test=0.3, salt="b"),
    }
    return NiftiConfig(**{**given, **changes})


def pictures_config(root: Path | None, **changes: Any) -> PictureConfig:
    """The one category of mvtec_root: 34 pictures."""
    given = {
        "name": "tiles",
        "kind": "pictures",
        "domain": "natural",
        "root": None if root is None else str(root),
        "train_normal": ["{category}/train/good/{stem}.png"],
        "test_normal": ["{category}/test/good/{stem}.png"],
        "anomalous": ["{category}/test/{defect}/{stem}.png"],
        "mask": "{category}/ground_truth/{defect}/{stem}_mask.png",
        "size": [16, 16],
        "split": SplitConfig(val=0.2, holdout=0.3),
    }
    return PictureConfig(**{**given, **changes})
