"""From a preprocessed scan to slices of one plane: those with enough brain, cropped to a square and resized."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.base.batch import Slices
from data_modules.base.errors import DataError

from .brain import bounding_box
from .geometry import resize_anomalies, resize_images, resize_masks, square_box
from .scan import ANOMALOUS, OTHER, Scan, forward

PLANES = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}  # axes of (X, Y, Z): slice, row, column
ANISOTROPY = 0.1  # by how much of a pixel's shorter side its longer one may exceed it
CHUNK = 16  # slices
ROUNDING = 1e-3  # voxels by which a crop's affine may miss whole numbers


class Grid(NamedTuple):
    """A RAS grid: shape (X, Y, Z) and affine (4, 4) from voxel indices to millimetres."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]


class Slicing(NamedTuple):
    """How slices are taken: the plane; size (H, W); the share of a slice that must be brain; every how many one is kept.

    context: how many slices on either side of those are taken with them.
    """

    plane: str
    size: tuple[int, int]
    min_foreground: float
    step: int
    context: int = 0


def planes(volume: NDArray[Any], plane: str) -> NDArray[Any]:
    """Slices (N, H, W) of a RAS volume (X, Y, Z), a view.

    Axial: the front of the head on top, its right on the right; coronal: the top on top, the right on the right;
    sagittal: the top on top, the front on the right.
    """
    return volume.transpose(PLANES[plane])[:, ::-1]


def cut(scan: Scan, source: Grid, slicing: Slicing, subject: str) -> Slices:
    """The slices of a scan; pixels with another label than the anomalous ones are no foreground, but stay in the image.

    Raises DataError naming the file if no slice has enough brain, or if pixels are longer than wide by more than 10 %.
    source: the grid before preprocessing. The result's geometry, {shape, affine, plane, box}, and its slice numbers refer to
    that grid if preprocessing did nothing but crop it, else to the grid that it made: pixel (i, j) of slice k is of
    row top + (i + ½) · side / H in planes(volume, plane)[k], where box is [top, left, side], and so for columns.
    """
    _check_pixels(scan, slicing.plane)
    brain = planes(np.ones(scan.shape, bool) if scan.brain is None else scan.brain, slicing.plane)
    _, rows, columns = bounding_box(brain) or (slice(0, length) for length in brain.shape)
    box = square_box(rows, columns)
    side = box[2]
    share = _count(brain).astype(np.float32) / np.float32(side * side)
    enough = share >= np.float32(slicing.min_foreground)
    images = np.flatnonzero(enough)[:: slicing.step]
    if len(images) == 0:
        raise DataError(
            f"{scan.sources[0]}: no {slicing.plane} slice has {slicing.min_foreground:.0%} brain; "
            "lower dataset.min_foreground"
        )
    offsets = np.arange(-slicing.context, slicing.context + 1)
    number = np.unique((images[:, None] + offsets).clip(0, len(brain) - 1))
    window = window_of(box, brain.shape[1:])
    foreground = np.zeros((len(number), 1, side, side), bool)
    foreground[:, 0, window.rows, window.columns] = brain[number, window.slice_rows, window.slice_columns]
    labelled, anomalous = np.zeros(len(brain), bool), np.zeros(len(brain), np.int64)
    small_mask = torch.zeros(len(number), 1, *slicing.size, dtype=torch.bool)
    small_other = torch.zeros_like(small_mask)
    if scan.label is not None:
        label = planes(scan.label, slicing.plane)
        labelled = _count(label) > 0
        for index in np.flatnonzero(labelled):
            anomalous[index] = np.count_nonzero(label[index] == ANOMALOUS)
        there = np.flatnonzero(labelled[number])
        square = np.zeros((len(there), 1, side, side), np.uint8)
        square[:, 0, window.rows, window.columns] = label[number[there], window.slice_rows, window.slice_columns]
        small_mask[there] = resize_anomalies(torch.from_numpy(square == ANOMALOUS), slicing.size)
        small_other[there] = resize_masks(torch.from_numpy(square == OTHER), slicing.size)
    small_brain = resize_masks(torch.from_numpy(foreground), slicing.size) | small_mask
    geometry, shift = _geometry(scan, source, slicing.plane, box)
    return Slices(
        subject=subject,
        image=_images(scan, slicing, number, window, side) * small_brain,
        mask=small_mask,
        foreground=(small_brain & ~small_other) | small_mask,
        number=torch.from_numpy(number + shift),
        labelled=torch.from_numpy(labelled[number]),
        kept=int(anomalous[enough].sum()),
        dropped=int(anomalous[~enough].sum()),
        geometry=geometry,
        own=torch.from_numpy(np.isin(number, images)) if slicing.context else None,
    )


