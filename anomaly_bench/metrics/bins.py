"""How a score becomes a bin: whole numbers in the order of the scores.

Bins of a curve are dense, 2**bits of them, finest around a pivot (`score_keys`, `Histograms`). Bins of a subject are
sparse, named by up to all 64 bits of a score (`bin_names`, `BIN`).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .formulas import Array

SIGNLESS = 0x7FFFFFFF
LEAST, MOST, EMPTY, MIXED = -(1 << 63), (1 << 63) - 1, 0, -1
INFINITE = 0x7F800000  # the bit pattern of infinity
PIVOT_SAMPLE = 1 << 16
SPIKE = 0.05  # of the pixels that all have one score: only around the pivot is such a score alone in its bin
MANY = 2  # what a byte of `loops.count` holds where pixels do not tie: numbers above it are pixels still to add
FULL = 64  # bits of a whole score
BIN = np.dtype([("key", "u8"), ("normal", "i8"), ("anomalous", "i8"), ("region", "f8"), ("mixed", "?")])
RAW = np.dtype(f"V{BIN.itemsize}")  # as which NumPy copies bins several times as quickly
COUNTS = ("normal", "anomalous", "region")
_SIGN, _SIGNLESS = np.uint64(1 << 63), np.int64((1 << 63) - 1)


class Histograms(NamedTuple):
    """Per bin (bins,): counts of pixels, summed region weights of the anomalous ones, and whether all tie.

    normal, anomalous: int64. region: float64. tie: int64, the `score_codes` of its pixels if that is the same for all
    of them, MIXED if not, EMPTY if there are none. Any partition of the pixels adds up to the same counts and ties. So
    it does for the weights, as long as (pixels of the largest region) x (regions in the bin) stays below 2**30:
    float64 holds such sums of float32 weights without rounding; beyond, the order may show in the last digit.
    """

    normal: Tensor
    anomalous: Tensor
    region: Tensor
    tie: Tensor

    @classmethod
    def empty(cls, bins: int) -> Histograms:
        """No pixel counted."""
        # Zeros of NumPy take no memory before they are written to, and most bins never are.
        kinds = (np.int64, np.int64, np.float64, np.int64)
        return cls(*(torch.from_numpy(np.zeros(bins, kind)) for kind in kinds))

    def add(self, bins: Tensor, codes: Tensor, normal: Tensor, anomalous: Tensor, weight: Tensor) -> None:
        """Count pixels in place, and never wait for the device: no size here depends on what the pixels are.

        bins, codes: int64. normal, anomalous: bool; pixels that are neither count nowhere. weight: float32. (N,) each.
        """
        counted, least, most = (
            normal | anomalous,
            torch.full_like(self.tie, MOST),
            torch.full_like(self.tie, LEAST),
        )
        with any_order():
            self.normal.scatter_add_(0, bins, normal.long())
            self.anomalous.scatter_add_(0, bins, anomalous.long())
            self.region.scatter_add_(0, bins, weight.double().masked_fill(~anomalous, 0.0))
            least.scatter_reduce_(0, bins, codes.masked_fill(~counted, MOST), "amin")
            most.scatter_reduce_(0, bins, codes.masked_fill(~counted, LEAST), "amax")
        own = torch.where(least == most, most, MIXED).masked_fill(most < least, EMPTY)
        self.tie.copy_(merged_ties(torch.stack([self.tie, own])))


@contextmanager
def any_order() -> Iterator[None]:
    """Sums whose order does not matter, of whole numbers or exact, as quickly as a GPU adds them.

    torch's deterministic mode would sort the pixels of each sum for the same result.
    """
    before, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)


def merged_ties(ties: Tensor) -> Tensor:
    """The `tie` of all histograms together, of theirs, (histograms, bins)."""
    empty = ties == EMPTY
    highest, lowest = ties.masked_fill(empty, LEAST).amax(0), ties.masked_fill(empty, MOST).amin(0)
    return highest.where(highest == lowest, MIXED).masked_fill(empty.all(0), EMPTY)


def score_codes(scores: Tensor) -> Tensor:
    """What tells a score from every other: int64, equal where two scores are, −0.0 and +0.0 too; none EMPTY or MIXED."""
    # The pattern of -0.0, which adding zero leaves no score with, becomes EMPTY; that of a NaN is MIXED.
    return (scores.double() + 0.0).view(torch.int64) ^ LEAST


def score_keys(scores: Tensor, pivot: Tensor | float, bits: int) -> Tensor:
    """The bin of each score: int64 in [0, 2**bits), the same shape; it never falls while the score grows.

    Scores become float32 (beyond its range ±inf), and lose the pivot in float32, so that scores closer than about 6e-8
    of the pivot share a bin whatever `bits` is.

    Args:
        scores: floating, any shape; ±inf allowed.
        pivot: finite; bins are finest around it.
        bits: how many of the 32 bits name the bin.

    Raises:
        ValueError: a score is NaN.
    """
    if bool(scores.isnan().any()):
        bad = int(scores.isnan().sum())
        raise ValueError(
            f"expected scores without NaN, got {bad} NaN among {scores.numel()}; mend the map before it ranks"
        )
    return keys_of(scores, float(pivot), bits)


def keys_of(scores: Tensor, pivot: float, bits: int) -> Tensor:
    """As `score_keys`, without a look at the scores; those of NaN are bins as well, at either end."""
    pattern = (scores.float() - pivot + 0.0).view(torch.int32)
    ordered = pattern ^ ((pattern >> 31) & SIGNLESS)
    return (ordered >> (32 - bits)).long() + (1 << (bits - 1))


def bin_lower_edge(index: int, pivot: float, bits: int) -> float:
    """The least float32 score of bin `index` or above: `scores >= edge` is `score_keys(scores) >= index`, for float32.

    inf if no score is as high.
    """

    def score(rank: int) -> float:
        """The float32 numbers in their order, rank 0 being zero."""
        return float(np.array(abs(rank), np.int32).view(np.float32)) * (1 if rank >= 0 else -1)

    # The pivot's addition rounds: only a search finds the very score where its subtraction begins to reach the bin.
    ranks = range(-INFINITE, INFINITE + 1)
    place = bisect_left(ranks, index, key=lambda rank: int(score_keys(torch.tensor(score(rank)), pivot, bits)))
    return score(ranks[place]) if place < len(ranks) else math.inf


def bin_edges(indices: Array, bits: int) -> Array:
    """The least score of each bin, relative to the pivot: int64 to float64, same shape; ±inf and NaN at either end."""
    ordered = ((indices - (1 << (bits - 1))) << (32 - bits)).astype(np.int32)
    with np.errstate(invalid="ignore"):  # patterns of NaN
        return (ordered ^ ((ordered >> 31) & np.int32(SIGNLESS))).view(np.float32).astype(np.float64)


def default_pivot(scores: Tensor, foreground: Tensor | None = None) -> Tensor:
    """Where scores crowd most: () float32 on the CPU, 0 when there is no finite foreground score.

    The most frequent score if a share of SPIKE has it, such as the zeros of a clamped map, or else the median (of two,
    the lower one). Also 0 for float16 and bfloat16, whose scores then have a bin of 20 bits each: every metric is exact.
    Of more than PIVOT_SAMPLE pixels, evenly spread ones stand for the others.
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
    distinct, counts = np.unique(finite, return_counts=True)
    most = int(counts.argmax())
    if counts[most] > max(SPIKE * len(finite), 1):
        return torch.tensor(distinct[most])
    return torch.tensor(distinct[np.searchsorted(counts.cumsum(), (len(finite) + 1) // 2)])


def threshold_at_fpr(normal: Tensor, fpr: float) -> int:
    """The lowest bin t such that the share of normal pixels in bins >= t is at most `fpr`.

    `fpr` 1 gives bin 0, so all pixels count as anomalous; 0 gives the bin above the highest normal pixel, which is
    len(normal), so that no pixel does, when normal pixels reach the last bin.

    Raises:
        ValueError: `fpr` is outside [0, 1], or there is no normal pixel.
    """
    if not 0 <= fpr <= 1:
        raise ValueError(f"expected a false-positive rate in [0, 1], got {fpr}")
    share = normal.flip(0).cumsum(0).double() / _total(normal)
    return len(normal) - int((share <= fpr).sum())


def mid_cdf(normal: Tensor) -> Tensor:
    """Per bin, the share of normal pixels in lower bins plus half the share in the same bin; float64 in [0, 1].

    Raises:
        ValueError: there is no normal pixel.
    """
    return (normal.cumsum(0).double() - normal.double() / 2) / _total(normal)


def _total(normal: Tensor) -> Tensor:
    total = normal.sum()
    if not bool(total):
        raise ValueError("expected at least one normal foreground pixel, got none; update with normal images first")
    return total


def score_patterns(scores: Array) -> Array:
    """The bit patterns of floating scores as float64, in the order of the scores: uint64, −0.0 as +0.0."""
    pattern = (scores.astype(np.float64) + 0.0).view(np.int64)
    return (pattern ^ ((pattern >> 63) & _SIGNLESS)).view(np.uint64) ^ _SIGN


def bin_names(keys: Array, bits: int) -> Array:
    """What names the bins of scores, given by their patterns: uint64 below 2**bits, never falling while the score grows.

    It is the top of the pattern of the stretched score: that in [0.5, 1) is stretched so that bins are as fine near 1 as
    near 0.
    """
    pattern = (keys ^ _SIGN).view(np.int64)
    scores = (pattern ^ ((pattern >> 63) & _SIGNLESS)).view(np.float64)
    with np.errstate(divide="ignore", over="ignore"):
        near = np.where(scores < 1, 0.25 / (1 - scores), scores * 2.0**52)
    return score_patterns(np.where(scores < 0.5, scores, near)) >> np.uint64(FULL - bits)
