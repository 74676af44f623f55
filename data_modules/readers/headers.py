"""What the headers of a subject's volumes say of their size, without reading a voxel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
from PIL import Image

from data_modules.base.errors import DataError
from data_modules.base.names import SLICE, slices_of

from .volumes import split_source


def header_size(path: Path) -> str:
    """Voxels and millimetres along the axes as the file stores them: '240×240×155 voxels of 1×1×1 mm'.

    path: may end with `#k`, volume k of a 4D file. Raises DataError if the header cannot be read.
    """
    file = Path(split_source(str(path))[0])
    try:
        if SLICE in file.name:
            with Image.open((slices := slices_of(str(file)))[0]) as opened:
                return f"{len(slices)} pictures of {opened.height}×{opened.width} pixels"
        shape, spacing = _metaimage(file) if file.suffix in (".mha", ".mhd") else _nifti(file)
    except (OSError, EOFError, ValueError, RuntimeError, nib.filebasedimages.ImageFileError) as error:
        raise DataError(f"{file}: its header cannot be read ({error}); copy it again") from error
    size = "×".join(str(side) for side in shape)
    return f"{size} voxels of {'×'.join(f'{side:.3g}' for side in spacing)} mm"


def _nifti(file: Path) -> tuple[list[int], list[float]]:
    header: Any = nib.load(file).header
    return [int(side) for side in header.get_data_shape()[:3]], [float(side) for side in header.get_zooms()[:3]]


def _metaimage(file: Path) -> tuple[list[int], list[float]]:
    import SimpleITK  # the extra anomaly-bench[mha]

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(file))
    reader.ReadImageInformation()
    return list(reader.GetSize()[:3]), list(reader.GetSpacing()[:3])
