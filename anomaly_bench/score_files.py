"""Maps and masks in folders: which belong together, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_modules.errors import DataError

Array = NDArray[Any]

NUMPY, NIFTI, PICTURES = (".npy", ".npz"), (".nii", ".nii.gz"), (".png", ".tif", ".tiff", ".bmp")
ENDINGS = (*NIFTI, *NUMPY, *PICTURES)
DECORATIONS = {
    "maps": ("_anomaly_map", "_anomaly", "_heatmap", "_map", "_scores", "_score"),
    "masks": ("_ground_truth", "_mask", "_label", "_labels", "_seg", "_gt"),
    "foreground": ("_foreground", "_brain_mask", "_brain", "_mask"),
}
SHOWN = 10


class Item(NamedTuple):
    """One map with what belongs to it. name: its path below the folder of maps, without ending; mask None: normal."""

    name: str
    map: Path
    mask: Path | None
    foreground: Path | None


def find(folder: Path, role: str) -> dict[str, Path]:
    """The files of a folder and its subfolders by name: the path without its ending, and without a usual suffix.

    role: 'maps', 'masks' or 'foreground', whose suffixes are DECORATIONS.

    Raises:
        DataError: there is no such folder or no file in it, or two files have one name.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of {role}, found none; check the path after --{role}")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder)
        ending = next((end for end in ENDINGS if path.name.lower().endswith(end)), None)
        if ending is None or not path.is_file() or any(part.startswith(".") for part in below.parts):
            continue
        bare = below.as_posix()[: -len(ending)]
        suffix = next((end for end in DECORATIONS[role] if bare.endswith(end) and Path(bare).name != end), "")
        name = bare.removesuffix(suffix)
        if name in found:
            raise DataError(f"{path}: has the same name '{name}' as {found[name]}; leave one of the two in {folder}")
        found[name] = path
    if not found:
        raise DataError(f"{folder}: holds no {role}; expected files that end in {', '.join(ENDINGS)}")
    return found


def pair(
    maps: Path, masks: Path, foreground: Path | None = None, normal: Iterable[str] = (), missing_normal: bool = False
) -> list[Item]:
    """Every map with its mask and foreground, by name.

    Names agree as paths below their folders, or as file names alone where these are unique on both sides.

    Args:
        normal: patterns of the maps' paths; a map that fits one may lack a mask and is normal then.
        missing_normal: any map without a mask is normal.

    Raises:
        DataError: names every map without a mask, every mask without a map, every map without a foreground.
    """
    scored, known, patterns = find(maps, "maps"), find(masks, "masks"), list(normal)
    partner = partners(scored, known)
    allowed = {name for name, path in scored.items() if missing_normal or _fits(path.relative_to(maps), patterns)}
    lacking = [scored[name] for name in scored if name not in partner and name not in allowed]
    problems = [_named("maps without a mask", lacking)] if lacking else []
    used = set(partner.values())
    if unused := [path for path in known.values() if path not in used]:
        problems.append(_named("masks without a map", unused))
    inside = partners(scored, find(foreground, "foreground")) if foreground else {}
    if foreground and (outside := [path for name, path in scored.items() if name not in inside]):
        problems.append(_named("maps without a foreground", outside))
    if problems:
        normal_too = ", or say which maps are normal by --normal GLOB or --missing-mask normal" if lacking else ""
        remedy = f"name them alike{normal_too}"
        raise DataError(f"{maps}: {'; '.join(problems)}; {remedy}")
    return [Item(name, path, partner.get(name), inside.get(name)) for name, path in scored.items()]


def partners(names: Iterable[str], found: dict[str, Path]) -> dict[str, Path]:
    """The file of each name that has one: by its whole path, else by its last part where that is unique on both sides.

    A file in a folder that the names have too belongs to the name in that folder, and to no other.
    """
    names = list(names)
    by_last = _unique({name: Path(name).name for name in found})
    ours = _unique({name: Path(name).name for name in names})
    folders = {Path(name).parent for name in names} - {Path()}
    last = {
        full: found[by_last[short]]
        for short, full in ours.items()
        if short in by_last and Path(by_last[short]).parent not in folders
    }
    return last | {name: found[name] for name in names if name in found}


