"""Histograms per subject, and what any multiset of subjects gives: rows, groups, bootstrap. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np

from anomaly_bench.metrics import curves
from anomaly_bench.metrics.curves import Array, Certified
from anomaly_bench.metrics.readoffs import read_all

MIXED = 0x7FFFFFFF
BIN = np.dtype(
    [("subject", "i8"), ("bin", "i4"), ("tie", "i4"), ("normal", "i8"), ("anomalous", "i8"), ("region", "f8")]
)
TOTALS = ("images", "pixels", "anomalous_pixels", "hits", "called")
BOOTSTRAPPED = ("auroc", "ap", "dice_oracle", "aupro", "dice")
RESOLVED = 0.02  # the widest certified interval at the reduced resolution with which a bootstrap is worth giving
_CELLS = 1 << 20  # resamples times bins that are looked at together


class SubjectHistograms:
    """One predictor's reduced histograms and exact confusion counts, by subject id (any int64).

    Memory: 40 bytes per filled bin of a subject, typically below 1,000 of the 2**bits.

    Args:
        bits: resolution of the histograms.
        full_bits: resolution of the threshold, the `bits` of the curve that set it.
    """

    def __init__(self, bits: int = 14, full_bits: int = 20) -> None:
        self.bits, self.full_bits = bits, full_bits
        self._totals: dict[int, Array] = {}
        self._merged = np.empty(0, dtype=BIN)
        self._pending: list[Array] = []
        self._rule: tuple[float, int | None] | None = None

    @property
    def subjects(self) -> list[int]:
        """The ids of all subjects, ascending: the order of `rows` and of the columns of resampling weights."""
        return sorted(self._totals)

    def merge(self, other: SubjectHistograms) -> None:
        """Add what another process or batch counted.

        Raises:
            ValueError: its bits, pivot or threshold differ.
        """
        mine, theirs = (self.bits, self.full_bits, self._rule), (other.bits, other.full_bits, other._rule)
        if mine[:2] != theirs[:2] or (None not in (self._rule, other._rule) and mine != theirs):
            raise ValueError(f"expected bits, full bits and (pivot, threshold) {mine}, got {theirs}")
        self._rule = self._rule or other._rule
        for name, count in other._totals.items():
            self._totals[name] = self._totals.get(name, 0) + count
        self._append(other._consolidated())

    def rows(self) -> list[dict[str, int | float | None]]:
        """One row per subject, by id: subject, images, pixels, anomalous_pixels, dice, ap.

        Pixels are those of the foreground. `dice` is exact at the threshold, and None if there is none; `ap` is the
        estimate at the reduced resolution. Both are None for a subject without an anomalous pixel.
        """
        bins = self._consolidated()
        rows: list[dict[str, int | float | None]] = []
        for name in self.subjects:
            first, last = np.searchsorted(bins["subject"], [name, name + 1])
            own = bins[first:last][::-1]
            ap = curves.average_precision(own["normal"], own["anomalous"], own["tie"] != MIXED)
            counts = dict(zip(TOTALS[:3], self._totals[name][:3].tolist(), strict=True))
            dice = self._dice(self._totals[name])
            rows.append({"subject": name} | counts | {"dice": dice and dice.value, "ap": ap and ap.value})
        return rows

    def pooled(self, subjects: Iterable[int] | None = None) -> dict[str, Certified | None]:
        """The metrics over all pixels of some subjects (or all), each as often as it is named.

        CURVE_METRICS at the reduced resolution, whose intervals are wider than those of a full curve, then `dice` at
        the threshold, exact. None where a class is missing among these subjects.

        Raises:
            ValueError: a subject has not been counted.
        """
        names = self.subjects if subjects is None else list(subjects)
        if unknown := sorted(set(names) - set(self._totals)):
            raise ValueError(f"expected subjects that have been counted, got {unknown}")
        bins, ids = self._consolidated(), np.array(self.subjects, dtype=np.int64)
        times = np.bincount(np.searchsorted(ids, np.array(names, dtype=np.int64)), minlength=len(ids))
        own = np.searchsorted(ids, bins["subject"])
        chosen = bins[times[own] > 0].copy()
        for part in ("normal", "anomalous", "region"):
            chosen[part] *= times[own[times[own] > 0]].astype(chosen[part].dtype)
        chosen["subject"] = 0
        whole = _combined(chosen)[::-1]
        read = read_all(whole["normal"], whole["anomalous"], whole["region"], whole["tie"] != MIXED)
        return read | {"dice": self._dice(sum((self._totals[name] for name in names), np.zeros(len(TOTALS))))}

    def resampled(self, weights: Array) -> dict[str, Array]:
        """BOOTSTRAPPED over all pixels of many multisets of subjects: (resamples,) each, NaN where undefined.

        Values, as `pooled` estimates them. With the same weights, two predictors' differences are paired.

        Args:
            weights: (resamples, subjects), how often each of `subjects` is drawn.
        """
        if weights.ndim != 2 or weights.shape[1] != len(self._totals):
            raise ValueError(f"expected weights (resamples, {len(self._totals)}), got shape {weights.shape}")
        counts, tied = self._dense()
        each = max(_CELLS // max(len(tied), 1), 1)
        parts = [self._resampled(weights[at : at + each], counts, tied) for at in range(0, len(weights), each)]
        return {name: np.concatenate([part[name] for part in parts]) for name in BOOTSTRAPPED}

    def bootstrap(
        self, resamples: int = 1000, seed: int = 0, level: float = 0.95
    ) -> dict[str, tuple[float, float] | None]:
        """Percentile intervals of BOOTSTRAPPED over resampled subjects, of the resamples where a metric is defined.

        Pixels of a subject are not independent, so whole subjects are drawn with replacement. None where no resample
        defines the metric, with fewer than two subjects, or where the reduced bins are too coarse for these scores: where
        they leave the metric itself uncertain by more than RESOLVED.
        """
        if len(self._totals) < 2:
            return dict.fromkeys(BOOTSTRAPPED)
        values = self.resampled(resampling_weights(len(self._totals), resamples, seed))
        whole = self.pooled()
        resolved = {name: one is not None and one.high - one.low <= RESOLVED for name, one in whole.items()}
        return {name: percentile_interval(drawn, level) if resolved[name] else None for name, drawn in values.items()}

    def to_arrays(self) -> dict[str, Array]:
        """Everything as plain arrays, for `numpy.savez` and `from_arrays`."""
        bins, subjects = self._consolidated(), self.subjects
        totals = np.array([self._totals[name] for name in subjects], dtype=np.int64).reshape(-1, len(TOTALS))
        pivot, threshold = self._rule or (np.nan, None)
        known = threshold is not None
        settings = [self.bits, self.full_bits, int(self._rule is not None), int(known), threshold if known else 0]
        return {
            "settings": np.array(settings, dtype=np.int64),
            "pivot": np.array(pivot, dtype=np.float64),
            "subjects": np.array(subjects, dtype=np.int64),
            "totals": totals,
        } | {f"bins_{name}": bins[name].copy() for name in BIN.names or ()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """What `to_arrays` gave, e.g. from `numpy.load`."""
        bits, full_bits, ruled, known, threshold = np.asarray(arrays["settings"]).tolist()
        histograms = cls(bits, full_bits)
        histograms._rule = (float(arrays["pivot"]), threshold if known else None) if ruled else None
        names = np.asarray(arrays["subjects"]).tolist()
        histograms._totals = dict(zip(names, np.asarray(arrays["totals"]), strict=True))
        merged = np.empty(len(arrays["bins_bin"]), dtype=BIN)
        for name in BIN.names or ():
            merged[name] = arrays[f"bins_{name}"]
        histograms._merged = merged
        return histograms

    def _dice(self, totals: Array) -> Certified | None:
        _, _, positives, hits, called = totals.tolist()
        if not positives or self._rule is None or self._rule[1] is None:
            return None
        return Certified(*(3 * (2 * hits / (called + positives),)))

    def _dense(self) -> tuple[Array, Array]:
        """Counts (3, subjects, bins) float64 of normal, anomalous and region, descending, and tied (bins,)."""
        bins = self._consolidated()
        filled, column = np.unique(-bins["bin"], return_inverse=True)
        row = np.searchsorted(np.array(self.subjects, dtype=np.int64), bins["subject"])
        counts = np.zeros((3, len(self._totals), len(filled)))
        for part, name in enumerate(("normal", "anomalous", "region")):
            counts[part, row, column] = bins[name]
        least, most = np.full(len(filled), MIXED), np.full(len(filled), -1)
        np.minimum.at(least, column, bins["tie"])
        np.maximum.at(most, column, bins["tie"])
        return counts, (least == most) & (most != MIXED)

    def _resampled(self, weights: Array, counts: Array, tied: Array) -> dict[str, Array]:
        normal, anomalous, region = weights.astype(np.float64) @ counts
        totals = weights @ np.array([self._totals[name] for name in self.subjects], dtype=np.float64)
        _, _, positives, hits, called = totals.T
        ruled = self._rule is not None and self._rule[1] is not None
        with np.errstate(invalid="ignore", divide="ignore"):
            dice = np.where(positives > 0, 2 * hits / (called + positives), np.nan) if ruled else positives * np.nan
        return {
            "auroc": curves.auroc_rows(normal, anomalous, tied)[0],
            "ap": curves.average_precision_rows(normal, anomalous, tied)[0],
            "dice_oracle": curves.dice_oracle_rows(normal, anomalous, tied)[0],
            "aupro": curves.aupro_rows(normal, region, tied)[0],
            "dice": dice,
        }

    def _append(self, block: Array) -> None:
        """Keep a block; consolidate when the pending ones outgrow the rest, so the work stays linear in the blocks."""
        self._pending.append(block)
        if sum(map(len, self._pending)) > max(len(self._merged), 2**18):
            self._consolidated()

    def _consolidated(self) -> Array:
        """All blocks as one, sorted by subject and bin, each pair once."""
        if self._pending:
            self._merged, self._pending = _combined(np.concatenate([self._merged, *self._pending])), []
        return self._merged


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


def _combined(bins: Array) -> Array:
    """Bins (n,) sorted by subject and bin, those of the same subject and bin added up."""
    bins = bins[np.lexsort((bins["bin"], bins["subject"]))]
    new = np.ones(len(bins), dtype=bool)
    new[1:] = (bins["bin"][1:] != bins["bin"][:-1]) | (bins["subject"][1:] != bins["subject"][:-1])
    starts = np.flatnonzero(new)
    if len(starts) == len(bins):
        return bins
    whole = bins[starts]
    for name in ("normal", "anomalous", "region"):
        whole[name] = np.add.reduceat(bins[name], starts)
    differs = np.minimum.reduceat(bins["tie"], starts) != np.maximum.reduceat(bins["tie"], starts)
    whole["tie"][differs] = MIXED
    return whole
