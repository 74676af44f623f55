"""Maps to counts to results: a model applied, the passes over images, and the callback that makes them for a trainer."""

from .callback import LocalizationCallback
from .localizer import Localizer

__all__ = ["LocalizationCallback", "Localizer"]
