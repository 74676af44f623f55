"""Callbacks of the trainer: localization and progress."""

from anomaly_bench.pictures.choice import Cases

from .callback import LocalizationCallback

__all__ = ["Cases", "LocalizationCallback"]
