"""The contracts between rooms: a decoded case, and a batch of slices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypedDict

from torch import Tensor


class AnomalyBatch(TypedDict):
    """One batch of images with everything that a metric needs to know about their pixels.

    image: (B, C, H, W) float32; with dataset.context=k the channels of 2k + 1 slices, one slice after the other, of which the
        one in the middle is meant by all that follows. With dataset.depth=D a volume, (B, C, D, H, W), and so are the pixels of
        mask, foreground and region_weight, (B, 1, D, H, W), and slice is (B, D); a slice without foreground counts nowhere.
    mask: (B, 1, H, W) bool, true where anomalous.
    foreground: (B, 1, H, W) bool, the pixels that count: the brain but for other pathology than what is anomalous, or all of a
        natural image. Contains the mask.
    region_weight: (B, 1, H, W) float32, 1/size of the 8-connected anomalous region that a pixel lies in, 0 elsewhere.
    subject: (B,) int64, the unit of splits and of resampling.
    slice: (B,) int64, the slice's index in its volume (0 for a picture).
    """

    image: Tensor
    mask: Tensor
    foreground: Tensor
    region_weight: Tensor
    subject: Tensor
    slice: Tensor


@dataclass(frozen=True)
class Slices:
    """One case, decoded.

    image (n, C, H, W) float32; mask and foreground (n, 1, H, W) bool; number (n,) int64, the slice's index in its volume;
    labelled (n,) bool, whether the slice has any label, of interest or not, so that it is not normal; kept and dropped,
    how many anomalous voxels lie in the slices with enough brain and in the others; geometry, JSON that says how the slices
    lie in the source: {shape, affine, plane, box} of a volume, {shape} of a picture; own (n,) bool, which slices are images,
    the others being neighbours of such alone, None if all are.
    """

    subject: str
    image: Tensor
    mask: Tensor
    foreground: Tensor
    number: Tensor
    labelled: Tensor
    kept: int = 0
    dropped: int = 0
    geometry: dict[str, Any] = field(default_factory=dict)
    own: Tensor | None = None
