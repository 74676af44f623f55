"""Effects with intervals, for statements that results can support or contradict: on these datasets, and on others like them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri, stdtrit
from scipy.stats import chi2, ncf, spearmanr, ttest_ind

from leaderboard.amounts import amount

from .samples import CONFIDENCE, Array, summarise
from .versus import variance_prior

NO_SPREAD = 1e-24
MIN_SEEDS = 3
MIN_FREEDOM = 4  # of the noise that a spread is held against: three groups of three seeds
MIN_SPREADS = 5  # datasets: below, equal spreads of a few by chance pass for those of all in one case of ten
NO_HIGH = "no upper bound: a dataset unlike these would raise the mean"
POWER = 0.8
TAIL = (1 - CONFIDENCE) / 2
SMALL = 0.01  # the chance with which a spread may be called smaller than it is; see benchmarks/studies/claims.py
LEAST_RATIO = 0.5  # of a spread to noise: one below is luck, and would make it smaller than noise lets anyone see


@dataclass(frozen=True)
class Effect:
    """An estimate with its 95 % interval; None where `n` is too small or nothing varies, which `why` says.

    subjects: the share of its variance that is over test subjects, the rest being over seeds; None where it is not split.
    spread: the standard deviation between independent datasets, and `own`, what of it their own uncertainty explains.
    few_seeds: whether more seeds alone would give it an interval.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    why: str = ""
    subjects: float | None = None
    spread: float | None = None
    own: float | None = None
    few_seeds: bool = False


class Estimate(NamedTuple):
    """A dataset's value: the mean over `seeds`, its variance over seeds and over `subjects` test subjects (0: not known).

    most: degrees of freedom of all datasets' seeds together, of which those of `over_seeds` are a part or all.
    """

    value: float
    seeds: int
    over_seeds: float
    freedom: float
    subjects: int = 0
    over_subjects: float = 0.0
    most: float = math.inf

    @property
    def variance(self) -> float:
        """Over seeds and subjects; their interaction is in both parts, so that it is slightly too large."""
        return self.over_seeds + self.over_subjects


def estimates(values: Mapping[str, Array], influence: Mapping[str, Array]) -> dict[str, Estimate]:
    """An estimate by dataset of its value for each seed, and of what each test subject adds to their mean.

    values: (seeds,) each. influence: (subjects,) of those that have it, as `RunArrays.influence`. The variances over seeds are
    shrunk towards each other as far as they are alike over datasets (moderated; Smyth 2004).
    """
    several = {name: of for name, of in values.items() if len(of) > 1}
    own = np.array([float(of.var(ddof=1)) for of in several.values()])
    n = np.array([len(of) - 1 for of in several.values()])
    varies = own > NO_SPREAD
    prior, scale = variance_prior(own[varies], n[varies]) if varies.sum() > 2 else (0.0, 0.0)
    pooled = math.isinf(prior)  # as alike as if they were one
    together = int(n[varies].sum())
    found = {}
    for name, of in values.items():
        freedom = len(of) - 1
        if pooled:
            variance, known = float((own * n)[varies].sum() / together), float(together)
        else:
            alone = freedom * float(of.var(ddof=1)) if freedom else math.nan
            variance, known = (prior * scale + alone) / max(prior + freedom, 1), prior + freedom
        part = influence.get(name)
        subjects = 0 if part is None or len(part) < 2 or np.isnan(part).any() else len(part)
        over = float((np.asarray(part) ** 2).sum() / (subjects * (subjects - 1))) if subjects else 0.0
        most = float(max(together, 1))
        found[name] = Estimate(float(of.mean()), len(of), variance / len(of), min(known, most), subjects, over, most)
    return found


def contrast(weighted: Sequence[tuple[float, Estimate]]) -> Effect:
    """A weighted sum of datasets' values, for these datasets: other seeds and other subjects of theirs, but no other datasets.

    The t interval with Satterthwaite's degrees of freedom; variances that were pooled over datasets know no more together than
    the pool does. None without MIN_SEEDS seeds on each.
    """
    n = len(weighted)
    if not n:
        return Effect(None, None, None, 0, "no dataset has such runs")
    value = sum(weight * one.value for weight, one in weighted)
    if (fewest := min(one.seeds for _, one in weighted)) < MIN_SEEDS:
        return _too_few_seeds(value, n, fewest)
    seeds = [(weight**2 * one.over_seeds, one.freedom) for weight, one in weighted]
    over_seeds = sum(part for part, _ in seeds)
    known = over_seeds**2 / sum(part**2 / of for part, of in seeds if part) if over_seeds else 0.0
    parts = [(over_seeds, min(known, *(one.most for _, one in weighted)))]
    parts += [(weight**2 * one.over_subjects, one.subjects - 1.0) for weight, one in weighted if one.subjects]
    variance = sum(part for part, _ in parts)
    if variance <= NO_SPREAD:
        return Effect(value, None, None, n, "nothing varies over seeds or subjects")
    freedom = variance**2 / sum(part**2 / of for part, of in parts if part)
    half = float(stdtrit(freedom, 1 - TAIL)) * math.sqrt(variance)
    of_subjects = sum(weight**2 * one.over_subjects for weight, one in weighted) / variance
    return Effect(value, value - half, value + half, n, subjects=of_subjects)


