"""Callbacks of the trainer: localization and progress."""

from .localization import LocalizationCallback, pick_samples

__all__ = ["LocalizationCallback", "pick_samples"]
