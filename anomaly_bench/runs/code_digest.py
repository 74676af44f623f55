"""What the code that decides the numbers is. Imports nothing heavy."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import data_modules
from data_modules.base.digests import digest_of_code

# The rooms whose code decides numbers. What is not in them decides when and where a run is done, and how it is told.
ROOMS = ("models", "predictors", "metrics", "localization", "runs")
DATA_ROOMS = ("base", "cases", "readers", "transforms", "store", "modules", "embedded")
LIBRARIES = ("torch", "pytorch-lightning", "monai", "nibabel", "numpy", "scipy", "pillow")  # those that decide numbers
VERSIONED = (*LIBRARIES, "torchmetrics")


@cache
def source_digest() -> str:
    """Digest of the rooms of code that decide the numbers: another version of them, another run."""
    here, data = Path(__file__).parents[1], Path(data_modules.__file__ or "").parent
    return digest_of_code([here / room for room in ROOMS] + [data / room for room in DATA_ROOMS])
