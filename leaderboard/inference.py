"""Effects with intervals, for statements that results can support or contradict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import f, ncf, norm, spearmanr, ttest_ind

from leaderboard.statistic import CONFIDENCE, summarise

TAIL = (1 - CONFIDENCE) / 2
FIELLER = 1.06  # variance of Fisher's z of a rank correlation, times n - 3 (Fieller, Hartley, Pearson 1957)
NO_SPREAD = 1e-24


@dataclass(frozen=True)
class Effect:
    """An estimate with its 95 % interval; None where `n` is too small or nothing varies, which `why` says."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    why: str = ""


def mean_effect(values: Sequence[float], least: int, of: str) -> Effect:
    """The mean over independent units, with its t interval from `least` units on."""
    found = summarise(values)
    if found.n < least:
        return Effect(found.mean, None, None, found.n, f"n too small: {found.n} {of}, at least {least} are needed")
    return Effect(found.mean, found.low, found.high, found.n)


def difference_effect(a: Sequence[float], b: Sequence[float], least: int, of: str) -> Effect:
    """mean(a) − mean(b) with Welch's interval, from `least` units in each on; n counts both."""
    n = len(a) + len(b)
    value = float(np.mean(a) - np.mean(b)) if a and b else None
    if min(len(a), len(b)) < least:
        return Effect(
            value, None, None, n, f"n too small: {len(a)} and {len(b)} {of}, at least {least} of each are needed"
        )
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return Effect(value, None, None, n, "nothing varies")
    interval = ttest_ind(a, b, equal_var=False).confidence_interval(CONFIDENCE)
    return Effect(value, float(interval.low), float(interval.high), n)


def dependence(blocks: Sequence[Sequence[Sequence[float]]], of: str) -> Effect:
    """The standard deviation between groups of replicates, within blocks: how much the group matters.

    blocks[b][g] are the replicates of a group. From the one-way analysis of variance within blocks; the interval inverts
    the noncentral F distribution (Steiger 2004, Psychological Methods 9:164), its lower end is 0 where the F test does not
    reject at 2.5 %. n counts the groups.
    """
    blocks = [[group for group in groups if len(group) > 1] for groups in blocks]
    blocks = [groups for groups in blocks if len(groups) > 1]
    n = sum(map(len, blocks))
    if not blocks:
        return Effect(None, None, None, 0, f"n too small: two {of} with two seeds each are needed")
    between = sum(_between(groups) for groups in blocks)
    within = sum(float(np.var(group) * len(group)) for groups in blocks for group in groups)
    total = sum(len(group) for groups in blocks for group in groups)
    first, second = n - len(blocks), total - n
    noise = within / second
    if noise <= NO_SPREAD:
        return Effect(math.sqrt(between / total), None, None, n, "nothing varies over seeds")
    ratio = between / first / noise
    value = math.sqrt(max(between - first * noise, 0.0) / total)
    low, high = (math.sqrt(_noncentrality(ratio, first, second, share) * noise / total) for share in (1 - TAIL, TAIL))
    return Effect(value, low, high, n)


def _between(groups: Sequence[Sequence[float]]) -> float:
    centre = np.mean([value for group in groups for value in group])
    return float(sum(len(group) * (np.mean(group) - centre) ** 2 for group in groups))


def _noncentrality(ratio: float, first: int, second: int, share: float) -> float:
    """The noncentrality under which F stays below `ratio` with probability `share`; 0 where even that of 0 is too large."""
    if f.cdf(ratio, first, second) <= share:
        return 0.0
    top = max(10.0, 4 * ratio * first)
    while ncf.cdf(ratio, first, second, top) > share:
        top *= 2
    return float(brentq(lambda value: ncf.cdf(ratio, first, second, value) - share, 1e-12, top))


def correlation_effect(tables: Sequence[tuple[Sequence[float], Sequence[float]]], least: int, of: str) -> Effect:
    """Spearman's correlation of x and y, over several tables through Fisher's z; tables of fewer than `least` are left out."""
    pairs = [
        (float(spearmanr(x, y).statistic), len(x)) for x, y in tables if len(x) >= least and _varies(x) and _varies(y)
    ]
    if not pairs:
        return Effect(None, None, None, 0, f"n too small: at least {least} {of} that differ are needed")
    weights = np.array([n - 3 for _, n in pairs], dtype=float)
    z = float(np.average(np.arctanh(np.clip([rho for rho, _ in pairs], -0.999, 0.999)), weights=weights))
    half = float(norm.ppf(1 - TAIL)) * math.sqrt(FIELLER / weights.sum())
    return Effect(math.tanh(z), math.tanh(z - half), math.tanh(z + half), sum(n for _, n in pairs))


def _varies(values: Sequence[float]) -> bool:
    return len(set(values)) > 1
