"""Anomalous regions of a mask: found once per batch, shared by all predictors."""

from __future__ import annotations

import math
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from anomaly_bench.metrics.accelerate import loops_for
from anomaly_bench.metrics.curves import Array


class Regions(NamedTuple):
    """The 8-connected anomalous regions of a batch of planes, numbered in raster order of their first pixels.

    pixels: (P,) int64, ascending flat indices of the anomalous pixels in the mask.
    owner: (P,) int32, the region that each of them lies in.
    sizes: (regions,) int64, pixels per region.
    planes: number, height and width of the planes.
    """

    pixels: Array
    owner: Array
    sizes: Array
    planes: tuple[int, ...]

    def weights(self) -> Array:
        """1/size of the region of each of `pixels`, (P,) float32."""
        return (1.0 / self.sizes)[self.owner].astype(np.float32)

    def within(self, foreground: Tensor) -> Regions:
        """What of the regions lies in a foreground of the mask's shape, bool; a region wholly outside is left out.

        Raises:
            ValueError: the foreground has another shape.
        """
        self.check(foreground, "a foreground")
        inside = foreground.cpu().flatten().numpy()[self.pixels]
        left, owner, sizes = np.unique(self.owner[inside], return_inverse=True, return_counts=True)
        del left
        return Regions(self.pixels[inside], owner.astype(np.int32), sizes, self.planes)

    def check(self, maps: Tensor, name: str) -> None:
        """ValueError unless maps are of as many planes of the same size."""
        if maps.numel() != math.prod(self.planes) or tuple(maps.shape[-2:]) != self.planes[-2:]:
            raise ValueError(f"expected {name} of {self.planes} like the regions' mask, got {tuple(maps.shape)}")


def find_regions(mask: Tensor) -> Regions:
    """The regions of a mask (..., H, W), bool; planes are not connected to each other.

    Raises:
        ValueError: the mask has fewer than two dimensions, or is not bool.
    """
    if mask.ndim < 2 or mask.dtype != torch.bool:
        raise ValueError(f"expected a bool mask (..., H, W), got {mask.dtype} of shape {tuple(mask.shape)}")
    planes = mask.cpu().reshape(-1, *mask.shape[-2:]).numpy()
    return label_planes(planes, loops_for(planes.size))


def label_planes(planes: Array, loops: ModuleType) -> Regions:
    """The regions of planes (N, H, W), bool; `loops` is the module `compiled` or `plain`."""
    pixels = np.flatnonzero(planes)
    owner = np.zeros(len(pixels), dtype=np.int32)
    count = loops.label(pixels, *planes.shape[1:], owner) if len(pixels) else 0
    return Regions(pixels, owner, np.bincount(owner, minlength=count), planes.shape)


def region_weight(mask: Tensor) -> Tensor:
    """1/size of the 8-connected region that a pixel of the mask lies in, 0 elsewhere: float32, shape and device of it."""
    regions = find_regions(mask)
    weight = np.zeros(mask.numel(), dtype=np.float32)
    weight[regions.pixels] = regions.weights()
    return torch.from_numpy(weight).view(mask.shape).to(mask.device)
