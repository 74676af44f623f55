"""From a dataset's config to its data module."""

from __future__ import annotations

from pathlib import Path

from data_modules.base.config import DatasetConfig, PictureConfig
from data_modules.base.digests import Progress

from .base import AnomalyDataModule
from .nifti import NiftiDataModule
from .pictures import PictureDataModule


def build_module(
    config: DatasetConfig,
    cache_dir: Path,
    data_dir: Path,
    batch_size: int = 32,
    seed: int = 0,
    progress: Progress | None = None,
) -> AnomalyDataModule:
    """The data module of a config; nothing is read yet, and no bar shown.

    cache_dir: for slice stores and embedded data; data_dir: where a dataset without `root` lies, in a folder of its name.
    """
    kind = PictureDataModule if isinstance(config, PictureConfig) else NiftiDataModule
    return kind(
        config,
        batch_size=batch_size,
        seed=seed,
        cache_dir=cache_dir,
        data_dir=data_dir,
        progress=progress or silent,
    )


def silent(done: int, total: int) -> None:
    """Progress that nobody sees."""
