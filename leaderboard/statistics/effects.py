"""Effects with intervals, for statements that results can support or contradict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import f, spearmanr, ttest_ind

from .samples import CONFIDENCE, Array, summarise

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
    value = summarise(values)
    if value.n < least:
        return Effect(value.mean, None, None, value.n, f"n too small: {value.n} {of}, at least {least} are needed")
    return Effect(value.mean, value.low, value.high, value.n)


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


def dependence(blocks: Sequence[Array], of: str, resolution: float = 0.0) -> Effect:
    """The standard deviation between groups of replicates, within blocks: how much the group matters.

    blocks: (groups, seeds), every group with the same seeds; what a seed does to all groups alike counts for nothing. The
    interval is exact: as far from the estimate as Scheffé's ball around the group means reaches, noise being the interaction
    of groups and seeds. `resolution`: the step of values that cannot be finer; their noise is at least that of rounding to it.
    n counts the groups.
    """
    blocks = [block for block in blocks if min(block.shape) > 1]
    n, total = sum(len(block) for block in blocks), sum(block.size for block in blocks)
    if not blocks:
        return Effect(None, None, None, 0, f"n too small: two {of} with two seeds in common are needed")
    means = [block.mean(axis=1, keepdims=True) - block.mean() for block in blocks]
    rest = sum(
        float(((block - block.mean(axis=0) - mean) ** 2).sum()) for block, mean in zip(blocks, means, strict=True)
    )
    first, second = n - len(blocks), sum((len(block) - 1) * (block.shape[1] - 1) for block in blocks)
    between = sum(float((mean**2).sum()) * block.shape[1] for block, mean in zip(blocks, means, strict=True))
    value, noise = math.sqrt(between / total), max(rest / second, resolution**2 / 12)
    if noise <= NO_SPREAD:
        return Effect(value, None, None, n, "nothing varies over seeds")
    radius = math.sqrt(first * float(f.ppf(CONFIDENCE, first, second)) * noise / total)
    return Effect(value, max(value - radius, 0.0), value + radius, n)


def correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None where either is constant."""
    if len(set(x)) < 2 or len(set(y)) < 2:
        return None
    return float(spearmanr(x, y).statistic)
