"""Volumes on disk (NIfTI, MetaImage and what else nibabel reads) as arrays in RAS orientation, with no copy to spare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from numpy.typing import NDArray
from PIL import Image

from data_modules.base.errors import DataError
from data_modules.base.names import SLICE, slices_of

from .content import reading
from .headers import Stored, farthest, metaimage_voxels, open_volume, split_source
from .masks import WHOLE, rounded
from .nifti_frames import CHUNK, read_frames

ONE_GRID = "images, label and brain mask of a subject must share one grid: resample it first"
Channels = list[int | None]


@dataclass(frozen=True)
class Volume:
    """One 3D volume in RAS orientation.

    voxels: (X, Y, Z), running to the right, the front and the top of the head; of the type in the file if that is an
    integer of at most 16 bits without scaling, else float32; maybe a strided view. affine: (4, 4) float64, from voxel
    indices to millimetres. source: the file, with '#k' if it is a volume of a 4D one. axes: the directions along which
    the file is stored, such as LAS; doubt: what its header leaves open of where it lies; both may be empty.
    """

    voxels: NDArray[Any]
    affine: NDArray[np.float64]
    source: str
    axes: str = ""
    doubt: str = ""


def read_volume(source: Path | str) -> Volume:
    """The volume of a file, or of `FILE#k`, the k-th of its last axis, from 0; FILE_{slice} is a picture for each slice.

    Values are those of nibabel, rounded to float32 where they are no small integers; axes are flipped and permuted to
    the closest canonical orientation, as nibabel.as_closest_canonical does. A compressed file is read to its end, so that
    its checksum is verified. Raises DataError naming the file if it cannot be read, is not 3D, or holds NaN or Inf.
    """
    return read_volumes([str(source)])[0]


def read_volumes(sources: list[str]) -> list[Volume]:
    """Several volumes in the order asked for, those of one 4D file in a single pass. Errors as read_volume."""
    wanted: dict[str, Channels] = {}
    for source in sources:
        file, channel = split_source(source)
        wanted.setdefault(file, []).append(channel)
    volumes = {
        volume.source: volume for file, channels in wanted.items() for volume in _read_file(Path(file), channels)
    }
    return [volumes[source] for source in sources]


def check_grid(volume: Volume, reference: Volume, tolerance: float) -> None:
    """Raises DataError if the two do not share shape and affine (within `tolerance` mm)."""
    if problem := grid_problem(volume, reference, tolerance):
        raise DataError(f"{volume.source}: {problem[0]}; {problem[1]}")


def grid_problem(volume: Volume, reference: Volume, tolerance: float) -> tuple[str, str] | None:
    """What keeps a volume from lying on the grid of another one, and the remedy; None if it lies there.

    tolerance: millimetres that their affines may put a voxel apart; the farthest one is at a corner.
    """
    name, shape = Path(reference.source).name, reference.voxels.shape
    if volume.voxels.shape != shape:
        return f"{volume.voxels.shape} voxels, but {name} has {shape}", ONE_GRID
    away = farthest(volume.affine, reference.affine, shape)
    if away <= tolerance:
        return None
    what = f"its affine puts its voxels elsewhere than {name}, up to {away:.2g} mm away"
    if spacing(volume) != spacing(reference):
        what = f"its voxels are {spacing(volume)} mm, those of {name} {spacing(reference)} mm"
    return (
        what,
        f"{ONE_GRID}, or repair its header (dataset.affine_tolerance={tolerance:g} says how many mm may differ)",
    )


def spacing(volume: Volume) -> str:
    """Millimetres from voxel to voxel along each axis."""
    return "×".join(f"{side:.3g}" for side in np.linalg.norm(volume.affine[:3, :3], axis=0))


def whole_numbers(label: Volume) -> NDArray[Any]:
    """The voxels of a label, rounded to the whole numbers that they are but for rounding errors of up to 1e-3.

    Raises DataError naming the file if they are none.
    """
    whole = rounded(label.voxels)
    if whole is label.voxels and whole.dtype.kind == "f":
        away = np.abs(whole - np.rint(whole))
        count, example = int((away > WHOLE).sum()), whole.flat[away.argmax()]
        raise DataError(
            f"{label.source}: {count} of its voxels are no whole numbers, such as {example:.4g}; "
            "a label was blurred or scaled: resample it by nearest neighbour"
        )
    return whole


def _read_file(path: Path, channels: Channels) -> list[Volume]:
    with reading(path, "volume"):
        if SLICE in path.name:
            arrays, affine, doubt = *_read_slices(path, channels), ""
        else:
            stored = open_volume(path)
            arrays, affine, doubt = _voxels(path, stored, channels), stored.affine, stored.doubt
        orientation = nib.io_orientation(affine)
        axes = "" if SLICE in path.name else "".join(map(str, nib.aff2axcodes(affine)))
        affine = affine @ nib.orientations.inv_ornt_aff(orientation, arrays[0].shape)
        sources = [str(path) if channel is None else f"{path}#{channel}" for channel in channels]
        turned = [nib.apply_orientation(array, orientation) for array in arrays]
        return [Volume(array, affine, source, axes, doubt) for array, source in zip(turned, sources, strict=True)]


def _voxels(path: Path, stored: Stored, channels: Channels) -> list[NDArray[Any]]:
    frames = _frames(path, stored.shape, channels)
    if stored.is_metaimage:
        voxels = metaimage_voxels(path).reshape(*stored.shape[:3], -1)
        return [_finite(voxels[..., frame], path) for frame in frames]
    image = stored.image
    proxy = image.dataobj
    file = str(image.file_map["image"].filename)
    if not isinstance(proxy, ArrayProxy) or proxy.order != "F" or file.lower().endswith((".bz2", ".zst")):
        array = np.asarray(proxy, dtype=np.float32).reshape(*image.shape[:3], -1)
        return [_finite(array[..., frame], path) for frame in frames]
    if proxy.dtype.kind not in "iuf":
        raise DataError(
            f"{path}: expected one number per voxel, found the type {proxy.dtype}; split its components first"
        )
    arrays = read_frames(file, proxy, frames)
    shaped = {frame: _finite(array, path).reshape(image.shape[:3], order="F") for frame, array in arrays.items()}
    return [shaped[frame] for frame in frames]


def _read_slices(path: Path, channels: Channels) -> tuple[list[NDArray[Any]], NDArray[np.float64]]:
    """Axial slices in one picture each, from below to above, the front on top: voxels of 1 mm, as pictures say nothing of them.

    A channel is a colour of the pictures, from 0.
    """
    pictures = []
    for file in slices_of(str(path)):
        with Image.open(file) as opened:
            pictures.append(np.atleast_3d(np.asarray(opened)))
    if not pictures or any(picture.shape != pictures[0].shape for picture in pictures):
        raise DataError(f"{path}: its slices differ in size or are none; copy them again, or remove the subject")
    voxels = np.stack(pictures, axis=2)[::-1].swapaxes(0, 1)
    frames = _frames(path, voxels.shape, channels)
    return [_finite(np.ascontiguousarray(voxels[..., frame]), path) for frame in frames], np.eye(4)


def _frames(path: Path, shape: tuple[int, ...], channels: Channels) -> list[int]:
    """Which volumes of the last axis are wanted; a volume of 3 axes has one."""
    count = int(np.prod(shape[3:]))
    if len(shape) < 3 or min(shape) <= 0:
        raise DataError(f"{path}: expected one 3D volume, found shape {shape}; give a file with three axes")
    if count > 1 and None in channels:
        ends = f"'{path.name}#0' to '{path.name}#{count - 1}'"
        raise DataError(f"{path}: expected one 3D volume, found shape {shape}; choose one in its pattern: {ends}")
    for channel in channels:
        if channel is not None and channel >= count:
            raise DataError(f"{path}#{channel}: the file has {count} volumes, shape {shape}; the last is #{count - 1}")
    return [channel or 0 for channel in channels]


def _finite(voxels: NDArray[Any], path: Path) -> NDArray[Any]:
    flat = voxels.ravel(order="K") if voxels.dtype.kind == "f" else voxels[:0]
    if not all(np.isfinite(flat[start : start + CHUNK]).all() for start in range(0, len(flat), CHUNK)):
        raise DataError(f"{path}: holds NaN or infinite voxels; repair the volume or remove the subject")
    return voxels
