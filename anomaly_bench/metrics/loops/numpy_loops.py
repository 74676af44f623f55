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
    mask: Array,
    foreground: Array,
    weight: Array,
    sparse: bool,
    pivot: np.float32,
    bits: int,
    held: Array,
    normal: Array,
    anomalous: Array,
    region: Array,
    tie: Array,
) -> None:
    """As `numba_loops.count`, but holds nothing back."""
    passed = 0
    for start in range(0, len(scores), _BLOCK):
        block = slice(start, start + _BLOCK)
        hit, hits = mask[block], int(mask[block].sum())
        weights = weight[passed : passed + hits] if sparse else weight[block][hit]
        passed += hits
        values = scores[block]
        if foreground.size:
            inside = foreground[block]
            weights, hit, values = weights[inside[hit]], hit[inside], values[inside]
        index = (_keys(values, pivot) >> np.uint32(32 - bits)).astype(np.intp)
        codes = (values.astype(np.float64) + 0.0).view(np.int64) ^ _LEAST
        held = tie[index]
        odd = np.flatnonzero((held != codes) & (held != _MIXED))
        fresh = odd[held[odd] == _EMPTY]
        # Whichever pixel of a bin is written last: one that differs from it is found in the next line.
        tie[index[fresh]] = codes[fresh]
        tie[index[odd[tie[index[odd]] != codes[odd]]]] = _MIXED
        positive = index[hit]
        np.add.at(normal, index[~hit], normal.dtype.type(1))
        np.add.at(anomalous, positive, anomalous.dtype.type(1))
        np.add.at(region, positive, weights.astype(np.float64))


def called(scores: Array, mask: Array, foreground: Array, pivot: np.float32, bits: int, threshold: int) -> Array:
    """As `numba_loops.called`."""
    totals = np.zeros(4, dtype=np.int64)
    for start in range(0, len(scores), _BLOCK):
        block = slice(start, start + _BLOCK)
        values, hit = scores[block], mask[block]
        if foreground.size:
            values, hit = values[foreground[block]], hit[foreground[block]]
        over = (_keys(values, pivot) >> np.uint32(32 - bits)).astype(np.int64) >= threshold
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


def _keys(scores: Array, pivot: np.float32) -> Array:
    """The 32-bit key of each score, uint32."""
    with np.errstate(over="ignore"):  # beyond float32 is infinite
        shifted = scores.astype(np.float32, copy=False) - pivot
    pattern = (shifted + np.float32(0.0)).view(np.int32)
    return (pattern ^ ((pattern >> np.int32(31)) & _SIGNLESS)).view(np.uint32) ^ _SIGN
