"""The contract between data and models."""

from __future__ import annotations

from typing import TypedDict

from torch import Tensor


class AnomalyBatch(TypedDict):
    """One batch of images with everything that a metric needs to know about their pixels.

    image: (B, C, H, W) float32.
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
