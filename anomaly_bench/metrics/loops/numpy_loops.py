"""The loops of `numba_loops` in NumPy and SciPy, for where numba is not, or not worth loading: identical results."""

from __future__ import annotations

import numpy as np

from anomaly_bench.metrics.bins import COUNTS, bin_names
from anomaly_bench.metrics.formulas import Array

_SIGNLESS, _SIGN = np.int32(0x7FFFFFFF), np.uint32(0x80000000)
_LEAST, _EMPTY, _MIXED = np.int64(-(1 << 63)), np.int64(0), np.int64(-1)
_BLOCK = 1 << 17  # pixels that are looked at together: what is known of them stays in the cache
# 8-connected within a plane, not connected to other planes.
_WITHIN_PLANE = np.array([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))], dtype=bool)


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
    """As `numba_loops.count`, but holds nothing back."""
    for start in range(0, len(scores), _BLOCK):
        values = scores[start : start + _BLOCK]
        if foreground is not None:
            values = values[foreground[start : start + _BLOCK]]
        index = _bins(values, pivot, bits)
        codes = (values.astype(np.float64) + 0.0).view(np.int64) ^ _LEAST
        known = tie[index]
        odd = np.flatnonzero((known != codes) & (known != _MIXED))
        fresh = odd[known[odd] == _EMPTY]
        # Whichever pixel of a bin is written last: one that differs from it is found in the next line.
        tie[index[fresh]] = codes[fresh]
        tie[index[odd[tie[index[odd]] != codes[odd]]]] = _MIXED
        np.add.at(normal, index, normal.dtype.type(1))
    if foreground is not None:
        inside = foreground[pixels]
        pixels, weight = pixels[inside], weight[inside]
    index = _bins(scores[pixels], pivot, bits)
    np.subtract.at(normal, index, normal.dtype.type(1))
    np.add.at(anomalous, index, anomalous.dtype.type(1))
    np.add.at(region, index, weight.astype(np.float64))


def called(scores: Array, mask: Array, foreground: Array | None, pivot: np.float32, bits: int, threshold: int) -> Array:
    """As `numba_loops.called`."""
    totals = np.zeros(4, dtype=np.int64)
    for start in range(0, len(scores), _BLOCK):
        block = slice(start, start + _BLOCK)
        values, hit = scores[block], mask[block]
        if foreground is not None:
            values, hit = values[foreground[block]], hit[foreground[block]]
        over = _bins(values, pivot, bits) >= threshold
        counts = (len(values), int(hit.sum()), int((hit & over).sum()), int(over.sum()))
        totals += np.array(counts)
    return totals


def fold(bins: Array, order: Array, bits: int, whole: Array) -> int:
    """As `numba_loops.fold`."""
    if not len(bins):
        return 0
    keys = bins["key"][order]
    names = bin_names(keys, bits)
    starts = np.flatnonzero(np.append(True, names[1:] != names[:-1]))
    out = whole[: len(starts)]
    out["key"] = keys[starts]
    out["mixed"] = keys[starts] != keys[np.append(starts[1:], len(keys)) - 1]
    out["mixed"] |= np.logical_or.reduceat(bins["mixed"][order], starts)
    for name in COUNTS:
        out[name] = np.add.reduceat(bins[name][order], starts)
    return len(starts)


def label(pixels: Array, height: int, width: int, owner: Array) -> int:
    """As `numba_loops.label`."""
    from scipy import ndimage  # here, for those who never look for regions

    planes, plane = np.unique(pixels // (height * width), return_inverse=True)
    flat = plane * (height * width) + pixels % (height * width)
    mask = np.zeros((len(planes), height, width), dtype=bool)
    mask.ravel()[flat] = True
    labels, count = ndimage.label(mask, structure=_WITHIN_PLANE)
    owner[:] = labels.ravel()[flat] - 1
    return int(count)


def _bins(values: Array, pivot: np.float32, bits: int) -> Array:
    """The bin of each score."""
    with np.errstate(over="ignore"):  # beyond float32 is infinite
        shifted = values.astype(np.float32, copy=False) - pivot
    pattern = (shifted + np.float32(0.0)).view(np.int32)
    keys = (pattern ^ ((pattern >> np.int32(31)) & _SIGNLESS)).view(np.uint32) ^ _SIGN
    return (keys >> np.uint32(32 - bits)).astype(np.intp)
