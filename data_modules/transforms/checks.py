"""Arguments of transforms that MONAI takes without a word and that cannot be meant. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from data_modules.base.errors import DataError, did_you_mean

AS_IS = -1  # of an axis: as it is, as MONAI has it
SPACINGS = ("pixdim",)  # in mm, one for each axis or one for all
SIZES = ("roi_size", "spatial_size", "max_roi_size", "max_spatial_size", "patch_size")  # in voxels or pixels, likewise
PLACES = ("roi_center", "roi_start", "roi_end")  # in voxels, one for each axis
SHARES = ("prob",)
PERCENTILES = ("lower", "upper")
ASCENDING = (("lower", "upper"), ("a_min", "a_max"), ("b_min", "b_max"), ("minv", "maxv"), ("min_zoom", "max_zoom"))


def check_arguments(mapping: Mapping[str, Any], key: str, axes: int) -> None:
    """Check the entries of dataset.preprocess or dataset.augment at config key `key`, of images with so many axes.

    Raises DataError for an entry without `use`, and naming the argument for spacings and sizes that are not above 0 (-1: the
    axis stays as it is) or not as many as axes, probabilities and percentiles out of range, and a lower bound that is not
    below its upper one.
    """
    for name, entry in mapping.items():
        if isinstance(entry, Mapping) and "use" not in entry:
            hint = did_you_mean(str(name), [other for other in mapping if other != name])
            raise DataError(f"{key}.{name}={dict(entry)}: expected {{use: ClassName, …}} for a new entry; {hint}")
        for argument, value in entry.items() if isinstance(entry, Mapping) else ():
            if expected := _expected(str(argument), value, axes):
                raise DataError(f"{key}.{name}.{argument}={_shown(value)}: expected {expected}; correct it")
        for low, high in ASCENDING if isinstance(entry, Mapping) else ():
            below, above = entry.get(low), entry.get(high)
            if _is_number(below) and _is_number(above) and not below < above:
                raise DataError(f"{key}.{name}: {low}={below:g} is not below {high}={above:g}; swap or correct them")


def _expected(argument: str, value: Any, axes: int) -> str | None:
    """What the argument should be; None if it is."""
    if argument in (*SPACINGS, *SIZES, *PLACES) and value is not None:
        whole = argument not in SPACINGS
        values = [value] if not isinstance(value, Sequence) or isinstance(value, str) else list(value)
        one_for_all = argument not in PLACES and len(values) == 1
        counted = one_for_all or len(values) == axes
        if counted and all(_fits(one, whole, argument in PLACES) for one in values):
            return None
        what = "whole numbers of voxels" if whole else "millimetres"
        sign = "0 or more" if argument in PLACES else f"above 0 ({AS_IS}: as it is)"
        return f"{axes} {what}, one for each axis, {sign}"
    if argument in SHARES and not (_is_number(value) and 0 <= value <= 1):
        return "a probability from 0 to 1"
    if argument in PERCENTILES and value is not None and not (_is_number(value) and 0 <= value <= 100):
        return "a percentile from 0 to 100"
    return None


def _fits(value: Any, whole: bool, from_zero: bool) -> bool:
    if not _is_number(value) or (whole and value != int(value)):
        return False
    return bool(value >= 0 if from_zero else value > 0 or value == AS_IS)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
