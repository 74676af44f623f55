"""Anomalous regions of a mask: found once per batch, shared by all predictors."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from anomaly_bench.metrics.accelerate import compiled_for
from anomaly_bench.metrics.curves import Array

# 8-connected within a plane, not connected to other planes.
_WITHIN_PLANE = np.array([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))], dtype=bool)


class Regions(NamedTuple):
    """The 8-connected anomalous regions of a batch of planes, numbered in raster order of their first pixels.

    pixels: (P,) int64, ascending flat indices of the anomalous pixels in the mask.
    owner: (P,) int32, the region that each of them lies in.
    sizes: (regions,) int64, pixels per region.
    """

    pixels: Array
    owner: Array
    sizes: Array

    def weights(self) -> Array:
        """1/size of the region of each of `pixels`, (P,) float32."""
        return (1.0 / self.sizes)[self.owner].astype(np.float32)

    def within(self, foreground: Tensor) -> Regions:
        """What of the regions lies in a foreground of the mask's shape, bool; a region wholly outside is left out."""
        inside = foreground.cpu().flatten().numpy()[self.pixels]
        left, owner, sizes = np.unique(self.owner[inside], return_inverse=True, return_counts=True)
        del left
        return Regions(self.pixels[inside], owner.astype(np.int32), sizes)


def find_regions(mask: Tensor) -> Regions:
    """The regions of a mask (..., H, W), bool; planes are not connected to each other.

    Raises:
        ValueError: the mask has fewer than two dimensions, or is not bool.
    """
    if mask.ndim < 2 or mask.dtype != torch.bool:
        raise ValueError(f"expected a bool mask (..., H, W), got {mask.dtype} of shape {tuple(mask.shape)}")
    planes = mask.cpu().reshape(-1, *mask.shape[-2:]).numpy()
    return label_planes(planes, compiled_for(planes.size))


def label_planes(planes: Array, compiled: ModuleType | None) -> Regions:
    """The regions of planes (N, H, W), bool; `compiled` is the module of that name, or None for SciPy."""
    pixels = np.flatnonzero(planes)
    if compiled is None or not len(pixels):
        owner = _label(planes, pixels)
    else:
        owner = np.empty(len(pixels), dtype=np.int32)
        compiled.label(pixels, *planes.shape[1:], owner)
    return Regions(pixels, owner, np.bincount(owner))


def region_weight(mask: Tensor) -> Tensor:
    """1/size of the 8-connected region that a pixel of the mask lies in, 0 elsewhere: float32, shape and device of it."""
    regions = find_regions(mask)
    weight = np.zeros(mask.numel(), dtype=np.float32)
    weight[regions.pixels] = regions.weights()
    return torch.from_numpy(weight).view(mask.shape).to(mask.device)


def _label(planes: Array, pixels: Array) -> Array:
    """Region of each pixel by SciPy, which is loaded only here."""
    from scipy import ndimage

    labels, _ = ndimage.label(planes, structure=_WITHIN_PLANE)
    return (labels.ravel()[pixels] - 1).astype(np.int32)
