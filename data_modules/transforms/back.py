"""Maps of slices and pictures back to where these came from: what preprocessing did to the grid, undone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from .geometry import resize_images
from .slicing import Grid, planes, window_of

HALF = 0.5  # how much of a voxel's neighbourhood must have been looked at
SAME = 1e-3  # millimetres


class ToPicture:
    """From the pixels (1, 1, H, W) that a model sees to those (h, w) of the picture.

    looked: (h, w) bool, all of it. Scores are interpolated linearly between pixel centres.
    """

    def __init__(self, geometry: Mapping[str, Any]) -> None:
        height, width = geometry["shape"]
        self.looked = np.ones((height, width), np.bool_)

    def __call__(self, scores: Tensor) -> NDArray[np.float32]:
        """The map (h, w) of one picture's scores (1, 1, H, W)."""
        height, width = self.looked.shape
        values: NDArray[np.float32] = resize_images(scores.float(), (height, width))[0, 0].numpy()
        return values


class ToVolume:
    """From slices (n, 1, H, W) to the volume (X, Y, Z), in RAS orientation, that they were cut from.

    foreground: (n, 1, H, W) bool, what of the slices counts; number and geometry: see Slices; source: the volume's own grid.
    Scores are interpolated linearly (bilinearly within slices, trilinearly where preprocessing changed the grid) between
    the foreground pixels alone: a score outside of the brain does not reach into it. looked: (X, Y, Z) bool, the voxels of
    which at least half of what they are interpolated from is foreground; elsewhere maps are 0.
    """

    def __init__(self, foreground: Tensor, number: Tensor, geometry: Mapping[str, Any], source: Grid) -> None:
        self.foreground, self.number, self.geometry, self.source = foreground, number.numpy(), geometry, source
        self.grid = Grid(tuple(geometry["shape"]), np.asarray(geometry["affine"]))
        self._weight = self._interpolated(foreground.float())
        self.looked: NDArray[np.bool_] = self._weight >= HALF

    def __call__(self, scores: Tensor) -> NDArray[np.float32]:
        """The map (X, Y, Z) of scores (n, 1, H, W), which have to be finite."""
        volume = self._interpolated(scores.float() * self.foreground)
        np.divide(volume, self._weight, out=volume, where=self.looked)
        volume[~self.looked] = 0
        return volume

    def _interpolated(self, values: Tensor) -> NDArray[np.float32]:
        plane, (top, left, side) = self.geometry["plane"], self.geometry["box"]
        volume = np.zeros(self.grid.shape, np.float32)
        slices = planes(volume, plane)
        window = window_of((top, left, side), slices.shape[1:])
        squares = resize_images(values, (side, side))[:, 0].numpy()
        slices[self.number, window.slice_rows, window.slice_columns] = squares[:, window.rows, window.columns]
        return volume if self._is_source() else self._resampled(volume)

    def _is_source(self) -> bool:
        apart = np.abs(self.grid.affine - self.source.affine)
        return self.grid.shape == self.source.shape and bool((apart <= SAME).all())

    def _resampled(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        to_grid = np.linalg.inv(self.grid.affine) @ self.source.affine
        resampled: NDArray[np.float32] = ndimage.affine_transform(
            volume,
            to_grid[:3, :3],
            to_grid[:3, 3],
            output_shape=self.source.shape,
            order=1,
            mode="grid-constant",
            prefilter=False,
        )
        return resampled
