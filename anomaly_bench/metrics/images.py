"""Image-level detection: one score per image from its map, and how well these scores separate images."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from . import formulas
from .formulas import Array


def top_k_mean(maps: Tensor, foreground: Tensor, share: float = 0.01) -> Tensor:
    """The mean of the highest `share` of each image's foreground pixels (rounded, at least one): (B,) float32.

    Args:
        maps: (B, 1, H, W), floating.
        foreground: (B, 1, H, W), bool.
        share: in (0, 1].

    Raises:
        ValueError: `share` is outside (0, 1], shapes differ, an image has no foreground, or its highest scores hold
            NaN, or both inf and -inf, and so have no mean.
    """
    if not 0 < share <= 1:
        raise ValueError(f"expected a share in (0, 1], got {share}")
    if maps.shape != foreground.shape:
        raise ValueError(f"expected maps of shape {tuple(foreground.shape)}, got {tuple(maps.shape)}")
    size = foreground.flatten(1).sum(1)
    if bool((size == 0).any()):
        raise ValueError(
            f"expected foreground in every image, got none in images {(size == 0).nonzero()[:, 0].tolist()}"
        )
    k = _how_many(size, share)
    return mean_of_highest(highest(maps, foreground, int(k.max())).cpu(), size.cpu(), share).to(maps.device)


def highest(maps: Tensor, foreground: Tensor, count: int) -> Tensor:
    """The highest scores of each image in its foreground, descending, (B, count) float32; −inf where there are fewer."""
    return maps.float().masked_fill(~foreground, -torch.inf).flatten(1).topk(count, dim=1).values


def at_most(pixels: int, share: float) -> int:
    """How many scores of an image of so many pixels `top_k_mean` may look at, whatever its foreground is."""
    return min(pixels, round(pixels * share) + 1)


def mean_of_highest(top: Tensor, size: Tensor, share: float) -> Tensor:
    """`top_k_mean` from the `highest` scores, on the CPU, of images with foregrounds of (B,) pixels, at least one each."""
    k = _how_many(size, share)
    # In float64, so that large scores do not overflow in their sum; of rows of a certain length, which its rounding depends on.
    top = top[:, : int(k.max())].double()
    mean = top.where(torch.arange(top.shape[1]) < k[:, None], 0.0).sum(1) / k
    if bool(mean.isnan().any()):
        images = mean.isnan().nonzero()[:, 0].tolist()
        raise ValueError(
            f"expected highest scores that have a mean, got NaN or both inf and -inf in images {images}; "
            "clip the maps to finite scores"
        )
    return mean.float()


def _how_many(size: Tensor, share: float) -> Tensor:
    return (size * share).round().long().clamp(min=1)


def image_auroc(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Exact AUROC of (N,) scores against (N,) labels, nonzero = anomalous; ties count half. None if a class is missing.

    Raises:
        ValueError: a score is NaN.
    """
    exact = formulas.auroc(*_tie_groups(scores, labels))
    return exact.value if exact else None


def image_ap(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Exact average precision, as `image_auroc`; None too if a class is missing."""
    normal, anomalous, tied = _tie_groups(scores, labels)
    exact = formulas.average_precision(normal, anomalous, tied) if normal.any() else None
    return exact.value if exact else None


def image_f1_oracle(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Exact best F1 of any threshold on the scores, as `image_auroc`; None too if a class is missing."""
    normal, anomalous, tied = _tie_groups(scores, labels)
    best = formulas.dice_oracle(normal, anomalous, tied) if normal.any() else None
    return best[0].value if best else None


def _tie_groups(scores: ArrayLike, labels: ArrayLike) -> tuple[Array, Array, Array]:
    """Counts of normal and of anomalous images per distinct score, highest first; all bins tied."""
    values, positive = np.asarray(scores, dtype=np.float64), np.asarray(labels).astype(bool)
    if values.ndim != 1 or values.shape != positive.shape:
        raise ValueError(f"expected scores and labels of one shape (N,), got {values.shape} and {positive.shape}")
    if np.isnan(values).any():
        raise ValueError(
            f"expected image scores without NaN, got NaN for images {np.flatnonzero(np.isnan(values)).tolist()}"
        )
    distinct, group = np.unique(-values, return_inverse=True)
    normal, anomalous = (np.bincount(group[chosen], minlength=len(distinct)) for chosen in (~positive, positive))
    return normal, anomalous, np.ones(len(distinct), dtype=bool)
