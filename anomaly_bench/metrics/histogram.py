"""Histograms of float32 scores whose range nobody has to know: the bin of a score is the top of its bit pattern."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

SIGNLESS = 0x7FFFFFFF
EMPTY, MIXED = -1, SIGNLESS
PIVOT_SAMPLE = 1 << 16


class Histograms(NamedTuple):
    """Per bin (bins,): counts of pixels, summed region weights of the anomalous ones, and whether all tie.

    normal, anomalous: int64. region: float64. tie: int32, what the bin leaves out of the key of its pixels if that is
    the same for all of them, MIXED if not, EMPTY if there are none. Any partition of the pixels adds up to the same.
    """

    normal: Tensor
    anomalous: Tensor
    region: Tensor
    tie: Tensor

    @classmethod
    def empty(cls, bins: int, device: torch.device | None = None) -> Histograms:
        """No pixel counted."""
        # Zeros of NumPy take no memory before they are written to, and most bins never are.
        normal, anomalous, region = (
            torch.from_numpy(np.zeros(bins, kind)) for kind in (np.int64, np.int64, np.float64)
        )
        tie = torch.from_numpy(np.full(bins, EMPTY, dtype=np.int32))
        return cls(*(part if device is None else part.to(device) for part in (normal, anomalous, region, tie)))

    def add(self, bins: Tensor, low: Tensor, anomalous: Tensor, weight: Tensor) -> None:
        """Count pixels in place: `bins` int64, `low` int32, `anomalous` bool and `weight` float32, each (N,)."""
        # scatter_add_ is as quick as bincount, needs no second histogram and keeps to CUDA's deterministic mode.
        one = torch.ones_like(bins)
        self.normal.scatter_add_(0, bins, one - anomalous.long())
        hits = bins[anomalous]
        self.anomalous.scatter_add_(0, hits, one[: len(hits)])
        # float64 holds these sums of float32 weights without rounding, so their order does not show.
        self.region.index_add_(0, hits, weight[anomalous].double())
        fresh = self.tie[bins] == EMPTY
        # Whichever pixel of a bin is written last: one that differs from it is found in the next line.
        self.tie[bins[fresh]] = low[fresh]
        self.tie[bins[self.tie[bins] != low]] = MIXED


def merged_ties(ties: Tensor) -> Tensor:
    """The `tie` of all histograms together, of theirs, (histograms, bins)."""
    highest = ties.amax(0)
    lowest = ties.masked_fill(ties == EMPTY, MIXED).amin(0)
    return highest.where((highest == EMPTY) | (lowest == highest), torch.full_like(highest, MIXED))


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
    ordered = pattern ^ ((pattern >> 31) & SIGNLESS)
    remaining = 32 - bits
    return (ordered >> remaining).long() + (1 << (bits - 1)), ordered & ((1 << remaining) - 1)


def bin_lower_edge(index: int, pivot: float, bits: int) -> float:
    """The least score of bin `index`, up to the rounding of the pivot's addition; ±inf beyond the finite floats."""
    ordered = (index << (32 - bits)) - (1 << 31)
    if ordered > SIGNLESS:
        return math.inf
    pattern = ordered if ordered >= 0 else ordered ^ SIGNLESS
    edge: float = struct.unpack("<f", struct.pack("<i", pattern))[0]
    return math.copysign(math.inf, ordered) if math.isnan(edge) else edge + pivot


def default_pivot(scores: Tensor, foreground: Tensor | None = None) -> Tensor:
    """The median of the finite foreground scores (of two, the lower one), () float32 on the CPU; 0 when there are none.

    Also 0 for float16 and bfloat16, whose scores then have a bin of 20 bits each: every metric is exact. Of more than
    PIVOT_SAMPLE pixels, evenly spread ones stand for the others.
    """
    scores = scores.flatten()
    # Odd, or it would meet the same columns in every row of most images.
    every = -(-len(scores) // PIVOT_SAMPLE) | 1
    sample = scores[::every]
    if foreground is not None:
        inside = foreground.flatten()
        sample = sample[inside[::every]] if bool(inside[::every].any()) else scores[inside]
    values = sample.float().cpu().numpy()
    finite = values[np.isfinite(values)]
    if scores.dtype in (torch.float16, torch.bfloat16) or not len(finite):
        return torch.tensor(0.0)
    middle = (len(finite) - 1) // 2
    return torch.tensor(np.partition(finite, middle)[middle])
