"""Sparse histograms of one subject's pixels, as fine as fits, and the shared bins in which many are resampled.

Bins are `bins.BIN`, ascending: the key of a bin is the whole pattern of its least score.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import numpy as np

from anomaly_bench.metrics.bins import BIN, COUNTS, FULL, RAW, bin_names, score_patterns
from anomaly_bench.metrics.formulas import Array
from anomaly_bench.metrics.loops import loops_for

NO_BINS = np.empty(0, dtype=BIN)


def bins_of(normal: Array, anomalous: Array, weight: Array, bits: int) -> Array:
    """The bins of scores of normal pixels (N,), and of anomalous ones (P,) with their region weights."""
    order = np.argsort(anomalous)
    normal, anomalous, weight = np.sort(normal), anomalous[order], weight[order].astype(np.float64)
    below, above = _starts(normal), _starts(anomalous)
    single = np.zeros(len(below) + len(above), dtype=BIN)
    low, high = single[: len(below)], single[len(below) :]
    low["key"], low["normal"] = score_patterns(normal[below]), np.diff(below, append=len(normal))
    high["key"], high["anomalous"] = score_patterns(anomalous[above]), np.diff(above, append=len(anomalous))
    if len(above):
        high["region"] = np.add.reduceat(weight, above)
    return combined([single], bits)


def combined(parts: Iterable[Array], bits: int) -> Array:
    """Histograms as one in ascending order, the bins that are one at that many bits added up."""
    bins = np.concatenate([NO_BINS.view(RAW), *(part.view(RAW) for part in parts)]).view(BIN)
    order = np.argsort(bins["key"], kind="stable")  # quick, as parts of them are in order
    total = np.zeros(len(bins), dtype=BIN)
    filled = loops_for(len(bins)).fold(bins, order, bits, total)
    return total.view(RAW)[:filled].copy().view(BIN)


def finest(parts: Iterable[Array], bits: int, limit: int) -> int:
    """The most bits, up to `bits`, at which histograms have at most `limit` bins in all; at least 1."""
    codes = [ends(part, FULL) for part in parts if len(part)]

    def filled(candidate: int) -> int:
        shift = np.uint64(FULL - candidate)
        return sum(int(((keys[1:] ^ keys[:-1]) >> shift > 0).sum()) + 1 for keys in codes)

    return bisect_right(range(1, bits + 1), limit, key=filled) or 1


def weighted(parts: Sequence[tuple[Array, int]], bits: int) -> Array:
    """Histograms as one, each counted as often as it says."""
    copies = []
    for part, times in parts:
        part = part.copy() if times > 1 else part
        for name in COUNTS if times > 1 else ():
            part[name] *= times
        copies.append(part)
    return combined(copies, bits)


def shared(parts: Sequence[Array], bits: int, most: int) -> tuple[Array, Array]:
    """What `ends` gives for all filled bins, ascending, and the shared bin that each goes to.

    All keep their own if they are at most `most`. If not, there are about `most` shared ones with the same share of the
    normal pixels, the anomalous ones and the regions together; a bin with a larger share stays alone.
    """
    totals = {name: max(float(sum(part[name].sum() for part in parts)), 1e-300) for name in COUNTS}
    lower = np.concatenate([np.zeros(0, np.uint64), *(ends(part, bits) for part in parts)])
    share = np.concatenate([np.zeros(0), *(sum(part[name] / totals[name] for name in COUNTS) for part in parts)])
    order = np.argsort(lower)
    lower, share = lower[order], share[order]
    starts = np.flatnonzero(np.diff(lower, prepend=~lower[:1]) != 0)
    if len(starts) <= most:
        return lower[starts], np.arange(len(starts))
    lower, share = lower[starts], np.add.reduceat(share, starts)
    share *= most / share.sum()
    new = np.diff(np.floor(share.cumsum() - share), prepend=-1) > 0
    alone = share >= 1
    new |= alone
    new[1:] |= alone[:-1]
    return lower, new.cumsum() - 1


def ends(bins: Array, bits: int) -> Array:
    """What names bins at that many bits: uint64, in the order of the scores."""
    return bin_names(np.ascontiguousarray(bins["key"]), bits)


def _starts(scores: Array) -> Array:
    """Where the distinct ones of ascending scores begin."""
    return np.flatnonzero(np.append(True, scores[1:] != scores[:-1])[: len(scores)])
