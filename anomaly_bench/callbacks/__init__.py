"""Callbacks of the trainer: localization and progress."""

from .cases import Cases
from .localization import LocalizationCallback

__all__ = ["Cases", "LocalizationCallback"]
