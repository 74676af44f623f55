"""Histograms of float32 scores whose range nobody has to know: the bin of a score is the top of its bit pattern."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

import torch
from torch import Tensor

_SIGNLESS = 0x7FFFFFFF


class Histograms(NamedTuple):
    """Counts per bin, and the extremes of what the bin leaves out of a key; each entry has shape (bins,).

    Two of them merge by sum, sum, minimum and maximum, so any partition of the pixels gives the same result.
    """

    normal: Tensor
    anomalous: Tensor
    low_min: Tensor
    low_max: Tensor

    @classmethod
    def empty(cls, bins: int, device: torch.device | None = None) -> Histograms:
        """No pixel counted: int64 zeros, and int32 extremes that any pixel replaces."""
        normal = torch.zeros(bins, dtype=torch.int64, device=device)
        low_min = torch.full((bins,), _SIGNLESS, dtype=torch.int32, device=device)
        return cls(normal, torch.zeros_like(normal), low_min, torch.full_like(low_min, -1))

    def add(self, bins: Tensor, low: Tensor, anomalous: Tensor) -> None:
        """Count pixels in place: `bins` int64 (N,), `low` int32 (N,), `anomalous` bool (N,)."""
        # scatter_add_ is as quick as bincount, needs no second histogram and keeps to CUDA's deterministic mode.
        one = torch.ones_like(bins)
        self.normal.scatter_add_(0, bins, one - anomalous.long())
        hits = bins[anomalous]
        self.anomalous.scatter_add_(0, hits, one[: len(hits)])
        self.low_min.scatter_reduce_(0, bins, low, "amin")
        self.low_max.scatter_reduce_(0, bins, low, "amax")

    def tied(self) -> Tensor:
        """Bool (bins,): the bin holds one single score, so its pixels are true ties and nothing is uncertain."""
        return self.low_min == self.low_max


def score_keys(scores: Tensor, pivot: Tensor | float, bits: int) -> tuple[Tensor, Tensor]:
    """The bin of each score and the bits below it; both grow with the score, and have its shape.

    Scores become float32 (a float64 map may tie there, or overflow to ±inf), and lose the pivot in float32: scores that
    differ by less than the rounding of that subtraction, about 6e-8 of the pivot, become one score. −0.0 and +0.0 tie.

    Args:
        scores: floating, any shape; ±inf allowed.
        pivot: finite; bins are finest around it.
        bits: how many of the 32 bits name the bin.

    Returns:
        int64 bins in [0, 2**bits), and the int32 remainders in [0, 2**(32 - bits)).

    Raises:
        ValueError: a score is NaN.
    """
    shifted = scores.float() - torch.as_tensor(pivot, dtype=torch.float32, device=scores.device) + 0.0
    if bool(shifted.isnan().any()):
        bad = int(scores.isnan().sum())
        raise ValueError(
            f"expected scores without NaN, got {bad} NaN among {scores.numel()}; mend the map before it ranks"
        )
    pattern = shifted.view(torch.int32)
    ordered = pattern ^ ((pattern >> 31) & _SIGNLESS)
    remaining = 32 - bits
    return (ordered >> remaining).long() + (1 << (bits - 1)), ordered & ((1 << remaining) - 1)


def bin_lower_edge(index: int, pivot: float, bits: int) -> float:
    """The least score of bin `index`, up to the rounding of the pivot's addition; ±inf beyond the finite floats."""
    ordered = (index << (32 - bits)) - (1 << 31)
    if ordered > _SIGNLESS:
        return math.inf
    pattern = ordered if ordered >= 0 else ordered ^ _SIGNLESS
    edge: float = struct.unpack("<f", struct.pack("<i", pattern))[0]
    return math.copysign(math.inf, ordered) if math.isnan(edge) else edge + pivot


def default_pivot(scores: Tensor) -> Tensor:
    """The median of the finite scores, () float32; 0 when there are none.

    Also 0 for float16 and bfloat16, whose scores then have a bin of 20 bits each: every metric is exact.
    """
    finite = scores[scores.isfinite()].float()
    if scores.dtype in (torch.float16, torch.bfloat16) or not len(finite):
        return torch.zeros((), device=scores.device)
    return finite.median()


def foreground_pixels(foreground: Tensor, **maps: Tensor) -> list[Tensor]:
    """Each map's values at the foreground pixels, (N,), in the order given.

    Raises:
        ValueError: a map's shape differs from the foreground's, or `foreground` or `mask` is not bool.
    """
    for name, values in {"foreground": foreground, **maps}.items():
        if values.shape != foreground.shape:
            raise ValueError(f"expected {name} of shape {tuple(foreground.shape)}, got {tuple(values.shape)}")
        if name in ("foreground", "mask") and values.dtype != torch.bool:
            raise ValueError(f"expected {name} of dtype bool, got {values.dtype}")
    return [values[foreground] for values in maps.values()]
