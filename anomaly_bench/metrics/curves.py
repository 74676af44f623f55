"""What is read off descending histograms, with the interval that the unknown order inside a bin leaves.

Every function takes numpy arrays over bins in *descending* order of score (empty bins may be left out): counts of
`normal` and `anomalous` pixels, summed `region` weights, and `tied`, true where a bin holds one single score. A tied
bin is exact. In any other bin, `value` assumes that normal and anomalous pixels mix evenly, and [`low`, `high`] holds
whatever order they have.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

Array = NDArray[Any]


class Certified(NamedTuple):
    """An estimate, and bounds that the exact value cannot leave: 0 <= low <= value <= high <= 1."""

    value: float
    low: float
    high: float


def auroc(normal: Array, anomalous: Array, tied: Array) -> Certified | None:
    """Area under the ROC curve: the share of (anomalous, normal) pairs in the right order, a tie counting one half.

    None without an anomalous or without a normal pixel.
    """
    normal, anomalous = normal.astype(np.float64), anomalous.astype(np.float64)
    pairs = normal.sum() * anomalous.sum()
    if pairs == 0:
        return None
    below = normal.sum() - normal.cumsum()
    won = (anomalous * (below + normal / 2)).sum()
    unsure = (anomalous * normal)[~tied].sum() / 2
    return _certified(won / pairs, (won - unsure) / pairs, (won + unsure) / pairs)


def average_precision(normal: Array, anomalous: Array, tied: Array) -> Certified | None:
    """Average precision as scikit-learn defines it: Σ (R_n − R_{n−1}) P_n over the distinct scores.

    `high` ties all anomalous pixels of a bin above its normal ones; `low` puts the normal ones first, then the
    anomalous one at a time. None without an anomalous pixel; 1 without a normal one.
    """
    hits = anomalous > 0
    if not hits.any():
        return None
    fp = (normal.cumsum() - normal)[hits].astype(np.float64)
    tp = (anomalous.cumsum() - anomalous)[hits].astype(np.float64)
    n, p, mixed = normal[hits].astype(np.float64), anomalous[hits].astype(np.float64), ~tied[hits]
    group = p * (tp + p) / (tp + p + fp + n)
    value, low, high = group.copy(), group.copy(), group
    tp, fp, n, p = tp[mixed], fp[mixed], n[mixed], p[mixed]
    value[mixed] = _one_at_a_time(tp, fp, n / (p + 1), p)
    low[mixed] = _one_at_a_time(tp, fp + n, np.zeros_like(n), p)
    high[mixed] = p * (tp + p) / (tp + p + fp)
    total = float(anomalous.sum())
    return _certified(value.sum() / total, low.sum() / total, high.sum() / total)


def dice_oracle(normal: Array, anomalous: Array, tied: Array) -> tuple[Certified, int] | None:
    """The best Dice 2TP / (TP + FP + P) of any threshold, and the index of the last bin that lies above it.

    `value` is reached at a bin's edge, so it is also `low`. None without an anomalous pixel.
    """
    total = float(anomalous.sum())
    if total == 0:
        return None
    tp, fp = anomalous.cumsum(), normal.cumsum()
    dice = 2 * tp / (tp + fp + total)
    best = int(dice.argmax())
    inside = 2 * tp / (tp + fp - normal + total)
    return _certified(dice[best], dice[best], np.where(tied, dice, inside).max()), best


def aupro(normal: Array, region: Array, tied: Array, limit: float = 0.3) -> Certified | None:
    """Area under mean per-region overlap against false-positive rate up to `limit`, over `limit`.

    The AUPRO of Bergmann et al. 2021. A region counts as much as the weight that it has in the foreground: 1 when it
    lies wholly inside. The curve is linear across a tied bin, and cut by linear interpolation at `limit`. None without
    a region or a normal pixel.

    Raises:
        ValueError: `limit` is outside (0, 1].
    """
    if not 0 < limit <= 1:
        raise ValueError(f"expected a false-positive rate limit in (0, 1], got {limit}")
    negatives, regions = float(normal.sum()), float(region.sum())
    if negatives == 0 or regions == 0:
        return None
    fpr = np.concatenate([[0.0], normal.cumsum() / negatives])
    overlap = np.concatenate([[0.0], region.cumsum() / regions])
    step, width = np.diff(fpr), np.diff(np.minimum(fpr, limit))
    left, right = overlap[:-1], overlap[1:]
    share = np.divide(width, step, out=np.zeros_like(step), where=step > 0)
    value = width * (left + share * (right - left) / 2)
    low, high = np.where(tied, value, width * left), np.where(tied, value, width * right)
    return _certified(value.sum() / limit, low.sum() / limit, high.sum() / limit)


def _certified(value: float, low: float, high: float) -> Certified:
    """The three as floats, put in order inside [0, 1] against rounding."""
    value = min(max(float(value), 0.0), 1.0)
    return Certified(value, max(0.0, min(float(low), value)), min(1.0, max(float(high), value)))


def _one_at_a_time(tp: Array, fp: Array, slope: Array, p: Array) -> Array:
    """Σ_{i=1..p} (tp + i) / (tp + i + fp + slope · i): precisions of p thresholds, in closed form by digamma."""
    step = 1 + slope
    start = (tp + fp) / step
    return (p + (tp * slope - fp) / step * _digamma_rise(start + 1, p)) / step


def _digamma_rise(x: Array, p: Array) -> Array:
    """ψ(x + p) − ψ(x) for x >= 1, to full *relative* precision: at large x the plain difference cancels."""
    x_large = np.maximum(x, 32.0)
    asymptotic = np.log1p(p / x_large) + _stirling_tail(x_large + p) - _stirling_tail(x_large)
    return np.where(x < 32, digamma(x + p) - digamma(x), asymptotic)


def _stirling_tail(x: Array) -> Array:
    """ψ(x) − ln x for x >= 32, to 1e-15."""
    y = 1 / (x * x)
    return -0.5 / x - y * (1 / 12 - y * (1 / 120 - y / 252))
