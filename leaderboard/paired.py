"""Paired tests of many rows against one: over seeds by Student's t, over subjects by Wilcoxon's signed ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit
from scipy.stats import rankdata, wilcoxon

from leaderboard.statistic import CONFIDENCE, Array, bootstrap_intervals, listed, moments

ALPHA = 1 - CONFIDENCE
MIN_SEEDS = 3
MIN_SUBJECTS = 6  # below, no arrangement of signs makes a two-sided signed-rank p < 0.05
EXACT_UP_TO = 25  # pairs without ties up to which the signed-rank distribution is taken exactly
NO_SPREAD = 1e-12


@dataclass(frozen=True)
class Paired:
    """A row minus its reference over `n` pairs.

    difference: mean, with its 95 % interval (t over seeds, percentile bootstrap over subjects). p: two-sided, None where
    there is no test, and `why` says why not. adjusted: p after Holm's correction over all rows of the table. effect:
    over seeds Cohen's dz (mean / sd of the differences), over subjects the matched-pairs rank-biserial correlation in
    [-1, 1]; negative where the row is lower.
    """

    difference: float | None
    low: float | None
    high: float | None
    n: int
    p: float | None = None
    adjusted: float | None = None
    effect: float | None = None
    why: str = ""


def holm(p: Array) -> Array:
    """Holm's (1979) step-down adjusted p of the values that are not NaN; the others stay NaN."""
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def over_seeds(differences: Array) -> list[Paired]:
    """Paired t-test of each row of `differences` (R, seeds), which may hold NaN, corrected over the rows."""
    mean, sd, n = moments(differences.T)
    enough, spread = n >= MIN_SEEDS, sd > NO_SPREAD
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = np.maximum(n - 1, 1)
        p = np.where(enough & spread, 2 * stdtr(freedom, -np.abs(mean) / (sd / np.sqrt(n))), np.nan)
        half = stdtrit(freedom, (1 + CONFIDENCE) / 2) * sd / np.sqrt(n)
        effect = np.where(spread, mean / sd, np.nan)
    why = np.where(
        enough, "the difference is the same in every seed", f"n too small: {MIN_SEEDS} common seeds are needed"
    )
    return _all(mean, mean - half, mean + half, n, p, effect, why)


def over_subjects(differences: Array) -> list[Paired]:
    """Signed-rank test of each row of `differences` (R, subjects), which may hold NaN, corrected over the rows."""
    rows = len(differences)
    mean, low, high, p, effect = (np.full(rows, np.nan) for _ in range(5))
    known = ~np.isnan(differences)
    patterns, which = np.unique(known, axis=0, return_inverse=True)
    for at, pattern in enumerate(patterns):
        chosen = np.flatnonzero(which.reshape(-1) == at)
        values = differences[np.ix_(chosen, pattern)]
        if not values.size:
            continue
        mean[chosen] = values.mean(axis=1)
        low[chosen], high[chosen] = bootstrap_intervals(values)
        if values.shape[1] >= MIN_SUBJECTS:
            p[chosen], effect[chosen] = _signed_ranks(values)
    n = known.sum(axis=1)
    why = np.where(n >= MIN_SUBJECTS, "no subject differs", f"n too small: {MIN_SUBJECTS} common subjects are needed")
    return _all(mean, low, high, n, p, effect, why)


def _signed_ranks(values: Array) -> tuple[Array, Array]:
    """Two-sided p and rank-biserial correlation of each row of `values` (R, n) without NaN; NaN where all are 0."""
    size = np.abs(values)
    zero = size < NO_SPREAD
    ranks = np.where(zero, 0.0, rankdata(np.where(zero, 0.0, size), axis=1) - zero.sum(axis=1, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        effect = (ranks * np.sign(values)).sum(axis=1) / ranks.sum(axis=1)
    ordered = np.sort(size, axis=1)
    ties = zero.any(axis=1) | (np.diff(ordered, axis=1) <= NO_SPREAD).any(axis=1)
    exact = ~ties & (values.shape[1] <= EXACT_UP_TO)
    p = np.full(len(values), np.nan)
    for chosen, method in ((exact, "exact"), (~exact & ~zero.all(axis=1), "asymptotic")):
        if chosen.any():
            p[chosen] = wilcoxon(np.where(zero, 0.0, values)[chosen], axis=1, method=method).pvalue
    return p, effect


def _all(
    mean: Array, low: Array, high: Array, n: NDArray[np.int64], p: Array, effect: Array, why: NDArray[np.str_]
) -> list[Paired]:
    columns = [listed(one) for one in (mean, low, high, p, holm(p), effect)]
    reasons = np.where(np.isnan(p), why, "").tolist()
    return [
        Paired(mean, low, high, n, p, adjusted, effect, why)
        for mean, low, high, n, p, adjusted, effect, why in zip(
            *columns[:3], n.tolist(), *columns[3:], reasons, strict=True
        )
    ]
