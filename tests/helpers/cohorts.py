"""The configs of the small datasets on disk (brats_root, mvtec_root of conftest.py) that many tests read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_modules.base.config import NiftiConfig, PictureConfig, SplitConfig


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
