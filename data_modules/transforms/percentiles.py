"""Exact percentiles of many numbers, by looking at their tails only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SAMPLE = 8192  # numbers that tell where a tail begins
SMALL = 8 * SAMPLE  # below this, a plain partition is as quick


def percentiles(values: NDArray[np.generic], q: Sequence[float]) -> list[float]:
    """Percentiles q in [0, 100] of values (n,), n ≥ 1, of any real type without NaN, with linear interpolation.

    Equal to np.percentile of the values as float32 (Hyndman and Fan 1996, type 7). The order statistics come from the
    tail beyond a bound that a sample suggests (Floyd and Rivest 1975), which for percentiles such as 1 and 99 is much
    quicker than a partition of everything; the result never depends on the sample.
    """
    sample = np.sort(values[:: max(1, len(values) // SAMPLE)])
    return [_percentile(values, sample, share / 100) for share in q]


def _percentile(values: NDArray[np.generic], sample: NDArray[np.generic], share: float) -> float:
    position = (len(values) - 1) * share
    rank = min(int(position), len(values) - 1)
    lower, upper = (np.float32(value) for value in _neighbours(values, sample, rank))
    step, weight = upper - lower, np.float64(position - rank)
    return float(lower + step * weight if weight < 0.5 else upper - step * (1 - weight))


def _neighbours(values: NDArray[np.generic], sample: NDArray[np.generic], rank: int) -> NDArray[np.generic]:
    """The values of rank `rank` and `rank + 1` (the last twice, if there is no more) in ascending order."""
    count, last = len(values), min(rank + 1, len(values) - 1)
    below = 0
    tail = values
    if count >= SMALL:
        share = (rank + 1) / count
        slack = 4 * np.sqrt(len(sample) * min(share, 1 - share)) + 8
        if share <= 0.5:
            bound = sample[min(int(share * len(sample) + slack), len(sample) - 1)]
            tail = values[values <= bound]
        else:
            bound = sample[max(int(share * len(sample) - slack), 0)]
            tail = values[values >= bound]
            below = count - len(tail)
    if not below <= rank <= last < below + len(tail):  # the sample misled
        below, tail = 0, values
    ranks = [rank - below, last - below]
    return np.partition(tail, ranks)[ranks]
