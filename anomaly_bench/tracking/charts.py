"""Curves and score histograms, thinned out for a chart, from the histograms of a LocalizationCurve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly_bench.metrics import LocalizationCurve

POINTS = 101
BARS = 60
TAILS = (0.001, 0.999)  # quantiles of all pixels between which the bars lie; the rest is in the outer ones
LIMIT = 0.3  # false-positive rate up to which the PRO curve is drawn, as AUPRO is integrated
Series = NDArray[np.float64]


def roc(curve: LocalizationCurve) -> tuple[Series, Series]:
    """False- and true-positive rates, ascending, (points,) each; empty without both classes."""
    normal, anomalous, _, _ = curve.descending()
    return _thinned(_share(normal), _share(anomalous), 1.0)


def pro(curve: LocalizationCurve) -> tuple[Series, Series]:
    """False-positive rates up to LIMIT and the mean overlap with regions, (points,) each; empty without both."""
    normal, _, region, _ = curve.descending()
    return _thinned(_share(normal), _share(region), LIMIT)


def precision_recall(curve: LocalizationCurve) -> tuple[Series, Series]:
    """Recalls, ascending, and precisions, (points,) each; empty without an anomalous pixel."""
    normal, anomalous, _, _ = curve.descending()
    recall = _share(anomalous)
    if not len(recall):
        return recall, recall
    hits = anomalous.cumsum()
    found = hits > 0
    precision = hits[found] / (hits + normal.cumsum())[found]
    at = np.unique(np.searchsorted(recall[found], np.linspace(0, 1, POINTS)).clip(max=len(precision) - 1))
    return recall[found][at], precision[at]


def score_histogram(curve: LocalizationCurve) -> tuple[Series, Series, Series]:
    """Middles of BARS bars of equal width and the shares of normal and of anomalous pixels in each, (BARS,) each.

    Empty without a pixel. The share of a class that has none is 0.
    """
    normal, anomalous = curve.normal.numpy(), curve.anomalous.numpy()
    bins = np.flatnonzero(normal + anomalous)
    scores = bin_scores(bins, float(curve.pivot), curve.bits)
    finite = np.isfinite(scores)
    bins, scores = bins[finite], scores[finite]
    if not len(bins):
        return scores, scores, scores
    both = (normal + anomalous)[bins]
    low, high = scores[np.searchsorted(both.cumsum() / both.sum(), TAILS).clip(max=len(scores) - 1)]
    edges = np.linspace(low, high if high > low else low + 1, BARS + 1)
    inside = scores.clip(edges[0], edges[-1])
    shares = (
        np.histogram(inside, edges, weights=kind)[0] / max(kind.sum(), 1) for kind in (normal[bins], anomalous[bins])
    )
    return (edges[1:] + edges[:-1]) / 2, *shares


def bin_scores(bins: NDArray[np.int64], pivot: float, bits: int) -> Series:
    """The least score of bins, but for the rounding of the pivot: the inverse of `score_keys`, (bins,)."""
    ordered = ((bins - (1 << (bits - 1))) << (32 - bits)).astype(np.int32)
    pattern = np.where(ordered >= 0, ordered, ordered ^ np.int32(0x7FFFFFFF)).astype(np.int32)
    return pattern.view(np.float32).astype(np.float64) + pivot


def _share(counts: NDArray[np.float64]) -> Series:
    total = counts.sum()
    return counts.cumsum() / total if total else np.zeros(0)


def _thinned(x: Series, y: Series, limit: float) -> tuple[Series, Series]:
    if not len(x) or not len(y):
        return np.zeros(0), np.zeros(0)
    x, y = np.append(0.0, x), np.append(0.0, y)
    highest = np.append(np.diff(x) > 0, True)  # of the points that share a rate
    grid = np.linspace(0, limit, POINTS)
    return grid, np.interp(grid, x[highest], y[highest])
