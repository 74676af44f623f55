"""A trained run in use: applied to files of others, and as a file that other programs apply."""

from .exporter import Exported, export
from .localize import localize_files

__all__ = ["Exported", "export", "localize_files"]
