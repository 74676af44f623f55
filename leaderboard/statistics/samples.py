"""Mean, spread and interval of many samples at once; the variance of a table split into its seeds and its subjects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

Array = NDArray[np.float64]
CONFIDENCE = 0.95
RESAMPLES = 1000


class Statistic(NamedTuple):
    """A sample of size `n`: mean (None for n = 0), sd with n - 1 below, and 95 % t interval (None for n < 2)."""

    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    n: int


class Variance(NamedTuple):
    """Variance components of one value per seed and subject: sd between seeds, between subjects, and what is left.

    The last is the interaction of the two (a seed that suits some subjects), which one value per cell cannot tell from
    noise. `seeds` and `subjects` say how many there were.
    """

    seed: float
    subject: float
    residual: float
    seeds: int
    subjects: int


def summarise(values: Sequence[float]) -> Statistic:
    """Mean, sd (ddof = 1) and two-sided 95 % Student t interval of the mean; the interval is not clipped to [0, 1].

    The order of the values cannot change the last bit, and equal values have exactly no spread.
    """
    return statistics(np.array(values, dtype=float).reshape(-1, 1))[0]


def statistics(values: Array) -> list[Statistic]:
    """`summarise` of each column of `values` (n, K), leaving out its NaN."""
    mean, sd, n = moments(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        half = t_quantile(n) * sd / np.sqrt(n)
    columns = [listed(column) for column in (mean, sd, mean - half, mean + half)]
    return list(map(Statistic, *columns, n.tolist()))


def t_quantile(n: NDArray[np.int64]) -> Array:
    """Student's t quantile of the two-sided 95 % interval for samples of `n` values, computed once per size."""
    sizes = np.arange(n.max(initial=0) + 1)
    return np.asarray(stdtrit(np.maximum(sizes - 1, 1), (1 + CONFIDENCE) / 2)[n])


def statistics_of_all(samples: Sequence[Array]) -> list[list[Statistic]]:
    """`statistics` of each (n, K) array of a long list; arrays of the same n share one pass."""
    by_size: dict[int, list[int]] = {}
    for index, values in enumerate(samples):
        by_size.setdefault(len(values), []).append(index)
    results: list[list[Statistic]] = [[]] * len(samples)
    for members in by_size.values():
        columns = iter(statistics(np.concatenate([samples[index] for index in members], axis=1)))
        for index in members:
            results[index] = [next(columns) for _ in range(samples[index].shape[1])]
    return results


def moments(values: Array) -> tuple[Array, Array, NDArray[np.int64]]:
    """Mean (NaN for n = 0), sd (NaN for n < 2) and n of each column of `values` (n, ..., K) over axis 0, without NaN."""
    values = np.sort(values, axis=0)  # NaN last
    n = (~np.isnan(values)).sum(axis=0)
    if not len(values):
        return np.full(n.shape, np.nan), np.full(n.shape, np.nan), n
    first = values[:1]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = first[0] + np.nansum(values - first, axis=0) / n
        sd = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / np.where(n > 1, n - 1, np.nan))
    return mean, sd, n


def listed(column: Array) -> list[float | None]:
    """The values with None for NaN."""
    return [None if value != value else value for value in column.tolist()]


def resampling_shares(subjects: int, seed: int = 0) -> Array:
    """The share of each subject in each bootstrap resample: (subjects, RESAMPLES), each column sums to 1."""
    drawn = np.random.default_rng(seed).multinomial(subjects, np.full(subjects, 1 / subjects), size=RESAMPLES)
    return np.ascontiguousarray(drawn.T / subjects)


def bootstrap_intervals(values: Array) -> tuple[Array, Array]:
    """Low and high of the 95 % bootstrap interval of the mean of each row of `values` (K, S), without NaN; NaN for S < 2.

    The expanded percentile interval (Hesterberg 2015, The American Statistician 69:371): quantiles so far out that it is as
    wide for few subjects as a t interval, where the plain percentile interval of six subjects holds the mean in 85 % only.
    Every row sees the same resamples, so that intervals of differences between rows are paired by subject.
    """
    subjects = values.shape[1]
    if subjects < 2:
        return np.full(len(values), np.nan), np.full(len(values), np.nan)
    tail = ndtr(-math.sqrt(subjects / (subjects - 1)) * stdtrit(subjects - 1, (1 + CONFIDENCE) / 2))
    shares = resampling_shares(subjects)
    parts = np.array_split(values, math.ceil(len(values) / 512))
    low, high = np.concatenate([np.quantile(part @ shares, [tail, 1 - tail], axis=1) for part in parts], axis=1)
    return low, high


def variance_components(values: Array) -> Variance | None:
    """Of `values` (seeds, subjects), two-way random effects from the mean squares; None for fewer than two of either.

    Subjects without a value in every seed are left out. A component whose estimate is negative is 0 (Searle et al. 1992,
    Variance Components, ch. 4).
    """
    values = values[:, ~np.isnan(values).any(axis=0)]
    seeds, subjects = values.shape
    if seeds < 2 or subjects < 2:
        return None
    rows, columns, overall = values.mean(axis=1), values.mean(axis=0), values.mean()
    residual = ((values - rows[:, None] - columns + overall) ** 2).sum() / ((seeds - 1) * (subjects - 1))
    of_seed = (subjects * ((rows - overall) ** 2).sum() / (seeds - 1) - residual) / subjects
    of_subject = (seeds * ((columns - overall) ** 2).sum() / (subjects - 1) - residual) / seeds
    seed, subject, rest = (math.sqrt(max(float(part), 0.0)) for part in (of_seed, of_subject, residual))
    return Variance(seed, subject, rest, seeds, subjects)
