"""The inner loops of counting and of labelling, compiled by numba; importing this module needs the extra `fast`.

Every function gives what its namesake in `numpy_loops` gives, and `count_bins` what `sparse_bins.bins_of` gives, bit for bit,
and lets other threads run.
Maps are flat, (N,); without a `foreground` all of it counts. `pixels` (P,) are the indices of the anomalous pixels, ascending,
`weight` (P,) float32 their region weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from anomaly_bench.metrics.bins import MANY
from anomaly_bench.metrics.formulas import Array

_SIGNLESS, _SIGN = np.int32(0x7FFFFFFF), np.uint32(0x80000000)
_LEAST, _EMPTY, _MIXED = np.int64(-(1 << 63)), np.int64(0), np.int64(-1)
_ZERO, _TOP = np.float32(0.0), np.int32(31)
_MOST, _SIGN_64 = np.int64((1 << 63) - 1), np.uint64(1 << 63)
_BLOCK = np.uint64(256)  # pixels whose keys are found together: few enough to leave the cache to the bins
# What a bin of `count` holds: nothing, pixels that tie, or pixels that do not, of which the number above is still to add.
_ONE, _MANY, _ROOM = np.uint8(1), np.uint8(MANY), np.int64(256 - MANY)


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
def _code(score: np.float64) -> np.int64:
    """As `bins.score_codes`."""
    return np.float64(score + np.float64(0.0)).view(np.int64) ^ _LEAST


@_jit
def count(
    scores: Array,
    foreground: Array | None,
    pixels: Array,
    weight: Array,
    pivot: np.float32,
    bits: int,
    held: Array | None,
    normal: Array,
    anomalous: Array,
    region: Array,
    tie: Array,
) -> None:
    """Add pixels (N,) to histograms (2**bits,) in place; no score in the foreground may be NaN.

    `scores` are float32 or float64; a bin ties only if they are equal as they come. `held` (2**bits,) uint8, of zeros
    before the first call, keeps what is to be added to `normal` after the last. Of one byte each, the bins of most pixels
    stay in the nearest cache, and only full ones, and those whose pixels tie, look at the histograms: worth it for many.
    """
    shift = np.uint32(32 - bits)
    keys, place = np.empty(_BLOCK, np.uint32), np.empty(_BLOCK, np.uint64)
    # Unsigned indices take no look at wrapping around: twice as quick.
    for start in range(np.uint64(0), np.uint64(scores.size), _BLOCK):
        size = min(_BLOCK, np.uint64(scores.size) - start)
        for j in range(size):
            keys[j] = _key(np.float32(scores[start + j]), pivot) >> shift
        if foreground is not None:
            inside = np.uint64(0)
            for j in range(size):
                keys[inside], place[inside] = keys[j], j
                inside += np.uint64(foreground[start + j])
            size = inside
        for j in range(size):
            index = np.uint64(keys[j])
            if held is not None:
                more = np.uint8(held[index] + np.uint8(1))
                held[index] = more
                if more > _MANY:
                    continue
                held[index] = _MANY
                if more == np.uint8(0):  # full
                    normal[index] += _ROOM
                    continue
            normal[index] += 1
            known = tie[index]
            if known != _MIXED:  # of many pixels, most meet a bin that is mixed already
                code = _code(np.float64(scores[start + (j if foreground is None else place[j])]))
                if known in (code, _EMPTY):
                    tie[index] = code
                    if held is not None:
                        held[index] = _ONE
                else:
                    tie[index] = _MIXED
    for position in range(np.uint64(pixels.size)):  # counted as normal so far
        i = np.uint64(pixels[position])
        if foreground is None or foreground[i]:
            index = np.uint64(_key(np.float32(scores[i]), pivot) >> shift)
            normal[index] -= 1
            anomalous[index] += 1
            region[index] += weight[position]


@_jit
def called(scores: Array, mask: Array, foreground: Array | None, pivot: np.float32, bits: int, threshold: int) -> Array:
    """Of the foreground: pixels, anomalous pixels, anomalous pixels at or above the bin `threshold`, pixels there."""
    shift = np.uint32(32 - bits)
    pixels, positives, hits, above = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for i in range(np.uint64(scores.size)):
        if foreground is None or foreground[i]:
            over = np.int64(_key(np.float32(scores[i]), pivot) >> shift) >= threshold
            pixels += np.int64(1)
            above += np.int64(over)
            positives += np.int64(mask[i])
            hits += np.int64(mask[i] and over)
    return np.array([pixels, positives, hits, above])


@_jit
def count_bins(scores: Array, mask: Array, foreground: Array | None, weight: Array, bits: int, bins: Array) -> np.int64:
    """Add pixels (N,) to empty `bins.BIN` in place; -1 if these are too few.

    Gives how many of them, from the first, may be filled: all of every octave of scores that there is, in any order.
    """
    fine = np.uint64(max(bits - 12, 0))  # sign and exponent have 12 bits
    shift, width, used = np.uint64(64 - bits), np.uint64(1) << fine, np.uint64(0)
    begins = np.full(1 << 12, -1, np.int64)
    position = np.uint64(0)
    for i in range(np.uint64(scores.size)):
        hit = mask[i]
        if foreground is None or foreground[i]:
            score = np.float64(scores[i]) + np.float64(0.0)
            pattern = _pattern(score)
            name = _pattern(_stretched(score)) >> shift
            octave = name >> fine
            if begins[octave] < 0:
                if used + width > np.uint64(bins.size):
                    return np.int64(-1)
                begins[octave] = used
                used += width
            held = bins[np.uint64(begins[octave]) + (name & (width - np.uint64(1)))]
            if held.normal + held.anomalous == 0:
                held.key = pattern
            elif held.key != pattern:
                held.mixed = True
                held.key = min(held.key, pattern)
            if hit:
                held.anomalous += 1
                held.region += weight[position]
            else:
                held.normal += 1
        if hit:
            position += np.uint64(1)
    return np.int64(used)


@_jit
def _pattern(score: float) -> np.uint64:
    """As `bins.score_patterns`, of a score that is not -0.0."""
    pattern = np.float64(score).view(np.int64)
    return np.uint64(pattern ^ ((pattern >> np.int64(63)) & _MOST)) ^ _SIGN_64


@_jit
def _stretched(score: float) -> float:
    """As in `bins.bin_names`; without branches, as both halves are as frequent."""
    room = 1 - score if score < 1 else 1.0
    near = 0.25 / room
    above = near if score < 1 else score * 2.0**52
    return score if score < 0.5 else above


@_jit
def fold(bins: Array, order: Array, bits: int, whole: Array) -> int:
    """Add up `bins.BIN` (n,) that are one at that many bits, in empty bins (n,); gives how many are filled.

    order: (n,) indices of the bins by ascending key.
    """
    shift, last, at = np.uint64(64 - bits), np.uint64(0), -1
    for i in range(np.uint64(order.size)):
        own = bins[order[i]]
        name = _pattern(_stretched(_score(own.key))) >> shift
        if at < 0 or name != last:
            at, last = at + 1, name
            whole[at].key = own.key
        into = whole[at]
        into.mixed = into.mixed or own.mixed or into.key != own.key
        into.normal += own.normal
        into.anomalous += own.anomalous
        into.region += own.region
    return at + 1


@_jit
def _score(key: np.uint64) -> float:
    """The score of a pattern."""
    pattern = np.int64(key ^ _SIGN_64)
    return np.int64(pattern ^ ((pattern >> np.int64(63)) & _MOST)).view(np.float64)


@_jit
def label(pixels: Array, height: int, width: int, owner: Array) -> int:
    """Number the 8-connected regions of planes in raster order: fills `owner` (P,) int32, gives their number.

    pixels: (P,) int64, ascending flat indices of the anomalous pixels of planes (N, height, width). Runs of pixels in a row
    are joined to those that they touch in the row above.
    """
    begins, ends, root = np.empty(owner.size, np.int64), np.empty(owner.size, np.int64), np.empty(owner.size, np.int32)
    runs, row_stop, expected = np.int32(0), np.int64(0), np.int64(-1)
    for k in range(pixels.size):
        pixel = pixels[k]
        if pixel != expected or pixel >= row_stop:
            if pixel >= row_stop:
                row_stop = (pixel // width + 1) * width
            begins[runs], root[runs] = pixel, runs
            runs += np.int32(1)
        owner[k] = runs - np.int32(1)
        ends[runs - 1], expected = pixel, pixel + 1
    first = 0
    for k in range(runs):
        row, column = divmod(begins[k], width)
        if row % height == 0:
            continue
        start = begins[k] - width - (1 if column > 0 else 0)
        stop = ends[k] - width + (1 if ends[k] < (row + 1) * width - 1 else 0)
        while ends[first] < start:
            first += 1
        j = first
        while begins[j] <= stop:
            a, b = k, j
            while root[a] != a:
                root[a] = root[root[a]]
                a = root[a]
            while root[b] != b:
                root[b] = root[root[b]]
                b = root[b]
            root[max(a, b)] = min(a, b)
            j += 1
    regions = 0
    for k in range(runs):
        # A root comes before all of its region, so its entry holds the region's number already.
        if root[k] == k:
            root[k] = regions
            regions += 1
        else:
            root[k] = root[root[k]]
    for k in range(owner.size):
        owner[k] = root[owner[k]]
    return regions
