"""What is in a file of scores or of a mask: NumPy arrays, NIfTI volumes, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_modules.base.errors import DataError
from data_modules.cases.files import PICTURES
from data_modules.readers.content import reading
from data_modules.readers.headers import open_volume
from data_modules.readers.masks import BY_OPTION, anomalous_in
from data_modules.readers.pictures import LOSSY, read_mask_pages

if TYPE_CHECKING:
    from PIL.Image import Image

Array = NDArray[Any]

NUMPY, NIFTI = (".npy", ".npz"), (".nii", ".nii.gz")
ENDINGS = (*NIFTI, *NUMPY, *PICTURES)
GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F", "RGB", "RGBA")  # Pillow's modes that can hold grey
SHIFT = 0.1  # of a voxel: how far apart the corners of two volumes on one grid may lie


def read_map(path: Path, like: Path | None = None) -> Array:
    """The numbers in a file, (planes, H, W): a picture is one plane, a volume has its slices along the last axis.

    NumPy arrays are (H, W), (planes, H, W) or (planes, 1, H, W). Of a TIFF every page is a plane. A NIfTI volume is
    flipped and its axes swapped until they run like those of the volume `like`.

    Raises:
        DataError: the file cannot be read, holds something else, or lies on another grid than `like`; of two files
            with `like` one alone is NIfTI.
    """
    with reading(path, "map"):
        values = _read(path, like)
    if values.dtype.kind not in "fiub":
        raise DataError(f"{path}: holds {values.dtype} values; expected real numbers: store these")
    if not values.size:
        raise DataError(f"{path}: is empty, of shape {values.shape}; leave it out")
    return values


def read_mask(path: Path, of: Path, shape: tuple[int, ...], threshold: float | None = None) -> NDArray[np.bool_]:
    """The anomalous pixels of a mask file, (planes, H, W) bool; see `anomalous_in`, which a run reads its masks by.

    Raises:
        DataError: as `read_map` and `anomalous_in`; its size is not `shape`, that of the map `of`.
    """
    array = path.name.lower().endswith((*NUMPY, *NIFTI))
    values, white, lossy = (_numbers(path, None), None, False) if array else read_mask_pages(path)
    _check_size(path, values, of, shape)
    return anomalous_in(values, str(path), BY_OPTION, white, threshold, lossy)


def read_foreground(path: Path, of: Path, shape: tuple[int, ...], like: Path | None = None) -> NDArray[np.bool_]:
    """The pixels of a file that are not zero, (planes, H, W) bool. Raises DataError as `read_mask`."""
    values = _numbers(path, like)
    _check_size(path, values, of, shape)
    return values != 0


def _numbers(path: Path, like: Path | None) -> Array:
    values = read_map(path, like)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"{path}: holds NaN or infinity; expected zero for normal pixels and another number for others")
    return values


def _check_size(path: Path, values: Array, of: Path, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        sizes = f"{_size(values.shape)}, and its map {of} is {_size(shape)}"
        raise DataError(f"{path}: is {sizes} (planes × height × width); resize the map to its mask")


def _read(path: Path, like: Path | None) -> Array:
    volume = is_nifti(path)
    if like is not None and volume != is_nifti(like):
        array, nifti = (like, path) if volume else (path, like)
        raise DataError(
            f"{array}: does not say which axis of {nifti} is which; save it as NIfTI too: "
            f"nibabel.Nifti1Image(array, nibabel.load('{nifti}').affine), with the array's axes in that volume's order"
        )
    if volume:
        return _read_nifti(path, like)
    return _read_numpy(path) if path.name.lower().endswith(NUMPY) else _read_picture(path)


def is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(NIFTI)


def _read_numpy(path: Path) -> Array:
    values = np.load(path, mmap_mode="r" if path.name.lower().endswith(".npy") else None, allow_pickle=False)
    if not isinstance(values, np.ndarray):
        with values as archive:
            if len(archive.files) != 1:
                said = f"holds the arrays {archive.files}; expected one"
                raise DataError(f"{path}: {said}: store each map in a file of its own")
            values = archive[archive.files[0]]
    if values.ndim == 4 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim not in (2, 3):
        expected = "expected (H, W), (planes, H, W) or (planes, 1, H, W): reshape it"
        raise DataError(f"{path}: has shape {values.shape}; {expected}")
    return values if values.ndim == 3 else values[None]


def _read_nifti(path: Path, like: Path | None) -> Array:
    import nibabel

    stored = open_volume(path)
    values, affine = _spatial(np.asanyarray(stored.image.dataobj), path), stored.affine
    if like is not None:
        other = open_volume(like)
        turn = nibabel.orientations.ornt_transform(
            *(nibabel.io_orientation(matrix) for matrix in (affine, other.affine))
        )
        affine = affine @ nibabel.orientations.inv_ornt_aff(turn, values.shape)
        values = nibabel.orientations.apply_orientation(values, turn)
        _check_grid(path, values.shape, affine, like, (*other.shape, 1)[:3], other.affine)
    return np.moveaxis(values, -1, 0)


def _spatial(values: Array, path: Path) -> Array:
    """The array of a volume with three axes."""
    size = (*values.shape, 1)[:3]
    if values.ndim < 2 or values.size != np.prod(size):
        raise DataError(
            f"{path}: has shape {values.shape}; expected a picture or a volume, without time or channels: "
            "store one map of it"
        )
    return values.reshape(size)


def _check_grid(
    path: Path, shape: tuple[int, ...], affine: Array, like: Path, expected: tuple[int, ...], wanted: Array
) -> None:
    """Raises DataError if the corners of the two volumes do not lie at the same places."""
    remedy = (
        f"resample it: nibabel.processing.resample_from_to(nibabel.load('{path}'), nibabel.load('{like}'));"
        " or, if its voxels are those of the other file and only its affine is wrong, save it with that file's affine"
    )
    if shape != expected:
        reason = f"has {_size(shape)} voxels along the axes along which {like} has {_size(expected)}"
        raise DataError(f"{path}: {reason}; {remedy}")
    corners = np.array([*np.ndindex(2, 2, 2)]) * (np.array(shape) - 1)
    apart = np.linalg.norm(corners @ (affine - wanted)[:3, :3].T + (affine - wanted)[:3, 3], axis=1).max()
    if not apart <= SHIFT * np.linalg.norm(wanted[:3, :3], axis=0).min():
        reason = f"lies on another grid than {like}: corners are up to {apart:.3g} mm apart"
        raise DataError(f"{path}: {reason}; {remedy}")


def _read_picture(path: Path) -> Array:
    from PIL import Image, ImageSequence

    with Image.open(path) as picture:
        if picture.format in LOSSY:
            said = f"a {picture.format} file, whose codec changes scores"
            raise DataError(f"{path}: is {said}; expected the scores themselves: store them as .npy, .png or .tif")
        planes = [_plane(frame, path) for frame in ImageSequence.Iterator(picture)]
    if len(sizes := {plane.shape for plane in planes}) > 1:
        raise DataError(f"{path}: has pages of {len(sizes)} sizes; expected planes of one size: keep these alone")
    return np.stack(planes)


def _plane(frame: Image, path: Path) -> Array:
    """The grey of one picture (H, W), in the numbers that the file has; a palette's are looked up."""
    from PIL import ImageOps

    if ";16" in str(getattr(frame, "tile", "")) and not frame.mode.startswith("I"):
        raise DataError(f"{path}: has colours of 16 bits; expected one channel: store the scores alone")
    unsigned = getattr(frame, "tag_v2", {}).get(339, (1,)) == (1,)  # the TIFF tag SampleFormat
    turned = ImageOps.exif_transpose(frame)
    if turned.mode in ("P", "PA") or (turned.has_transparency_data and not turned.mode.endswith("A")):
        turned = turned.convert("RGBA")
    if turned.mode not in GREY:
        raise DataError(f"{path}: is a picture in {turned.mode} colours; expected one channel: store the scores alone")
    plane = np.array(turned)
    if turned.mode == "I" and frame.format == "TIFF" and unsigned:
        plane = plane.view(np.uint32)  # which Pillow takes for signed
    if turned.mode.endswith("A"):
        if (plane[..., -1] != plane[0, 0, -1]).any():
            raise DataError(f"{path}: its transparency differs from pixel to pixel; store one channel without it")
        plane = plane[..., :-1]
    if plane.ndim == 2:
        return plane
    if (plane != plane[..., :1]).any():
        expected = "expected one channel: the scores and no rendering of them, or a mask that is 0 where normal"
        raise DataError(f"{path}: is a coloured picture; {expected}")
    return plane[..., 0]


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
