"""Every localization metric as a function of histograms in descending order; numpy only.

They take, bin by bin from the highest score down, `normal` and `anomalous` (counts of pixels), `region` (summed region
weights) and `tied` (bool: all pixels of the bin have one score), each (bins,). Those that end in `_rows` take many
histograms, (..., bins), and give value, low and high of each, (...), NaN where the others give None.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

SPECIFICITIES = (0.9, 0.95, 0.99)
CURVE_METRICS = (
    "auroc",
    "ap",
    "dice_oracle",
    "iou_oracle",
    "aupro",
    "aupro_05",
    "fpr95",
    "sensitivity_90",
    "sensitivity_95",
    "sensitivity_99",
)

Array = NDArray[Any]
Rows = tuple[Array, Array, Array]


class Certified(NamedTuple):
    """An estimate, and bounds that the exact value cannot leave: 0 <= low <= value <= high <= 1."""

    value: float
    low: float
    high: float


def read_all(normal: Array, anomalous: Array, region: Array, tied: Array) -> dict[str, Certified | None]:
    """All of CURVE_METRICS, in that order, of a histogram."""
    best = dice_oracle(normal, anomalous, tied)
    values = (
        auroc(normal, anomalous, tied),
        average_precision(normal, anomalous, tied),
        best and best[0],
        iou_of(best and best[0]),
        aupro(normal, region, tied),
        aupro(normal, region, tied, 0.05),
        fpr_at_tpr(normal, anomalous, tied),
        *(sensitivity_at(normal, anomalous, tied, share) for share in SPECIFICITIES),
    )
    return dict(zip(CURVE_METRICS, values, strict=True))


def auroc(normal: Array, anomalous: Array, tied: Array) -> Certified | None:
    """Area under the ROC curve: the share of (anomalous, normal) pairs in the right order, a tie counting one half.

    None without an anomalous or without a normal pixel.
    """
    return _certified(auroc_rows(normal, anomalous, tied))


def average_precision(normal: Array, anomalous: Array, tied: Array) -> Certified | None:
    """Average precision as scikit-learn defines it: Σ (R_n − R_{n−1}) P_n over the distinct scores.

    `high` ties all anomalous pixels of a bin above its normal ones; `low` puts the normal ones first, then the
    anomalous one at a time. None without an anomalous pixel; 1 without a normal one.
    """
    return _certified(average_precision_rows(normal, anomalous, tied))


def dice_oracle(normal: Array, anomalous: Array, tied: Array) -> tuple[Certified, int] | None:
    """The best Dice 2TP / (TP + FP + P) of any threshold, and the index of the last bin that lies above it.

    `value` is reached at a bin's edge, so it is also `low`. None without an anomalous pixel.
    """
    best = _certified(dice_oracle_rows(normal, anomalous, tied))
    return best and (best, int(_dice_at_edges(normal, anomalous).argmax()))


def aupro(normal: Array, region: Array, tied: Array, limit: float = 0.3) -> Certified | None:
    """Area under mean per-region overlap against false-positive rate up to `limit`, over `limit`.

    The AUPRO of Bergmann et al. 2021. A region counts as much as the weight that it has in the foreground: 1 when it
    lies wholly inside. The curve is linear across a tied bin, and cut by linear interpolation at `limit`. None without
    a region or a normal pixel.

    Raises:
        ValueError: `limit` is outside (0, 1].
    """
    return _certified(aupro_rows(normal, region, tied, limit))


def iou_of(dice: Certified | None) -> Certified | None:
    """Intersection over union, which is Dice / (2 − Dice) at any threshold; so the best Dice gives the best IoU."""
    return dice and Certified(*(part / (2 - part) for part in dice))


def fpr_at_tpr(normal: Array, anomalous: Array, tied: Array, tpr: float = 0.95) -> Certified | None:
    """The least false-positive rate of any threshold whose recall is at least `tpr`: FPR95 (lower is better).

    Inside a bin whose order is unknown, `low` puts the anomalous pixels first and `high` ties them all. None without an
    anomalous or without a normal pixel.

    Raises:
        ValueError: `tpr` is outside (0, 1].
    """
    if not 0 < tpr <= 1:
        raise ValueError(f"expected a true-positive rate in (0, 1], got {tpr}")
    negatives, positives = int(normal.sum()), int(anomalous.sum())
    if not (negatives and positives):
        return None
    needed = least_count(tpr, positives)
    reached = anomalous.cumsum()
    index = int((reached >= needed).argmax())
    n, p = int(normal[index]), int(anomalous[index])
    before = int(normal[: index + 1].sum()) - n
    if tied[index]:
        return _share((before + n, before + n, before + n), negatives)
    wanted = needed - (int(reached[index]) - p)
    return _share((before + n * wanted / (p + 1), before, before + n), negatives)


def sensitivity_at(normal: Array, anomalous: Array, tied: Array, specificity: float) -> Certified | None:
    """The highest recall of any threshold whose specificity (1 − FPR) is at least `specificity`.

    Inside a bin whose order is unknown, `low` ties its pixels and `high` puts the anomalous ones first. None without an
    anomalous or without a normal pixel.

    Raises:
        ValueError: `specificity` is outside [0, 1].
    """
    if not 0 <= specificity <= 1:
        raise ValueError(f"expected a specificity in [0, 1], got {specificity}")
    negatives, positives = int(normal.sum()), int(anomalous.sum())
    if not (negatives and positives):
        return None
    allowed = negatives - least_count(specificity, negatives)
    beyond = normal.cumsum() > allowed
    if not beyond.any():
        return Certified(1.0, 1.0, 1.0)
    index = int(beyond.argmax())
    n, p = int(normal[index]), int(anomalous[index])
    before = int(anomalous[:index].sum())
    if tied[index]:
        return _share((before, before, before), positives)
    spare = allowed - int(normal[:index].sum())
    return _share((before + p * (spare + 1) / (n + 1), before, before + p), positives)


def at_fpr(normal: Array, part: Array, fpr: Array) -> Array | None:
    """The share of `part` (anomalous pixels: recall; region weights: mean overlap) above the threshold of each fpr, alike.

    Linear across a bin. None without any of `part` or without a normal pixel.
    """
    if not (normal.sum() and part.sum()):
        return None
    rates, shares = (np.append(0.0, counts.cumsum() / counts.sum()) for counts in (normal, part))
    return np.interp(fpr, rates, shares)  # which of several shares at one rate takes the last, the highest


def at_recall(normal: Array, anomalous: Array, recall: Array) -> Array | None:
    """The precision at the highest threshold that reaches each recall in (0, 1], (n,); pixels of a bin come evenly mixed.

    None without an anomalous pixel.
    """
    if not anomalous.sum():
        return None
    hits, false = (np.append(0, counts.cumsum()) for counts in (anomalous, normal))
    filled = np.append(True, np.diff(hits) > 0)
    wanted = np.ceil(recall * hits[-1] - 1e-9)
    index = np.searchsorted(hits[filled], wanted)
    end = np.flatnonzero(filled)[index]
    share = (wanted - hits[end - 1]) / (hits[end] - hits[end - 1])
    return np.asarray(wanted / (wanted + false[end - 1] + share * (false[end] - false[end - 1])))


def auroc_rows(normal: Array, anomalous: Array, tied: Array) -> Rows:
    """`auroc` of each histogram."""
    normal, anomalous = normal.astype(np.float64), anomalous.astype(np.float64)
    total = normal.sum(-1, keepdims=True)
    pairs = total[..., 0] * anomalous.sum(-1)
    won = (anomalous * (total - normal.cumsum(-1) + normal / 2)).sum(-1)
    unsure = np.where(tied, 0.0, anomalous * normal).sum(-1) / 2
    return _ordered(_over(won, pairs), _over(won - unsure, pairs), _over(won + unsure, pairs))


def average_precision_rows(normal: Array, anomalous: Array, tied: Array) -> Rows:
    """`average_precision` of each histogram."""
    hits = anomalous > 0
    fp, n, p = (part[hits].astype(np.float64) for part in (normal.cumsum(-1) - normal, normal, anomalous))
    tp = (anomalous.cumsum(-1) - anomalous)[hits].astype(np.float64)
    mixed = ~np.broadcast_to(tied, hits.shape)[hits]
    value = p * (tp + p) / (tp + p + fp + n)
    low, high = value.copy(), value.copy()
    tp, fp, n, p = tp[mixed], fp[mixed], n[mixed], p[mixed]
    value[mixed] = _one_at_a_time(tp, fp, n / (p + 1), p)
    low[mixed] = _one_at_a_time(tp, fp + n, np.zeros_like(n), p)
    high[mixed] = p * (tp + p) / (tp + p + fp)
    total, sums = anomalous.sum(-1).astype(np.float64), []
    for part in (value, low, high):
        padded = np.zeros(hits.shape)
        padded[hits] = part
        sums.append(_over(padded.sum(-1), total))
    return _ordered(*sums)


def dice_oracle_rows(normal: Array, anomalous: Array, tied: Array) -> Rows:
    """The best Dice of each histogram."""
    total = anomalous.sum(-1, keepdims=True)
    edge = _dice_at_edges(normal, anomalous)
    tp = anomalous.cumsum(-1)
    inside = _over(2.0 * tp, tp + (normal.cumsum(-1) - normal) + total)
    value = np.where(total[..., 0] > 0, edge.max(-1, initial=0.0), np.nan)
    return _ordered(value, value, np.where(tied, edge, inside).max(-1, initial=0.0))


def aupro_rows(normal: Array, region: Array, tied: Array, limit: float = 0.3) -> Rows:
    """`aupro` of each histogram."""
    if not 0 < limit <= 1:
        raise ValueError(f"expected a false-positive rate limit in (0, 1], got {limit}")
    fpr, overlap = (_over(part.cumsum(-1), part.sum(-1, keepdims=True)) for part in (normal, region))
    before = np.concatenate([np.zeros_like(fpr[..., :1]), fpr[..., :-1]], -1)
    left = np.concatenate([np.zeros_like(overlap[..., :1]), overlap[..., :-1]], -1)
    step, width = fpr - before, np.minimum(fpr, limit) - np.minimum(before, limit)
    share = np.divide(width, step, out=np.zeros_like(step), where=step > 0)
    value = width * (left + share * (overlap - left) / 2)
    bounds = (np.where(tied, value, width * side).sum(-1) / limit for side in (left, overlap))
    defined = (normal.sum(-1) > 0) & (region.sum(-1) > 0)
    return _ordered(np.where(defined, value.sum(-1) / limit, np.nan), *bounds)


def _dice_at_edges(normal: Array, anomalous: Array) -> Array:
    """Dice of the threshold just below each bin; NaN without an anomalous pixel."""
    tp = anomalous.cumsum(-1)
    return _over(2.0 * tp, tp + normal.cumsum(-1) + anomalous.sum(-1, keepdims=True))


def _over(part: Array, whole: Array) -> Array:
    """part / whole, NaN where whole is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole == 0, np.nan, np.asarray(part, np.float64) / whole)


