"""The order of scores in whole numbers, and the sparse bins that are named by it. No torch here."""

from __future__ import annotations

import numpy as np

from anomaly_bench.metrics.curves import Array

FULL = 64  # bits of a whole score
BIN = np.dtype([("key", "u8"), ("normal", "i8"), ("anomalous", "i8"), ("region", "f8"), ("mixed", "?")])
RAW = np.dtype(f"V{BIN.itemsize}")  # as which NumPy copies bins several times as quickly
COUNTS = ("normal", "anomalous", "region")
_SIGN, _SIGNLESS = np.uint64(1 << 63), np.int64((1 << 63) - 1)


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