def _too_few_seeds(value: float, n: int, seeds: int) -> Effect:
    why = f"n too small: {amount(seeds, 'seeds')}, at least {MIN_SEEDS} are needed"
    return Effect(value, None, None, n, why, few_seeds=True)


def mean_effect(values: Sequence[float], least: int, of: str, own: Sequence[float] = ()) -> Effect:
    """The mean over independent units, with its t interval from `least` units on; own: the variance of each unit's value."""
    value = summarise(values)
    known = math.sqrt(float(np.mean(own))) if len(own) and not np.isnan(own).any() else None
    if value.n < least:
        why = f"n too small: {amount(value.n, of)}, at least {least} are needed"
        return Effect(value.mean, None, None, value.n, why, spread=value.sd, own=known)
    return Effect(value.mean, value.low, value.high, value.n, spread=value.sd, own=known)


def difference_effect(a: Sequence[float], b: Sequence[float], least: int, of: str) -> Effect:
    """mean(a) − mean(b) with Welch's interval, from `least` units in each on; n counts both, spread is over both."""
    n = len(a) + len(b)
    value = float(np.mean(a) - np.mean(b)) if a and b else None
    if min(len(a), len(b)) < least:
        return Effect(
            value, None, None, n, f"n too small: {len(a)} and {len(b)} {of}, at least {least} of each are needed"
        )
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return Effect(value, None, None, n, "nothing varies")
    interval = ttest_ind(a, b, equal_var=False).confidence_interval(CONFIDENCE)
    spread = math.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2) if least > 1 else None
    return Effect(value, float(interval.low), float(interval.high), n, spread=spread)