def _ordered(value: Array, low: Array, high: Array) -> Rows:
    """The three, put in order inside [0, 1] against rounding; NaN stays."""
    value = np.clip(value, 0.0, 1.0)
    undefined = np.isnan(value)
    low, high = np.clip(np.minimum(low, value), 0.0, 1.0), np.clip(np.maximum(high, value), 0.0, 1.0)
    return value, np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)


def _certified(rows: Rows) -> Certified | None:
    value, low, high = (float(part) for part in rows)
    return None if np.isnan(value) else Certified(value, low, high)


def _one_at_a_time(tp: Array, fp: Array, slope: Array, p: Array) -> Array:
    """Σ_{i=1..p} (tp + i) / (tp + i + fp + slope · i): precisions of p thresholds, in closed form by digamma."""
    step = 1 + slope
    start = (tp + fp) / step
    return (p + (tp * slope - fp) / step * _digamma_rise(start + 1, p)) / step


def _digamma_rise(x: Array, p: Array) -> Array:
    """ψ(x + p) − ψ(x) for x >= 1, to full *relative* precision: at large x the plain difference cancels."""
    x_large = np.maximum(x, 32.0)
    rise = np.log1p(p / x_large) + _stirling_tail(x_large + p) - _stirling_tail(x_large)
    small = x < 32
    rise[small] = digamma(x[small] + p[small]) - digamma(x[small])
    return rise


def _stirling_tail(x: Array) -> Array:
    """ψ(x) − ln x for x >= 32, to 1e-15."""
    y = 1 / (x * x)
    return -0.5 / x - y * (1 / 12 - y * (1 / 120 - y / 252))


def least_count(share: float, total: int) -> int:
    """The least k with k / total >= share, as floating point divides."""
    k = min(math.ceil(share * total), total)
    while k > 0 and (k - 1) / total >= share:
        k -= 1
    while k < total and k / total < share:
        k += 1
    return k


def _share(counts: tuple[float, float, float], total: int) -> Certified:
    return Certified(*(count / total for count in counts))
