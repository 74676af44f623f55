"""Files and geometry in, batches of images with masks out; knows no model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base.batch import AnomalyBatch
    from .base.errors import DataError
    from .modules.base import AnomalyDataModule
    from .modules.nifti import NiftiDataModule
    from .modules.pictures import PictureDataModule

__all__ = ["AnomalyBatch", "AnomalyDataModule", "DataError", "NiftiDataModule", "PictureDataModule"]

_ROOMS = {
    "AnomalyBatch": "base.batch",
    "AnomalyDataModule": "modules.base",
    "DataError": "base.errors",
    "NiftiDataModule": "modules.nifti",
    "PictureDataModule": "modules.pictures",
}


def __getattr__(name: str) -> Any:
    """Loaded when it is asked for: torch is not, by who wants none."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_ROOMS[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
