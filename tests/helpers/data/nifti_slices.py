"""Slices of small volumes in the layout of BraTS 2021."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_modules.base.config import LayoutConfig, NiftiConfig, SplitConfig
from data_modules.modules.nifti import NiftiDataModule

LAYOUT = LayoutConfig(image={"flair": "{subject}/{subject}_flair.nii.gz"}, label="{subject}/{subject}_seg.nii.gz")


def module(root: Path, cache: Path, **changes: Any) -> NiftiDataModule:
    """The data module of eight subjects, set up, with these keys of its config changed."""
    config = NiftiConfig(
        name="brats",
        kind="nifti",
        domain="medical",
        root=str(root),
        layouts={"a": LAYOUT},
        modality=["flair"],
        size=[16, 16],
        split=SplitConfig(val=0.3, test=0.3, salt="b"),
    )
    for key, value in changes.items():
        setattr(config, key, value)
    data = NiftiDataModule(config, cache_dir=cache, batch_size=8)
    data.prepare_data()
    data.setup()
    return data
