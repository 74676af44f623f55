"""The connected regions of a segmentation, each with its size, its place and its scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[Any]
AXES = ("centroid_x_mm", "centroid_y_mm", "centroid_z_mm")
SCORES = ("peak_score", "mean_score", "peak_share")
PIXELS = ("centroid_row_px", "centroid_column_px")
VOLUMES = ("region", "voxels", "volume_mm3", *AXES, *SCORES)  # columns of a volume's table
AREAS = ("region", "area_px", *PIXELS, *SCORES)  # and of a picture's


def regions_of(
    segmentation: Array, raw: Array, calibrated: Array, affine: Array | None = None
) -> list[dict[str, float | int]]:
    """A row per region, from the highest peak score down.

    Voxels that share a face, an edge or a corner are connected (26 neighbours in a volume, 8 in a picture). affine: of a
    volume, from its indices to millimetres, RAS+; the region has then its volume in mm³ and its centroid there, else its
    area and its centroid in pixels, from 0 at the centre of the first one.
    """
    labels, count = ndimage.label(segmentation, structure=np.ones((3,) * segmentation.ndim))
    inside = np.flatnonzero(labels)
    owner = labels.ravel()[inside] - 1
    sizes = np.bincount(owner, minlength=count)
    where = np.unravel_index(inside, labels.shape)
    centres = np.stack([np.bincount(owner, axis, count) / sizes for axis in where], axis=1)
    columns: dict[str, Array] = {"voxels" if affine is not None else "area_px": sizes}
    if affine is not None:
        columns["volume_mm3"] = sizes * voxel_mm3(affine)
        centres = centres @ affine[:3, :3].T + affine[:3, 3]
    columns |= dict(zip(AXES if affine is not None else PIXELS, centres.T, strict=True))
    scores = raw.ravel()[inside].astype(np.float64)
    columns["peak_score"] = _highest(scores, owner, count)
    columns["mean_score"] = np.bincount(owner, scores, count) / sizes
    columns["peak_share"] = _highest(calibrated.ravel()[inside], owner, count)
    order = np.lexsort([-sizes, -columns["peak_score"]])
    rows = zip(*(column[order].tolist() for column in columns.values()), strict=True)
    return [{"region": number, **dict(zip(columns, row, strict=True))} for number, row in enumerate(rows, start=1)]


def voxel_mm3(affine: Array) -> float:
    """The volume of a voxel, without what rounding adds to a determinant."""
    return round(abs(float(np.linalg.det(affine[:3, :3]))), 9)


def _highest(values: Array, owner: Array, count: int) -> Array:
    highest = np.full(count, -np.inf)
    np.maximum.at(highest, owner, values)
    return highest
