"""Histograms per subject, and what any multiset of subjects gives: rows, groups, bootstrap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from anomaly_bench.metrics import formulas
from anomaly_bench.metrics.bins import FULL
from anomaly_bench.metrics.formulas import Array, Certified

from .bootstrap import SharedBins, percentile_interval, resampling_weights
from .sparse_bins import NO_BINS, combined, finest, weighted

TOTALS = ("images", "pixels", "anomalous_pixels", "hits", "called")
BOOTSTRAPPED = ("auroc", "ap", "dice_oracle", "aupro", "dice")
RESOLVED = 0.02  # the widest certified interval of a metric with which a bootstrap is worth giving
LIMIT = 1 << 20  # bins of all subjects together: 35 MB
_WAITING = 1 << 18  # bins that may wait to be added up


class SubjectHistograms:
    """One predictor's histograms and exact confusion counts, by subject id (any int64).

    Bins hold one score each until all subjects together have more than `limit`; then they are halved in resolution
    until these fit. What they end as depends on the pixels alone, not on batches, processes or their order. Memory: 33
    bytes per filled bin, 35 MB at most, and less than 100 MB in all while resamples are read.

    Args:
        full_bits: resolution of the threshold, the `bits` of the curve that set it.
        limit: the most filled bins, of all subjects together; one each is kept whatever it is.
    """

    def __init__(self, full_bits: int = 20, limit: int = LIMIT) -> None:
        self.full_bits, self.limit = full_bits, limit
        self._bits = FULL
        self._totals: dict[int, Array] = {}
        self._bins: dict[int, Array] = {}
        self._pending: dict[int, list[Array]] = {}
        self._waiting = 0
        self._rule: tuple[float, int | None] | None = None

    @property
    def subjects(self) -> list[int]:
        """The ids of all subjects, ascending: the order of `rows` and of the columns of resampling weights."""
        return sorted(self._totals)

    def merge(self, other: SubjectHistograms) -> None:
        """Add what another process or batch counted.

        Raises:
            ValueError: its bits, limit, pivot or threshold differ.
        """
        mine, theirs = (self.full_bits, self.limit, self._rule), (other.full_bits, other.limit, other._rule)
        if mine[:2] != theirs[:2] or (None not in (self._rule, other._rule) and mine != theirs):
            raise ValueError(f"expected full bits, limit and (pivot, threshold) {mine}, got {theirs}")
        self._rule = self._rule or other._rule
        for name, count in other._totals.items():
            self._totals[name] = self._totals.get(name, 0) + count
        theirs_settled = other._settled()
        self._coarsen(other._bits)
        for name, bins in theirs_settled.items():
            self._append(name, bins)

    def rows(self) -> list[dict[str, int | float | None]]:
        """One row per subject, by id: subject, images, pixels, anomalous_pixels, dice, ap, auroc.

        Pixels are those of the foreground, images those that have any. `dice` is exact at the threshold, and None if there is
        none; `ap` and `auroc` are estimates, exact while bins hold one score each: `pooled([subject])` gives their bounds. All
        are None for a subject without an anomalous pixel, and `auroc` for one without a normal pixel.
        """
        bins = self._settled()
        rows: list[dict[str, int | float | None]] = []
        for name in self.subjects:
            filled = bins.get(name, NO_BINS)[::-1]
            read = filled["normal"], filled["anomalous"], ~filled["mixed"]
            ap, auroc = formulas.average_precision(*read), formulas.auroc(*read)
            counts = dict(zip(TOTALS[:3], self._totals[name][:3].tolist(), strict=True))
            dice = self._dice(self._totals[name])
            values = {"dice": dice, "ap": ap, "auroc": auroc}
            rows.append({"subject": name} | counts | {key: value and value.value for key, value in values.items()})
        return rows

    def pooled(self, subjects: Iterable[int] | None = None) -> dict[str, Certified | None]:
        """The metrics over all pixels of some subjects (or all), each as often as it is named.

        CURVE_METRICS with the bounds that these bins leave, then `dice` at the threshold, exact. None where a class is
        missing among these subjects.

        Raises:
            ValueError: a subject has not been counted.
        """
        names = self.subjects if subjects is None else list(subjects)
        if unknown := sorted(set(names) - set(self._totals)):
            raise ValueError(f"expected subjects that have been counted, got {unknown}")
        bins = self._settled()
        drawn = [(bins[name], times) for name, times in Counter(names).items() if name in bins]
        total = weighted(drawn, self._bits)[::-1]
        read = formulas.read_all(total["normal"], total["anomalous"], total["region"], ~total["mixed"])
        return read | {"dice": self._dice(sum((self._totals[name] for name in names), np.zeros(len(TOTALS))))}

    def bootstrap(
        self, resamples: int = 1000, seed: int = 0, level: float = 0.95
    ) -> dict[str, tuple[float, float] | None]:
        """Percentile intervals of BOOTSTRAPPED over resampled subjects, of the resamples where a metric is defined.

        Pixels of a subject are not independent, so whole subjects are drawn with replacement. None where no resample
        defines the metric, with fewer than two subjects, or where the bins are too coarse for these scores: where they
        leave the metric itself uncertain by more than RESOLVED.
        """
        return self.bootstrap_and_without(resamples, seed, level)[0]

    def bootstrap_and_without(
        self, resamples: int = 1000, seed: int = 0, level: float = 0.95
    ) -> tuple[dict[str, tuple[float, float] | None], dict[str, Array]]:
        """`bootstrap`, and BOOTSTRAPPED over the pixels of all subjects but one: (S,) each in the order of `subjects`.

        NaN where undefined. Of these follow the jackknife's variance of a pooled metric over subjects, and of any difference of
        two such. Both are read in the same bins.
        """
        count = len(self._totals)
        if count < 2:
            return dict.fromkeys(BOOTSTRAPPED), dict.fromkeys(BOOTSTRAPPED, np.full(count, np.nan))
        shared = self._in_shared_bins()
        weights = np.concatenate([np.ones((1, count), np.int64), resampling_weights(count, resamples, seed)])
        values, widths = self._resampled(weights, shared)
        resolved = {name: not widths[name][0] > RESOLVED for name in BOOTSTRAPPED}
        intervals = {
            name: percentile_interval(drawn[1:], level) if resolved[name] else None for name, drawn in values.items()
        }
        parts = list(shared.without_each())
        without = {name: np.concatenate([part[name][0] for part in parts]) for name in parts[0]}
        totals = self._all_totals()
        return intervals, without | {"dice": self._dices(totals.sum(0) - totals)}

    def _dice(self, totals: Array) -> Certified | None:
        _, _, positives, hits, called = totals.tolist()
        if not positives or self._rule is None or self._rule[1] is None:
            return None
        return Certified(*(3 * (2 * hits / (called + positives),)))

    def _all_totals(self) -> Array:
        """(subjects, TOTALS), in the order of `subjects`."""
        return np.array([self._totals[name] for name in self.subjects], dtype=np.float64)

    def _dices(self, totals: Array) -> Array:
        """Dice at the threshold of sums (rows, TOTALS), (rows,), NaN without a threshold or an anomalous pixel."""
        _, _, positives, hits, called = totals.T
        if self._rule is None or self._rule[1] is None:
            return np.full(len(totals), np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(positives > 0, 2 * hits / (called + positives), np.nan)

    def _in_shared_bins(self) -> SharedBins:
        bins = self._settled()
        return SharedBins([bins.get(name, NO_BINS) for name in self.subjects], self._bits)

    def _resampled(self, weights: Array, shared: SharedBins) -> tuple[dict[str, Array], dict[str, Array]]:
        """BOOTSTRAPPED over all pixels of many multisets of subjects, and the widths of the certified intervals.

        (resamples,) each, NaN where undefined. Values are as `pooled` estimates them, or about so: more than 1,024 filled
        bins become about as many of equal share that all subjects have in common.

        Args:
            weights: (resamples, subjects), how often each of `subjects` is drawn. shared: of `_in_shared_bins`.
        """
        if weights.ndim != 2 or weights.shape[1] != len(self._totals):
            raise ValueError(f"expected weights (resamples, {len(self._totals)}), got shape {weights.shape}")
        values = {name: np.full(len(weights), np.nan) for name in BOOTSTRAPPED}
        widths = {name: np.zeros(len(weights)) for name in BOOTSTRAPPED}
        start = 0
        for drawn, read in shared.read(weights):
            rows = slice(start, start := start + len(drawn))
            for name, (value, low, high) in read.items():
                values[name][rows], widths[name][rows] = value, high - low
        values["dice"] = self._dices(weights @ self._all_totals())
        return values, widths

    def _append(self, name: int, block: Array) -> None:
        """Keep a subject's block; add blocks up when many wait, so the work stays linear in them."""
        self._pending.setdefault(name, []).append(block)
        self._waiting += len(block)
        if self._waiting > _WAITING:
            self._settled()

    def _settled(self) -> dict[int, Array]:
        """The bins of each subject with all blocks added up, as fine as the limit allows."""
        for name, blocks in self._pending.items():
            self._bins[name] = combined([self._bins.get(name, NO_BINS), *blocks], self._bits)
        self._pending, self._waiting = {}, 0
        if sum(map(len, self._bins.values())) > self.limit:
            self._coarsen(finest(self._bins.values(), self._bits, self.limit))
        return self._bins

    def _coarsen(self, bits: int) -> None:
        if bits < self._bits:
            self._bits = bits
            self._bins = {name: combined([bins], bits) for name, bins in self._bins.items()}
