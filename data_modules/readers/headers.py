"""Where the volume of a file lies and how large it is: the one way to its header, without reading a voxel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monai.data.utils import correct_nifti_header_if_necessary
from numpy.typing import NDArray
from PIL import Image

from data_modules.base.errors import DataError
from data_modules.base.names import SLICE, file_and_frame, slices_of

from .content import reading

APART = 0.05  # mm, or of a voxel if that is more: how far apart two affines of one header may put a voxel
Affine = NDArray[np.float64]
MOST = 2**36  # voxels


@dataclass(frozen=True)
class Stored:
    """A volume as its file has it.

    shape: of the array in the file. affine: (4, 4), from its indices to millimetres, as it is read; said: as the file says
    it, before what contradicts its spacing is mended. doubt: what the header leaves open, empty if nothing. image: nibabel's
    image, whose voxels are still in the file; None of a MetaImage file. header: of NIfTI, as it is in the file.
    """

    shape: tuple[int, ...]
    affine: Affine
    said: Affine
    doubt: str = ""
    image: Any = None
    header: Any = None

    @property
    def is_metaimage(self) -> bool:
        return self.image is None


def split_source(source: str) -> tuple[str, int | None]:
    """`FILE#k` to (FILE, k), FILE to (FILE, None). Raises DataError if k is no number."""
    file, channel = file_and_frame(source)
    if channel is None:
        return file, None
    if not channel.isdecimal():
        raise DataError(f"{source}: expected the number of a volume after '#', such as '{file}#0'; got '{channel}'")
    return file, int(channel)


def open_volume(path: Path) -> Stored:
    """The header of a file of one volume, or of several along a fourth axis.

    Raises DataError naming the file if it cannot be read, if its affine holds NaN or does not span the space, and for sides
    that no volume has.
    """
    with reading(path, "volume"):
        stored = _metaimage(path) if path.name.lower().endswith((".mha", ".mhd")) else _nibabel(path)
        if not spans(stored.affine):
            raise DataError(
                f"{path}: its affine does not say where its voxels lie ({_rows(stored.affine)}); repair its header"
            )
        if min(stored.shape, default=0) < 1 or math.prod(stored.shape) > MOST:
            sides = "×".join(map(str, stored.shape))
            raise DataError(
                f"{path}: its header says {sides} voxels; expected sides above 0 that a volume may have; repair it"
            )
        return stored


def header_size(path: Path) -> str:
    """Voxels and millimetres along the axes as the file stores them: '240×240×155 voxels of 1×1×1 mm'.

    path: may end with `#k`, volume k of a 4D file. Raises DataError if the header cannot be read.
    """
    file = Path(split_source(str(path))[0])
    if SLICE in file.name:
        with reading(file, "volume"), Image.open((slices := slices_of(str(file)))[0]) as opened:
            return f"{len(slices)} pictures of {opened.height}×{opened.width} pixels"
    stored = open_volume(file)
    sides = np.linalg.norm(stored.affine[:3, :3], axis=0)
    size = "×".join(str(side) for side in stored.shape[:3])
    return f"{size} voxels of {'×'.join(f'{side:.3g}' for side in sides)} mm"


def spans(affine: Affine) -> bool:
    """Whether an affine gives each voxel a place of its own: it is finite, no axis is null or a mix of others."""
    axes = affine[:3, :3]
    if not np.isfinite(affine).all() or not (sides := np.linalg.norm(axes, axis=0)).all():
        return False
    return bool(abs(np.linalg.det(axes / sides)) > 1e-6)


def farthest(one: Affine, other: Affine, shape: tuple[int, ...]) -> float:
    """How many millimetres two affines put the same voxel of a volume apart at most; it is a voxel at a corner."""
    corners = np.array([*product(*((0, side - 1) for side in shape[:3]))])
    difference = one - other
    return float(np.linalg.norm(corners @ difference[:3, :3].T + difference[:3, 3], axis=1).max())


def _nibabel(path: Path) -> Stored:
    image: Any = _load(path)
    header = image.header.copy() if isinstance(image.header, nib.Nifti1Header) else None
    said = image.affine.copy()
    doubt = "" if header is None else _doubt(header, image.shape)
    mended: Any = correct_nifti_header_if_necessary(image)
    if header is not None and not spans(said) and not header["qform_code"]:
        mended.affine[:] = said  # a spacing alone, which is what else is left of such a header, is no orientation
    return Stored(tuple(map(int, image.shape)), mended.affine, said, doubt, mended, header)


def _load(path: Path) -> Any:
    """nibabel's image; nibabel itself takes endings in small or in capital letters alone, .Nii.gz is neither."""
    if not path.name.lower().endswith((".nii", ".nii.gz")) or path.name.endswith((".nii", ".nii.gz")):
        return nib.load(path)
    try:
        return nib.Nifti1Image.from_file_map(nib.Nifti1Image.make_file_map({"image": str(path)}))
    except nib.spatialimages.HeaderDataError:
        return nib.Nifti2Image.from_file_map(nib.Nifti2Image.make_file_map({"image": str(path)}))


