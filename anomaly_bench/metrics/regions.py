"""The anomalous regions of masks, and which lesions a threshold finds, by their size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .formulas import Array
from .loops import loops_for

SIZES = (1, 10, 100, 1000)
SHARE = 0.5


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
        _, owner, sizes = np.unique(self.owner[inside], return_inverse=True, return_counts=True)
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
    """The regions of planes (N, H, W), bool; `loops` is the module `numba_loops` or `numpy_loops`."""
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


class LesionDetection:
    """Counts of lesions and of detected lesions per size class, over any number of batches.

    A lesion is an 8-connected region of one image's mask. It is detected when at least `share` of its pixels is called
    anomalous. Counts are exact and add up over batches, and by `merge`.

    Args:
        sizes: ascending least sizes of the classes, in pixels; a smaller lesion is not counted.
        share: in (0, 1].
    """

    def __init__(self, sizes: Sequence[int] = SIZES, share: float = SHARE) -> None:
        if not sizes or sorted(set(sizes)) != list(sizes) or sizes[0] < 1:
            raise ValueError(f"expected ascending sizes from 1 pixel on, got {list(sizes)}")
        if not 0 < share <= 1:
            raise ValueError(f"expected a share in (0, 1], got {share}")
        self.sizes, self.share = tuple(sizes), share
        self.counts = np.zeros((2, len(sizes)), dtype=np.int64)

    def update(self, called: Tensor, regions: Regions) -> None:
        """Count the lesions of a batch.

        Args:
            called: bool, of the shape of the mask: the pixels called anomalous, e.g. `curve.keys(scores) >= threshold`.
            regions: of that mask, `find_regions(mask).within(foreground)`: once per batch, for all predictors.
        """
        regions.check(called, "called pixels")
        hit = called.detach().cpu().flatten().numpy()[regions.pixels]
        self.add(np.bincount(regions.owner, weights=hit, minlength=len(regions.sizes)), regions.sizes)

    def add(self, covered: Array, sizes: Array) -> None:
        """Count regions by how many of their pixels are called anomalous and how many they have, (regions,) each."""
        detected = covered / sizes >= self.share
        group = np.searchsorted(self.sizes, sizes, side="right") - 1
        for row, chosen in enumerate((group >= 0, (group >= 0) & detected)):
            self.counts[row] += np.bincount(group[chosen], minlength=len(self.sizes))

    def merge(self, other: LesionDetection) -> None:
        """Add what another one counted. Raises ValueError if its sizes or share differ."""
        mine, theirs = (self.sizes, self.share), (other.sizes, other.share)
        if mine != theirs:
            raise ValueError(f"expected sizes and share {mine}, got {theirs}")
        self.counts = self.counts + other.counts

    def rows(self) -> list[dict[str, int | None]]:
        """One row per size class: smallest and largest size in pixels (None: no limit), lesions, detected."""
        largest = [*(size - 1 for size in self.sizes[1:]), None]
        return [
            {"smallest": least, "largest": most, "lesions": lesions, "detected": detected}
            for least, most, lesions, detected in zip(self.sizes, largest, *self.counts.tolist(), strict=True)
        ]
