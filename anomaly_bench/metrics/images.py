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
    k = (size * share).round().long().clamp(min=1)
    scores = maps.float().masked_fill(~foreground, -torch.inf).flatten(1)
    # On the CPU, where there is float64, so that large scores do not overflow in their sum.
    top, k = scores.topk(int(k.max()), dim=1).values.cpu().double(), k.cpu()
    mean = top.where(torch.arange(top.shape[1]) < k[:, None], 0.0).sum(1) / k
    if bool(mean.isnan().any()):
        images = mean.isnan().nonzero()[:, 0].tolist()
        raise ValueError(
            f"expected highest scores that have a mean, got NaN or both inf and -inf in images {images}; "
            "clip the maps to finite scores"
        )
    return mean.float().to(maps.device)


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
