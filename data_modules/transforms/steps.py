"""From a named mapping in YAML to MONAI dictionary transforms: `name: {use: ClassName, **arguments}`, in order."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import monai.transforms
from monai.transforms import MapTransform

from data_modules.base.errors import DataError, did_you_mean

from .brain import BrainMaskd, CropToBraind, HeadMaskd, ScaleInBraind

OURS: dict[str, type[MapTransform]] = {
    kind.__name__: kind for kind in (BrainMaskd, HeadMaskd, CropToBraind, ScaleInBraind)
}
SPATIAL = ("spatial", "croppad")  # the modules of monai.transforms that move voxels
INTENSITY = ("intensity",)
AS_IS = -1  # of an axis: as it is, as MONAI has it
SPACINGS = ("pixdim",)  # in mm, one for each axis or one for all
SIZES = ("roi_size", "spatial_size", "max_roi_size", "max_spatial_size", "patch_size")  # in voxels or pixels, likewise
PLACES = ("roi_center", "roi_start", "roi_end")  # in voxels, one for each axis
SHARES = ("prob",)
PERCENTILES = ("lower", "upper")
ASCENDING = (("lower", "upper"), ("a_min", "a_max"), ("b_min", "b_max"), ("minv", "maxv"), ("min_zoom", "max_zoom"))


@dataclass(frozen=True)
class Step:
    """One transform, with the config key that asked for it and the name of its class."""

    key: str
    use: str
    transform: MapTransform

    def __call__(self, data: Mapping[str, Any], source: str, **how: Any) -> dict[str, Any]:
        """The transformed dictionary; a failure becomes a DataError that names the source and the key.

        how: arguments of the transform's call.
        """
        try:
            return dict(self.transform(data, **how))
        except DataError:
            raise
        except Exception as error:
            raise DataError(f"{source}: {self.key} ({self.use}) failed: {error}; change its arguments") from error


def build_steps(mapping: Mapping[str, Any], key: str, images: str, masks: tuple[str, ...]) -> list[Step]:
    """The transforms of the mapping at config key `key`; an entry that is null is left out.

    images, masks: the keys of the data. A transform that does not say its `keys` gets all of them if it moves voxels, the
    images alone if it changes intensities; one with a `mode` interpolates images linearly and takes the nearest voxel of
    masks. Raises DataError naming the entry for an unknown class, a wrong argument or an entry that is no mapping.
    """
    return [_build(f"{key}.{name}", entry, images, masks) for name, entry in mapping.items() if entry is not None]


def check_arguments(mapping: Mapping[str, Any], key: str, axes: int) -> None:
    """Check what MONAI takes without a word and cannot be meant, in the mapping at config key `key`.

    axes: how many an image has. Raises DataError for an entry without `use`, and naming the argument for spacings and sizes
    that are not above 0 (-1: the axis stays as it is) or not as many as axes, probabilities and percentiles out of range,
    and a lower bound that is not below its upper one.
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


def _build(key: str, entry: Any, images: str, masks: tuple[str, ...]) -> Step:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("use"), str):
        raise DataError(f"{key}={entry}: expected {{use: ClassName, …}} with a MONAI dictionary transform, or null")
    use, given = entry["use"], {str(name): _plain(value) for name, value in entry.items() if name != "use"}
    kind = _class(key, use)
    parameters = inspect.signature(kind.__init__).parameters
    _check_names(key, use, given, parameters)
    arguments = given if use in OURS else _with_keys(key, kind, given, parameters, images, masks)
    try:
        transform: MapTransform = kind(**arguments)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{key}: {use} refuses its arguments ({reason}); change them") from error
    return Step(key, use, transform)


def _class(key: str, use: str) -> Callable[..., MapTransform]:
    kind = OURS.get(use) or getattr(monai.transforms, use, None)
    if inspect.isclass(kind) and issubclass(kind, MapTransform) and kind is not MapTransform:
        return kind
    names = [*OURS, *(name for name in dir(monai.transforms) if name.endswith("d") and name[0].isupper())]
    hint = did_you_mean(use, names, f"there are {', '.join(OURS)} and those of monai.transforms")
    raise DataError(f"{key}.use={use}: no such dictionary transform; {hint}")


def _check_names(key: str, use: str, given: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    arguments = [name for name in parameters if name != "self"]
    for name in given:
        if name not in arguments:
            raise DataError(f"{key}.{name}: {use} has no such argument; {did_you_mean(name, arguments)}")


def _with_keys(
    key: str,
    kind: Any,
    given: dict[str, Any],
    parameters: Mapping[str, Any],
    images: str,
    masks: tuple[str, ...],
) -> dict[str, Any]:
    """The arguments with `keys`, `mode` and `allow_missing_keys` filled in where they are not given."""
    arguments = dict(given)
    module = str(kind.__module__).split(".")[2]
    if "keys" not in given:
        if module not in (*SPATIAL, *INTENSITY):
            raise DataError(f"{key}: say which of {', '.join((images, *masks))} it changes, keys: [{images}]")
        arguments["keys"] = [images, *masks] if module in SPATIAL else [images]
    keys = [arguments["keys"]] if isinstance(arguments["keys"], str) else list(arguments["keys"])
    unknown = [name for name in keys if name not in (images, *masks)]
    if unknown:
        raise DataError(f"{key}.keys: there is no {unknown[0]}; the keys are {', '.join((images, *masks))}")
    if "mode" not in given and "mode" in parameters and module == "spatial":
        arguments["mode"] = ["bilinear" if name == images else "nearest" for name in keys]
    if "allow_missing_keys" in parameters:
        arguments.setdefault("allow_missing_keys", True)
    return arguments


def _plain(value: Any) -> Any:
    """The values of a config node as plain lists and dictionaries."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return value
    return [_plain(item) for item in value]


def _expected(argument: str, value: Any, axes: int) -> str | None:
    """What the argument should be; None if it is."""
    if argument in (*SPACINGS, *SIZES, *PLACES) and value is not None:
        whole = argument not in SPACINGS
        values = [value] if not isinstance(value, Sequence) or isinstance(value, str) else list(value)
        one_for_all = argument not in PLACES and len(values) == 1
        counted = one_for_all or len(values) == axes
        if counted and all(_fits(number, whole, argument in PLACES) for number in values):
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