def read_map(path: Path) -> Array:
    """The scores in a file, (planes, H, W): a picture is one plane, a volume has its slices along the last axis.

    NumPy arrays are (H, W), (planes, H, W) or (planes, 1, H, W).

    Raises:
        DataError: the file cannot be read, or holds something else.
    """
    try:
        values = _reader(path)(path)
    except DataError:
        raise
    except Exception as error:  # whatever a library makes of a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: cannot be read ({reason}); write the file again") from error
    if values.dtype.kind not in "fiub":
        raise DataError(f"{path}: holds {values.dtype} values; expected real numbers")
    if not values.size:
        raise DataError(f"{path}: is empty, of shape {values.shape}; leave it out")
    return values


def read_mask(path: Path, of: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels of a mask file that are not zero, (planes, H, W) bool.

    Raises:
        DataError: it cannot be read, holds NaN, or its size is not `shape`, that of the map `of`.
    """
    values = read_map(path)
    if values.shape != shape:
        sizes = f"{_size(values.shape)}, and its map {of} is {_size(shape)}"
        raise DataError(f"{path}: is {sizes} (planes × height × width); resize the map to its mask")
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise DataError(f"{path}: holds NaN; expected zero for normal pixels and another number for anomalous ones")
    return values != 0


def _reader(path: Path) -> Callable[[Path], Array]:
    name = path.name.lower()
    return _read_nifti if name.endswith(NIFTI) else _read_numpy if name.endswith(NUMPY) else _read_picture


def _read_numpy(path: Path) -> Array:
    values = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
    if not isinstance(values, np.ndarray):
        if len(values.files) != 1:
            raise DataError(
                f"{path}: holds the arrays {values.files}; expected one: store each map in a file of its own"
            )
        values = values[values.files[0]]
    if values.ndim == 4 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim not in (2, 3):
        raise DataError(f"{path}: has shape {values.shape}; expected (H, W), (planes, H, W) or (planes, 1, H, W)")
    return values if values.ndim == 3 else values[None]


def _read_nifti(path: Path) -> Array:
    import nibabel

    values: Array = np.asanyarray(nibabel.load(path).dataobj)  # type: ignore[attr-defined]
    values = values.reshape(values.shape[:3]) if values.size == np.prod(values.shape[:3]) else values
    if values.ndim not in (2, 3):
        raise DataError(f"{path}: has shape {values.shape}; expected a picture or a volume, without time or channels")
    return np.moveaxis(values, -1, 0) if values.ndim == 3 else values[None]


def _read_picture(path: Path) -> Array:
    from PIL import Image, ImageSequence

    with Image.open(path) as picture:
        planes = [np.array(frame) for frame in ImageSequence.Iterator(picture)]
        alpha = picture.mode in ("LA", "RGBA", "PA")
    for at, plane in enumerate(planes):
        if alpha and (plane[..., -1] != plane[0, 0, -1]).any():
            raise DataError(f"{path}: its transparency differs from pixel to pixel; store one channel without it")
        colours = plane[..., :-1] if alpha else plane
        if plane.ndim == 3 and (colours != colours[..., :1]).any():
            raise DataError(f"{path}: is a coloured picture; expected one channel: store the scores, not a rendering")
        planes[at] = colours[..., 0] if plane.ndim == 3 else plane
    return np.stack(planes)


def _unique(shorts: dict[str, str]) -> dict[str, str]:
    """Short names that stand for one long name alone."""
    counts: dict[str, list[str]] = {}
    for full, short in shorts.items():
        counts.setdefault(short, []).append(full)
    return {short: full[0] for short, full in counts.items() if len(full) == 1}


def _fits(path: Path, patterns: list[str]) -> bool:
    return any(fnmatch(path.as_posix(), pattern) for pattern in patterns)


def _named(title: str, paths: list[Path]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return f"{len(paths)} {title}: {', '.join(map(str, paths[:SHOWN]))}{more}"


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
