"""The inner loops of counting and of labelling, compiled by numba; importing this module needs the extra `fast`.

Every function gives what its namesake in `plain` gives, bit for bit, and lets other threads run.
`weight` has one entry per pixel, or if `sparse`, one per anomalous pixel in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from anomaly_bench.metrics.curves import Array

_SIGNLESS, _SIGN = np.int32(0x7FFFFFFF), np.uint32(0x80000000)
_EMPTY, _MIXED = np.int32(-1), np.int32(0x7FFFFFFF)
_ZERO, _TOP = np.float32(0.0), np.int32(31)


def _jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled at the first call; kept on disk where a folder for it can be written."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True)(function)


@_jit
def _key(score: np.float32, pivot: np.float32) -> np.uint32:
    """The 32-bit key of a score: unsigned, and in the order of the scores."""
    pattern = np.float32(np.float32(score - pivot) + _ZERO).view(np.int32)
    return np.uint32(pattern ^ ((pattern >> _TOP) & _SIGNLESS)) ^ _SIGN


@_jit
def count(
    scores: Array,
    mask: Array,
    foreground: Array,
    weight: Array,
    sparse: bool,
    pivot: np.float32,
    bits: int,
    normal: Array,
    anomalous: Array,
    region: Array,
    tie: Array,
) -> None:
    """Add pixels (N,) to histograms (2**bits,) in place. An empty `foreground` counts all; no score may be NaN."""
    shift, below = np.uint32(32 - bits), np.uint32((1 << (32 - bits)) - 1)
    everywhere, position = foreground.size == 0, np.uint64(0)
    # Unsigned indices take no look at wrapping around: twice as quick.
    for i in range(np.uint64(scores.size)):
        hit = mask[i]
        if everywhere or foreground[i]:
            key = _key(scores[i], pivot)
            index, low = np.uint64(key >> shift), np.int32(key & below)
            held = tie[index]
            if held not in (low, _MIXED):
                tie[index] = low if held == _EMPTY else _MIXED
            if hit:
                anomalous[index] += 1
                region[index] += weight[position if sparse else i]
            else:
                normal[index] += 1
        if hit:
            position += np.uint64(1)


@_jit
def called(scores: Array, mask: Array, foreground: Array, pivot: np.float32, bits: int, threshold: int) -> Array:
    """Of the foreground: pixels, anomalous pixels, anomalous pixels at or above the bin `threshold`, pixels there."""
    shift = np.uint32(32 - bits)
    everywhere = foreground.size == 0
    pixels, positives, hits, above = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for i in range(np.uint64(scores.size)):
        if everywhere or foreground[i]:
            over = np.int64(_key(scores[i], pivot) >> shift) >= threshold
            pixels += np.int64(1)
            above += np.int64(over)
            positives += np.int64(mask[i])
            hits += np.int64(mask[i] and over)
    return np.array([pixels, positives, hits, above])


@_jit
def label(pixels: Array, height: int, width: int, owner: Array) -> int:
    """Number the 8-connected regions of planes in raster order: fills `owner` (P,) int32, gives their number.

    pixels: (P,) int64, ascending flat indices of the anomalous pixels of planes (N, height, width).
    """
    first = 0
    for k in range(pixels.size):
        owner[k] = k
        pixel = pixels[k]
        column = pixel % width
        if column > 0 and k > 0 and pixels[k - 1] == pixel - 1:
            owner[k] = owner[k - 1]
        if pixel // width % height == 0:
            continue
        start = pixel - width - (1 if column > 0 else 0)
        stop = pixel - width + (1 if column < width - 1 else 0)
        while pixels[first] < start:
            first += 1
        j = first
        while pixels[j] <= stop:
            a, b = k, j
            while owner[a] != a:
                owner[a] = owner[owner[a]]
                a = owner[a]
            while owner[b] != b:
                owner[b] = owner[owner[b]]
                b = owner[b]
            if a < b:
                owner[b] = a
            else:
                owner[a] = b
            j += 1
    regions = 0
    for k in range(pixels.size):
        # A root comes before all of its region, so its entry holds the region's number already.
        if owner[k] == k:
            owner[k] = regions
            regions += 1
        else:
            owner[k] = owner[owner[k]]
    return regions