def units_needed(distance: float, spread: float) -> int:
    """How many independent units would show a mean `distance` away from a threshold in four cases of five, given their sd.

    The least n with n >= (t_0.975 + z_0.8)² spread² / distance², t of n − 1 degrees of freedom; at least 2.
    """
    n = 2
    while n < 10_000 and n < ((float(stdtrit(n - 1, 1 - TAIL)) + float(ndtri(POWER))) * spread / distance) ** 2:
        n += max(n // 50, 1)
    return n


class Spread(NamedTuple):
    """Mean squares between groups and of noise, within blocks, with their degrees of freedom, and how many values there are."""

    between: float
    noise: float
    first: int
    second: int
    total: int

    @property
    def variance(self) -> float:
        """Between groups, without what noise adds to it; may be negative."""
        return (self.between - self.noise) * self.first / self.total


def spread_of(blocks: Sequence[Array], resolution: float = 0.0) -> Spread | None:
    """Of blocks (groups, seeds), every group with the same seeds; what a seed does to all groups alike counts for nothing.

    resolution: the step of values that cannot be finer; their noise is at least that of rounding to it. None without a block of
    two groups and two seeds.
    """
    blocks = [block for block in blocks if min(block.shape) > 1]
    if not blocks:
        return None
    means = [block.mean(axis=1, keepdims=True) - block.mean() for block in blocks]
    pairs = list(zip(blocks, means, strict=True))
    rest = sum(float(((block - block.mean(axis=0) - mean) ** 2).sum()) for block, mean in pairs)
    between = sum(float((mean**2).sum()) * block.shape[1] for block, mean in pairs)
    first = sum(len(block) - 1 for block in blocks)
    second = sum((len(block) - 1) * (block.shape[1] - 1) for block in blocks)
    total = sum(block.size for block in blocks)
    return Spread(between / first, max(rest / second, resolution**2 / 12), first, second, total)


def dependence(blocks: Sequence[Array], of: str, resolution: float = 0.0) -> Effect:
    """The standard deviation between groups of replicates, within blocks: how much the group matters, for these groups.

    They are all the groups that are meant: their mean square is over n of them, not n − 1 as of a sample of others.
    blocks, resolution: see `spread_of`. value: without what noise adds. The interval is that of the noncentrality λ of F =
    between / noise (Steiger & Fouladi 1997, What if there were no significance tests?, ch. 9), sd² = λ · noise / total. Its
    upper end misses in SMALL of all cases, not TAIL: noise is not known but estimated, there by its sum of squares over two
    degrees of freedom fewer, whose inverse is unbiased, and F is LEAST_RATIO or more. n counts the groups. There is no interval
    for fewer than MIN_SEEDS seeds, or MIN_FREEDOM degrees of freedom of the noise: two groups of two seeds say nothing.
    """
    n = sum(len(block) for block in blocks if min(block.shape) > 1)
    spread = spread_of(blocks, resolution)
    if spread is None:
        return Effect(None, None, None, 0, f"n too small: two {of} with seeds in common are needed")
    value = math.sqrt(max(spread.variance, 0.0))
    fewest = min(block.shape[1] for block in blocks if min(block.shape) > 1)
    if fewest < MIN_SEEDS and spread.first * (MIN_SEEDS - 1) >= MIN_FREEDOM:
        return _too_few_seeds(value, n, fewest)
    if fewest < MIN_SEEDS or spread.second < MIN_FREEDOM:
        return Effect(value, None, None, n, f"n too small: three {of} with {MIN_SEEDS} seeds in common are needed")
    if spread.noise <= NO_SPREAD:
        return Effect(value, None, None, n, "nothing varies over seeds")
    ratio, scale = spread.between / spread.noise, spread.noise / spread.total
    wide = spread.second / (spread.second - 2)
    low = _noncentrality(ratio, spread.first, spread.second, 1 - TAIL)
    high = _noncentrality(max(ratio, LEAST_RATIO) / wide, spread.first, spread.second, SMALL)
    return Effect(value, math.sqrt(low * scale), math.sqrt(high * wide * scale), n)


def random_dependence(block: Array, of: str, resolution: float = 0.0) -> Effect:
    """The standard deviation between groups that are a sample of others like them, n − 1 in its mean square: (groups, seeds).

    The interval is that of the mean square between groups, chi-squared about noise + seeds · sd² (Searle et al. 1992, Variance
    Components, ch. 3), less the noise. None as for `dependence`.
    """
    effect, spread = dependence([block], of, resolution), spread_of([block], resolution)
    if effect.low is None or spread is None:
        return effect
    sums = spread.between * spread.first
    bounds = (sums / float(chi2.ppf(tail, spread.first)) for tail in (1 - TAIL, TAIL))
    low, high = (math.sqrt(max(bound - spread.noise, 0.0) / block.shape[1]) for bound in bounds)
    value = math.sqrt(max(spread.between - spread.noise, 0.0) / block.shape[1])
    return Effect(value, low, high, effect.n)


def mean_spread(blocks: Mapping[str, Sequence[Array]], resolution: float = 0.0) -> Effect:
    """The standard deviation between groups on datasets like these: the root of the mean over datasets of unbiased variances.

    low: of the mean variance, t over datasets, 0 where it is below. There is no `high`: spreads are skewed over datasets, and
    one unlike those at hand would raise their mean, so that none is seen to be small. spread: of the variances, on the scale of
    the value (over twice the value). None without MIN_SEEDS seeds, or MIN_FREEDOM degrees of freedom of the noise.
    """
    enough = [[block for block in of if len(block) > 1 and block.shape[1] >= MIN_SEEDS] for of in blocks.values()]
    spreads = [one for of in enough if (one := spread_of(of, resolution)) is not None]
    found = mean_effect([one.variance for one in spreads], MIN_SPREADS, f"datasets of {MIN_SEEDS} seeds in common")
    value = None if found.value is None else math.sqrt(max(found.value, 0.0))
    if found.low is None or sum(one.second for one in spreads) < MIN_FREEDOM:
        return Effect(value, None, None, found.n, found.why or "n too small: nothing tells the noise")
    spread = found.spread / (2 * value) if found.spread and value else None
    return Effect(value, math.sqrt(max(found.low, 0.0)), None, found.n, NO_HIGH, spread=spread)


def _noncentrality(ratio: float, first: int, second: int, chance: float) -> float:
    """The noncentrality with which a ratio so small or smaller has that chance; 0 where none has."""

    def beyond(noncentrality: float) -> float:
        return float(ncf.cdf(ratio, first, second, noncentrality)) - chance

    if beyond(0.0) <= 0:
        return 0.0
    most = 4.0 * (first * ratio + first + 10)
    while beyond(most) > 0:
        most *= 2
    return float(brentq(beyond, 0.0, most, xtol=1e-6))


def correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None where either is constant."""
    if len(set(x)) < 2 or len(set(y)) < 2:
        return None
    return float(spearmanr(x, y).statistic)
