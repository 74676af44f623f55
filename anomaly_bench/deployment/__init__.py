"""A trained run applied to files of others."""

from .localize import localize_files

__all__ = ["localize_files"]