def _doubt(header: Any, shape: tuple[int, ...]) -> str:
    """What a NIfTI header leaves open of where its volume lies."""
    sform, qform = (header.get_sform(coded=True), header.get_qform(coded=True))
    if not sform[1] and not qform[1]:
        return "its header says nothing of orientation (both sform_code and qform_code are 0), so that sides may be exchanged"
    if sform[0] is None or not spans(sform[0]):
        return "" if sform[0] is None else "its sform does not say where its voxels lie, and its qform is read"
    if qform[0] is None:
        return ""
    away = farthest(sform[0], qform[0], shape) if spans(qform[0]) else np.inf
    if away <= max(APART, APART * np.linalg.norm(sform[0][:3, :3], axis=0).max()):
        return ""
    codes = ["".join(map(str, nib.aff2axcodes(matrix))) for matrix in (sform[0], qform[0]) if spans(matrix)]
    axes = f", and say {' and '.join(codes)}" if len(set(codes)) > 1 else ""
    return f"its sform and its qform put a voxel up to {away:.3g} mm apart{axes}"


def _metaimage(path: Path) -> Stored:
    reader = _metaimage_reader(path)
    reader.ReadImageInformation()
    if reader.GetNumberOfComponents() > 1:
        raise DataError(f"{path}: expected one number per voxel, found several; split its components first")
    rank = reader.GetDimension()
    flip = np.diag([-1.0, -1.0, 1.0])  # ITK's axes are LPS, NIfTI's are RAS
    affine = np.eye(4)
    if rank >= 3:
        direction = np.reshape(reader.GetDirection(), (rank, rank))[:3, :3]
        affine[:3, :3] = flip @ direction @ np.diag(reader.GetSpacing()[:3])
        affine[:3, 3] = flip @ np.asarray(reader.GetOrigin()[:3])
    return Stored(tuple(map(int, reader.GetSize())), affine, affine)


def metaimage_voxels(path: Path) -> NDArray[Any]:
    """The voxels of a MetaImage file, first axis first; float32 where the file has more than 16 bits."""
    import SimpleITK as sitk  # noqa: N813 (the library's own idiom)

    reader = _metaimage_reader(path)
    image = reader.Execute()
    if image.GetSizeOfPixelComponent() > 2:
        image = sitk.Cast(image, sitk.sitkFloat32)
    voxels: NDArray[Any] = sitk.GetArrayFromImage(image).T
    return voxels


def _metaimage_reader(path: Path) -> Any:
    try:
        import SimpleITK  # the extra anomaly-bench[mha]
    except ImportError as error:
        raise DataError(f"{path}: reading MetaImage files needs SimpleITK; pip install 'anomaly-bench[mha]'") from error
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("MetaImageIO")  # by name, not by the file's ending, which may be .MHA
    reader.SetFileName(str(path))
    return reader


def _rows(affine: Affine) -> str:
    return ", ".join(str([float(f"{number:.3g}") for number in row]) for row in affine[:3])
