"""The metrics of many multisets of subjects at once, from histograms in shared bins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from anomaly_bench.metrics import formulas
from anomaly_bench.metrics.bins import COUNTS
from anomaly_bench.metrics.formulas import Array, Rows

from .sparse_bins import ends, shared

SHARED = 1 << 10  # about how many bins all subjects share
CELLS = 1 << 17  # resamples times bins that are looked at together: a temporary of them fits the cache


class SharedBins:
    """Histograms of all subjects in about SHARED bins of equal share, descending in score.

    counts: (3, subjects, bins) float64, of normal and anomalous pixels and of region weights.
    """

    def __init__(self, parts: Sequence[Array], bits: int) -> None:
        lower, group = shared(parts, bits, SHARED)
        group = group.max(initial=0) - group  # descending
        size = int(group.max(initial=-1)) + 1
        self.counts = np.zeros((3, len(parts), size))
        patterns = np.zeros((len(parts), size), dtype=np.uint64)
        fills = np.zeros((len(parts), size), dtype=np.int64)
        for row, bins in enumerate(parts):
            column = group[np.searchsorted(lower, ends(bins, bits))]
            for part, name in enumerate(COUNTS):
                self.counts[part, row] = np.bincount(column, bins[name], minlength=size)
            fills[row] = np.bincount(column, minlength=size) + np.bincount(column, bins["mixed"], minlength=size)
            patterns[row, column] = bins["key"]
        self._set_ties(patterns, fills)

    def read(self, weights: Array) -> Iterator[tuple[Array, dict[str, Rows]]]:
        """The rows of weights (resamples, subjects), some at a time, with the metrics of these."""
        for rows in self._some_of(len(weights)):
            drawn = weights[rows].astype(np.float64)
            yield drawn, self._metrics(*(drawn @ part for part in self._parts))

    def without_each(self) -> Iterator[dict[str, Rows]]:
        """The metrics of all subjects but one, for each in turn, some at a time."""
        totals = [part.sum(-2, keepdims=True) for part in self._parts]
        for rows in self._some_of(self.counts.shape[1]):
            left = (total - part[..., rows, :] for total, part in zip(totals, self._parts, strict=True))
            yield self._metrics(*left)

    @property
    def _parts(self) -> tuple[Array, Array, Array, Array]:
        """What adds up over subjects, the last axis but one."""
        return self.counts, self._filled, self._rank, self._square

    def _some_of(self, rows: int) -> Iterator[slice]:
        each = max(CELLS // max(self.counts.shape[2], 1), 1)
        return (slice(start, start + each) for start in range(0, rows, each))

    def _metrics(self, counts: Array, filled: Array, rank: Array, square: Array) -> dict[str, Rows]:
        """Of sums over subjects, (3, rows, bins) and (rows, bins that are tied for some subjects) each."""
        normal, anomalous, region = counts
        region = np.where(anomalous > 0, region, 0.0)  # weights are fractions, which a difference leaves traces of
        tied = np.broadcast_to(self._always, (len(normal), len(self._always))).copy()
        # Whole numbers: the mean square is the square of the mean only where all are equal.
        tied[:, self._sometimes] = filled * square == rank**2
        return {
            "auroc": formulas.auroc_rows(normal, anomalous, tied),
            "ap": formulas.average_precision_rows(normal, anomalous, tied),
            "dice_oracle": formulas.dice_oracle_rows(normal, anomalous, tied),
            "aupro": formulas.aupro_rows(normal, region, tied),
        }

    def _set_ties(self, patterns: Array, fills: Array) -> None:
        """Which bins hold one single score, whoever is drawn; of the others, small numbers that tell scores apart."""
        single, filled = fills == 1, fills > 0
        least = np.where(single, patterns, np.uint64(2**64 - 1)).min(0, initial=2**64 - 1)
        most = np.where(single, patterns, np.uint64(0)).max(0, initial=0)
        self._always = (single | ~filled).all(0) & (least == most)
        self._sometimes = np.flatnonzero(~self._always & single.any(0))
        order = patterns[:, self._sometimes].argsort(0)
        ranked = np.take_along_axis(patterns[:, self._sometimes], order, 0)
        rank = np.zeros(order.shape)
        rises = np.cumsum(ranked[1:] != ranked[:-1], axis=0)
        np.put_along_axis(rank[:], order[1:], rises.astype(np.float64), 0)
        self._filled = filled[:, self._sometimes].astype(np.float64)
        mixed = fills[:, self._sometimes] > 1
        self._rank, self._square = rank * self._filled, (rank**2 + mixed) * self._filled


def resampling_weights(subjects: int, resamples: int, seed: int) -> Array:
    """How often each subject is drawn in each resample: (resamples, subjects) int64, each row sums to `subjects`."""
    return np.random.default_rng(seed).multinomial(subjects, np.full(subjects, 1 / subjects), size=resamples)


def percentile_interval(drawn: Array, level: float = 0.95) -> tuple[float, float] | None:
    """The central share `level` of the values that are not NaN; None if all are."""
    defined = drawn[~np.isnan(drawn)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return low, high
