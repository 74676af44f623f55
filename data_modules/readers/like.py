"""Arrays written as volumes that lie where another volume lies: its grid, its header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip
from monai.data.utils import correct_nifti_header_if_necessary
from numpy.typing import NDArray

from data_modules.base.errors import DataError

from .volumes import UNREADABLE, metaimage_affine, split_source

RAS = np.array([[0, 1], [1, 1], [2, 1]])
COMPRESSION = 2  # of igzip, whose levels go to 3


@dataclass(frozen=True)
class Source:
    """How a volume lies in its file, and in the RAS orientation of `read_volume`.

    shape: of the array in the file; affine: (4, 4), from its indices to millimetres, as the file says it; orientation:
    (3, 2), nibabel's, of its axes; ras_shape and ras_affine: of the volume that `read_volume` gives; header: the file's, if
    it is NIfTI.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    orientation: NDArray[np.float64]
    ras_shape: tuple[int, int, int]
    ras_affine: NDArray[np.float64]
    header: Any = None

    def in_file(self, volume: NDArray[Any]) -> NDArray[Any]:
        """An array (X, Y, Z) in RAS orientation with the axes of the file."""
        turn = nib.orientations.ornt_transform(RAS, self.orientation)
        turned: NDArray[Any] = nib.apply_orientation(volume, turn)
        return turned.reshape(self.shape)

    def encoded(self, volume: NDArray[Any]) -> bytes:
        """A compressed NIfTI file of an array (X, Y, Z) in RAS orientation, of the type that the array has.

        Shape, affine, sform and qform with their codes, and units are the source's; values are not scaled, and what the
        source's header extensions say of a patient is not copied. Of a source that is no NIfTI file: affine, in mm.
        """
        array = self.in_file(volume)
        kind: Any = nib.Nifti2Image if isinstance(self.header, nib.Nifti2Header) else nib.Nifti1Image
        image = kind(array, self.affine, None if self.header is None else _bare(self.header, array.dtype))
        if self.header is None:
            image.header.set_xyzt_units("mm")
        packed: bytes = igzip.compress(image.to_bytes(), COMPRESSION)
        return packed


def read_source(source: str) -> Source:
    """Where the volume of a file, or of `FILE#k`, lies. Raises DataError naming the file if its header cannot be read."""
    path = Path(split_source(source)[0])
    try:
        shape, affine, corrected, header = _metaimage(path) if _is_metaimage(path) else _nibabel(path)
        orientation = nib.io_orientation(corrected)
        there = np.empty(shape[:3], np.bool_)
        ras_shape = nib.apply_orientation(there, orientation).shape
        return Source(
            tuple(map(int, shape if np.prod(shape[3:]) == 1 else shape[:3])),
            affine,
            orientation,
            ras_shape,
            corrected @ nib.orientations.inv_ornt_aff(orientation, shape[:3]),
            header,
        )
    except UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: its header cannot be read ({reason}); copy it again") from error


def _is_metaimage(path: Path) -> bool:
    return path.name.endswith((".mha", ".mhd"))


def _nibabel(path: Path) -> tuple[tuple[int, ...], NDArray[np.float64], NDArray[np.float64], Any]:
    """Shape, affine, the affine that the reader makes of one that contradicts its header's spacing, and the header."""
    image: Any = nib.load(path)
    header = image.header.copy() if isinstance(image.header, nib.Nifti1Header) else None
    affine = image.affine.copy()
    corrected: Any = correct_nifti_header_if_necessary(image)
    return image.shape, affine, corrected.affine, header


def _metaimage(path: Path) -> tuple[tuple[int, ...], NDArray[np.float64], NDArray[np.float64], None]:
    import SimpleITK  # the extra anomaly-bench[mha]

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    affine = metaimage_affine(reader)
    return reader.GetSize(), affine, affine, None


def _bare(header: Any, dtype: Any) -> Any:
    """The header, in a single file and without extensions, for values of another kind: unscaled, with no range or meaning."""
    kind: Any = nib.Nifti2Header if isinstance(header, nib.Nifti2Header) else nib.Nifti1Header
    bare: Any = kind(header.binaryblock, header.endianness, check=False)
    bare["magic"], bare["vox_offset"] = bare.single_magic, 0
    bare.set_data_dtype(dtype)
    bare.set_slope_inter(None, None)
    bare["cal_min"], bare["cal_max"] = 0, 0
    bare.set_intent("none")
    return bare
