"""Arrays written as volumes that lie where another volume lies: its grid, its header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip
from numpy.typing import NDArray

from data_modules.base.errors import DataError

from .headers import open_volume, split_source

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
    stored = open_volume(Path(split_source(source)[0]))
    orientation = nib.io_orientation(stored.affine)
    if len(stored.shape) < 3:
        raise DataError(f"{source}: expected one 3D volume, found shape {stored.shape}")
    turned = dict(zip(orientation[:, 0].astype(int), stored.shape[:3], strict=True))
    return Source(
        stored.shape if np.prod(stored.shape[3:]) == 1 else stored.shape[:3],
        stored.said,
        orientation,
        (turned[0], turned[1], turned[2]),
        stored.affine @ nib.orientations.inv_ornt_aff(orientation, stored.shape[:3]),
        stored.header,
    )


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
