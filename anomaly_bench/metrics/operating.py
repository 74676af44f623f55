"""Read-offs at an operating point of descending histograms, as `curves` takes them; numpy only."""

from __future__ import annotations

import math

from anomaly_bench.metrics.curves import Array, Certified


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
    found = anomalous.cumsum()
    at = int((found >= needed).argmax())
    n, p = int(normal[at]), int(anomalous[at])
    before = int(normal[: at + 1].sum()) - n
    if tied[at]:
        return _share((before + n, before + n, before + n), negatives)
    wanted = needed - (int(found[at]) - p)
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
    at = int(beyond.argmax())
    n, p = int(normal[at]), int(anomalous[at])
    before = int(anomalous[:at].sum())
    if tied[at]:
        return _share((before, before, before), positives)
    spare = allowed - int(normal[:at].sum())
    return _share((before + p * (spare + 1) / (n + 1), before, before + p), positives)


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
