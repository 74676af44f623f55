"""Paired tests of many rows against one: over seeds by Student's t, over subjects by Wilcoxon's signed ranks, over both."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, wilcoxon

from .samples import CONFIDENCE, Array, bootstrap_intervals, listed

ALPHA = 1 - CONFIDENCE
MIN_SEEDS = 3
MIN_SUBJECTS = 6  # below, no arrangement of signs makes a two-sided signed-rank p < 0.05
EXACT_UP_TO = 25  # pairs up to which the signed-rank distribution is taken exactly
NO_SPREAD = 1e-12
SMALLEST = 1e-300  # p below which its normal deviate is infinite
DIGITS = 12  # decimals to which two sizes of a difference are a tie


class Paired(NamedTuple):
    """A row minus its reference over `n` pairs.

    difference: mean, with its 95 % interval (t over seeds, bootstrap over subjects; None for one). p: two-sided, None where
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
    indices = np.flatnonzero(~np.isnan(p))
    order = indices[np.argsort(p[indices], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def over_subjects(differences: Array) -> list[Paired]:
    """Signed-rank test of each row of `differences` (R, subjects), which may hold NaN, corrected over the rows."""
    rows = len(differences)
    mean, low, high, p, effect = (np.full(rows, np.nan) for _ in range(5))
    known = ~np.isnan(differences)
    patterns, which = np.unique(known, axis=0, return_inverse=True)
    for index, pattern in enumerate(patterns):
        chosen = np.flatnonzero(which.reshape(-1) == index)
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
    """Two-sided p and rank-biserial correlation of each row of `values` (R, n) without NaN; NaN where all are 0.

    Pairs without a difference are left out. Up to EXACT_UP_TO pairs p is exact, ties or not: the normal approximation would
    call five equal signs among six pairs, one of them 0, significant, which no arrangement of five signs is.
    """
    size = np.round(np.abs(values), DIGITS)
    zero = size == 0
    ranks = np.where(zero, 0.0, rankdata(size, axis=1) - zero.sum(axis=1, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        effect = (ranks * np.sign(values)).sum(axis=1) / ranks.sum(axis=1)
    p = np.full(len(values), np.nan)
    known = ~zero.all(axis=1)
    if values.shape[1] > EXACT_UP_TO:
        if known.any():
            p[known] = wilcoxon(np.where(zero, 0.0, np.sign(values) * size)[known], axis=1, method="asymptotic").pvalue
        return p, effect
    positive, negative = (np.where(sign * values > 0, ranks, 0.0).sum(axis=1) for sign in (1, -1))
    smaller = np.rint(2 * np.minimum(positive, negative)).astype(int)
    patterns, which = np.unique(np.sort(ranks, axis=1), axis=0, return_inverse=True)
    for index, pattern in enumerate(patterns):
        chosen = known & (which.reshape(-1) == index)
        p[chosen] = np.minimum(1.0, 2 * _signed_rank_tail(pattern)[smaller[chosen]])
    return p, effect


def _signed_rank_tail(ranks: Array) -> Array:
    """The chance that the ranks of one sign sum to at most half of the index, every sign being as likely as the other.

    ranks: (n,), tied ones averaged, 0 for pairs without a difference.
    """
    doubled = [round(2 * rank) for rank in ranks.tolist() if rank]
    chance = np.zeros(sum(doubled) + 1)
    chance[0] = 1.0
    for rank in doubled:
        shifted = np.zeros_like(chance)
        shifted[rank:] = chance[: len(chance) - rank]
        chance = (chance + shifted) / 2
    return np.cumsum(chance)


def _all(
    mean: Array, low: Array, high: Array, n: NDArray[np.int64], p: Array, effect: Array, why: NDArray[np.str_]
) -> list[Paired]:
    columns = [listed(column) for column in (mean, low, high, p, holm(p), effect)]
    reasons = np.where(np.isnan(p), why, "").tolist()
    return [
        Paired(mean, low, high, n, p, adjusted, effect, why)
        for mean, low, high, n, p, adjusted, effect, why in zip(
            *columns[:3], n.tolist(), *columns[3:], reasons, strict=True
        )
    ]