def _check_pixels(scan: Scan, plane: str) -> None:
    """Slices are squares of voxels, which must be squares of millimetres too."""
    _, row, column = PLANES[plane]
    sides = np.linalg.norm(scan.affine[:3, :3], axis=0)
    if max(sides[row], sides[column]) > (1 + ANISOTROPY) * min(sides[row], sides[column]):
        raise DataError(
            f"{scan.sources[0]}: pixels of {plane} slices are {sides[column]:.3g} mm wide and {sides[row]:.3g} mm high, which "
            "would distort the head; set dataset.preprocess.spacing={use: Spacingd, pixdim: [1,1,1]}"
        )


def _images(scan: Scan, slicing: Slicing, number: NDArray[np.int64], window: Window, side: int) -> Tensor:
    """The chosen slices of all modalities, (n, C, H, W) float32, of which a few at a time are held in full resolution."""
    images = torch.empty(len(number), len(scan.image), *slicing.size)
    for start in range(0, len(number), CHUNK):
        part = number[start : start + CHUNK]
        square = np.zeros((len(part), len(scan.image), side, side), np.float32)
        for channel in range(len(scan.image)):
            square[:, channel, window.rows, window.columns] = _take(scan, channel, slicing.plane, part, window)
        images[start : start + CHUNK] = resize_images(torch.from_numpy(square), slicing.size)
    return images


class Window(NamedTuple):
    """The part of a square box that lies inside its slice: rows and columns in the box, and those in the slice."""

    rows: slice
    columns: slice
    slice_rows: slice
    slice_columns: slice


def window_of(box: tuple[int, int, int], shape: tuple[int, ...]) -> Window:
    top, left, side = box
    first, end = np.maximum((top, left), 0), np.minimum((top + side, left + side), shape)
    (top_in, left_in), (bottom_in, right_in) = (first - (top, left)).tolist(), (end - (top, left)).tolist()
    inside = [slice(int(start), int(stop)) for start, stop in zip(first, end, strict=True)]
    return Window(slice(top_in, bottom_in), slice(left_in, right_in), inside[0], inside[1])


def _take(scan: Scan, channel: int, plane: str, number: NDArray[np.int64], window: Window) -> NDArray[np.float32]:
    """The chosen slices of a modality inside the window, scaled, zero outside the brain."""
    index = (number, window.slice_rows, window.slice_columns)
    brain = None if scan.brain is None else planes(scan.brain, plane)[index]
    array = planes(scan.image[channel], plane)[index]
    return scan.scale(channel, array, brain)


def _count(slices: NDArray[Any]) -> NDArray[np.int64]:
    """How many pixels of each slice are true or not 0."""
    axes, flips = forward(slices[0])
    return np.array([np.count_nonzero(part.transpose(axes)[flips]) for part in slices])


def _geometry(scan: Scan, source: Grid, plane: str, box: tuple[int, int, int]) -> tuple[dict[str, Any], int]:
    """The geometry, and what to add to slice numbers to have them in its grid."""
    axes = PLANES[plane]
    grid, offset = Grid(scan.shape, scan.affine), np.zeros(3, np.int64)
    to_source = np.linalg.inv(source.affine) @ scan.affine
    moved = np.rint(to_source[:3, 3]).astype(np.int64)
    if np.allclose(to_source[:3, :3], np.eye(3), atol=ROUNDING / max(scan.shape)) and np.allclose(
        to_source[:3, 3], moved, atol=ROUNDING
    ):
        grid, offset = source, moved
    top, left, side = box
    top += grid.shape[axes[1]] - scan.shape[axes[1]] - int(offset[axes[1]])  # rows run against their axis
    geometry = {
        "shape": list(grid.shape),
        "affine": grid.affine.tolist(),
        "plane": plane,
        "box": [top, left + int(offset[axes[2]]), side],
    }
    return geometry, int(offset[axes[0]])
