"""Every row of a table against its best one: a shared variance over seeds, that of subjects, simultaneous intervals.

Of each row there is a value per seed; seeds are blocks, as a seed's rows share initialisation and order of the data. Variances
of rows are shrunk towards each other (moderated: Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3:3), so that three seeds of many
rows tell more than three seeds. The best row is sought among all, which flatters it: the critical value is that of the largest
of all differences, as in Tukey's studentized range, of which this is the generalisation to unequal variances.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

from .samples import CONFIDENCE, Array

DRAWS = 2000
CELLS = 1 << 19  # of draws and rows together, so that a table of thousands of rows takes no longer
SWEEPS = 50  # of rows and seeds in turn, where some values are missing
NO_SPREAD = 1e-12


class Versus(NamedTuple):
    """A row minus the reference: the mean over their `seeds` common seeds, and its interval.

    low, high: 95 % for all rows of the table at once, None where nothing tells the variance. subjects: over how many test
    subjects the interval holds as well; 0 where it holds for these subjects alone.
    """

    difference: float | None
    low: float | None
    high: float | None
    seeds: int
    subjects: int = 0


class Variances(NamedTuple):
    """Of each row the variance over seeds and its degrees of freedom, (R,); shared: whether it is one for all rows."""

    values: Array
    freedom: Array
    shared: bool


def against(values: Array, reference: int, influence: Array | None = None) -> list[Versus]:
    """Each row against the row `reference`, which has the highest mean or nearly so.

    values: (R, seeds), NaN where a row lacks a seed. influence: (R, subjects), the mean over seeds of what each subject adds to
    the row's value (`RunArrays.influence`); None, or NaN in every row, leaves subjects out of all. A row with a NaN where
    others have none has no interval, nor has any where the reference is such a row: what is missing narrows nothing.

    The variance of a difference is (v_i + v_j) / n over n common seeds, plus the jackknife's over subjects of the paired
    difference. Their interaction is in both parts, so that intervals are slightly wide.
    """
    known = ~np.isnan(values)
    common = known & known[reference]
    n = common.sum(1)
    differences = np.where(common, values - values[reference], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = differences.sum(1) / n
    whole = None if influence is None or influence.shape[1] < 2 else np.asarray(~np.isnan(influence).any(1))
    if influence is not None and whole is not None and whole.any() and not whole.all():
        found = [_versus(each, None, int(count)) for each, count in zip(mean, n, strict=True)]
        if whole[reference]:
            inner = against(values[whole], int(whole[:reference].sum()), influence[whole])
            for index, one in zip(np.flatnonzero(whole), inner, strict=True):
                found[index] = one
        return found
    shifts = influence if whole is not None and whole.all() else None
    subjects = 0 if shifts is None else shifts.shape[1]
    variances = moderated(values)
    if variances is None:
        return [_versus(each, None, int(count)) for each, count in zip(mean, n, strict=True)]
    scatter = _scatter(shifts, len(values), reference)
    steady = _steady(values)
    over_seeds = np.where(steady & steady[reference], 0.0, variances.values + variances.values[reference])
    half = np.sqrt(over_seeds / np.maximum(n, 1) + scatter) * _critical(variances, known.sum(1), shifts)
    half[n < 2] = np.inf  # a single seed has no variance of its own, and that of others is no evidence about it
    same = (np.abs(differences).max(1) <= NO_SPREAD) & (n > 1) & (scatter <= NO_SPREAD)
    half = np.where(same, 0.0, half)
    return [_versus(each, wide, int(count), subjects) for each, wide, count in zip(mean, half, n, strict=True)]


def moderated(values: Array) -> Variances | None:
    """The variance over seeds of each row of `values` (R, seeds), NaN where a row lacks a seed; None where nothing tells it.

    Of what is left of a value without the means of its row and its seed; shrunk towards a common value by as much as the rows'
    variances are alike. How alike is taken one standard error on the cautious side: with two or three seeds it is hardly known,
    and a row that varies more than it seems would be called best or worse too often.
    """
    steady = _steady(values)
    if steady.any() and (~steady & (np.isfinite(values).sum(1) > 1)).sum() > 1:
        return _beside_steady(values, steady)
    known = ~np.isnan(values)
    n = known.sum(1)
    rows, freedom = int((n > 0).sum()), int((n[n > 0] - 1).sum() - (known.any(0).sum() - 1))
    if rows < 2 or freedom < 1:
        return None
    left = _residuals(values, known)
    sums = (left**2).sum(1)
    overall = float(sums.sum() / freedom)
    several = n > 1
    own = sums[several] / (n[several] - 1)
    prior, scale = variance_prior(own[own > 0], (n[several] - 1)[own > 0])
    if rows < 3 or math.isinf(prior):
        return Variances(np.full(len(n), overall), np.full(len(n), float(freedom)), True)
    weights = np.maximum(n - 1, 0)
    mixed = (prior * scale + sums) / (prior + weights)
    # A row's residuals hold 1 - 2/R of its own variance and 1/R of the mean one: taken off, but no less than for equal rows.
    apart = (mixed - overall / rows) / (1 - 2 / rows)
    return Variances(np.maximum(apart, mixed * rows / (rows - 1)), np.minimum(prior + weights, freedom), False)


def _steady(values: Array) -> NDArray[np.bool_]:
    """Which rows are exactly equal over two seeds or more, as no model is in them."""
    low, high = np.where(np.isnan(values), np.inf, values).min(1), np.where(np.isnan(values), -np.inf, values).max(1)
    return np.asarray((low == high) & (np.isfinite(values).sum(1) > 1))


def _beside_steady(values: Array, steady: NDArray[np.bool_]) -> Variances | None:
    """`moderated` of the rows that vary; a steady row takes no part in what a seed does to all of those, and varies by that."""
    some = moderated(values[~steady])
    if some is None:
        return None
    known = ~np.isnan(values[~steady])
    seeds = _seeds(np.where(known, values[~steady], 0.0), known)[1][known.any(0)]
    variances, freedom = np.empty(len(values)), np.empty(len(values))
    variances[~steady], freedom[~steady] = some.values, some.freedom
    variances[steady], freedom[steady] = float(seeds.var(ddof=1)), len(seeds) - 1.0
    return Variances(variances, freedom, False)


def _residuals(values: Array, known: NDArray[np.bool_]) -> Array:
    """`values` without the effects of rows and of seeds, 0 where they are not known."""
    filled = np.where(known, values, 0.0)
    rows, seeds = _seeds(filled, known)
    return np.where(known, filled - rows[:, None] - seeds, 0.0)


def _seeds(filled: Array, known: NDArray[np.bool_]) -> tuple[Array, Array]:
    """The effects of rows and of seeds, least squares."""
    rows, seeds = np.zeros(len(filled)), np.zeros(filled.shape[1])
    for _ in range(1 if known.all() else SWEEPS):
        rows = _mean(filled - np.where(known, seeds, 0.0), known, 1)
        seeds = _mean(filled - np.where(known, rows[:, None], 0.0), known, 0)
    return rows, seeds


def _mean(values: Array, known: NDArray[np.bool_], axis: int) -> Array:
    return np.asarray(values.sum(axis) / np.maximum(known.sum(axis), 1))


def variance_prior(variances: Array, freedom: NDArray[np.int64]) -> tuple[float, float]:
    """Degrees of freedom and scale of the inverse chi-squared that variances come from (Smyth 2004, section 6.2)."""
    if len(variances) < 2:
        return math.inf, 0.0
    half = freedom / 2
    logs = np.log(variances) - digamma(half) + np.log(half)
    noise = float(polygamma(1, half).mean())
    spread = float(logs.var(ddof=1)) - noise
    spread += math.sqrt(2 / (len(logs) - 1)) * (noise + max(spread, 0.0))
    if spread <= 0:
        return math.inf, 0.0
    prior = 2 * float(brentq(lambda x: float(polygamma(1, x)) - spread, 1e-6, 1e9))
    return prior, math.exp(float(logs.mean() + digamma(prior / 2)) - math.log(prior / 2))


def _scatter(influence: Array | None, rows: int, reference: int) -> Array:
    """The variance over subjects of the difference of each row from one, (R,)."""
    if influence is None:
        return np.zeros(rows)
    count = influence.shape[1]
    return np.asarray(((influence - influence[reference]) ** 2).sum(1) / (count * (count - 1)))


def _critical(variances: Variances, n: NDArray[np.int64], influence: Array | None) -> float:
    """How many standard errors the highest of equal rows leaves any other behind in one table of twenty.

    Seeds' part of the means is drawn given the estimated variances: with one variance for all, this is the studentized range.
    Subjects are drawn with replacement, and the error is estimated from those that were drawn (bootstrap-t), as few subjects
    know their own spread badly.
    """
    random, some = np.random.default_rng(0), n > 0
    values, freedom, n = variances.values[some], variances.freedom[some], n[some]
    draws = max(min(DRAWS, CELLS // len(n)), 200)
    chi = random.chisquare(freedom[:1] if variances.shared else freedom, (draws, 1 if variances.shared else len(n)))
    means = random.standard_normal((draws, len(n))) * np.sqrt(values / n * freedom / chi)
    if influence is not None:
        parts, count = influence[some], influence.shape[1]
        drawn = random.multinomial(count, np.full(count, 1 / count), draws).astype(np.float64)
        shifts = drawn @ parts.T / count
        means += shifts * math.sqrt(count / (count - 1))
    best = means.argmax(1)
    place = np.arange(draws), best
    errors = values / n + (values / n)[best][:, None]
    if influence is not None:
        squares, across = drawn @ (parts**2).T, (drawn * parts[best]) @ parts.T
        spread = (squares + squares[place][:, None] - 2 * across) / count - (shifts - shifts[place][:, None]) ** 2
        errors += np.maximum(spread, 0.0) / (count - 1)
    behind = means[place][:, None] - means
    errors[place] = np.inf
    return float(np.quantile((behind / np.sqrt(np.maximum(errors, NO_SPREAD**2))).max(1), CONFIDENCE))


def _versus(mean: float, half: float | None, seeds: int, subjects: int = 0) -> Versus:
    if math.isnan(mean):
        return Versus(None, None, None, seeds)
    if half is None or not math.isfinite(half):
        return Versus(float(mean), None, None, seeds)
    return Versus(float(mean), float(mean - half), float(mean + half), seeds, subjects)
