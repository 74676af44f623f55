"""How often claims are decided, rightly and wrongly, on simulated datasets: `python -m benchmarks.studies.claims [--draws N]`.

Gains (`projection`, `ensemble`) differ between datasets with a standard deviation; on each of them, an estimate has one of
0.005 over seeds and 0.005 over 30 test subjects. Of datasets like these, a claim is about the mean of all, as it always was; of
these datasets, about theirs. Spreads (`beta`, `kl-gradient-setting`) are over betas or settings, within datasets; before,
their interval was as wide as Scheffé's ball around the group means.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import f

from leaderboard.statistics.effects import (
    Effect,
    contrast,
    dependence,
    difference_effect,
    estimates,
    mean_effect,
    mean_spread,
    units_needed,
)
from leaderboard.verdicts.claims import MIN_DATASETS, MIN_PER_DOMAIN
from leaderboard.verdicts.spreads import BETA_THRESHOLD

Array = NDArray[np.float64]
OWN = 0.005  # the standard deviation over seeds, and over subjects, of a dataset's gain
SEEDS, SUBJECTS = 3, 30
SPREADS = (  # betas and seeds, datasets, and the sd of noise with which a spread at the threshold is missed most
    ((3, 3), 3, 0.01), ((3, 3), 7, 0.01), ((6, 3), 1, 0.005), ((6, 3), 1, 0.01), ((6, 3), 2, 0.01), ((3, 5), 1, 0.01),
    ((2, 3), 3, 0.01), ((2, 5), 2, 0.012), ((5, 5), 2, 0.014), ((2, 2), 3, 0.004),
)  # fmt: skip


def gains(random: np.random.Generator, count: int, mean: float, sd: float) -> tuple[Array, Array, Array]:
    """Of `count` datasets the true gain, and for each of them the gain by seed and what each subject adds to it."""
    true = mean + sd * random.normal(size=count)
    parts = OWN * math.sqrt(SUBJECTS) * random.normal(size=(count, SUBJECTS))
    values = true[:, None] + parts.mean(1, keepdims=True) + OWN * math.sqrt(SEEDS) * random.normal(size=(count, SEEDS))
    return true, values, parts - parts.mean(1, keepdims=True)


def here(values: Array, parts: Array, weights: Array) -> Effect:
    """The weighted sum of the datasets' gains, of these datasets."""
    names = [str(at) for at in range(len(values))]
    found = estimates(dict(zip(names, values, strict=True)), dict(zip(names, parts, strict=True)))
    return contrast([(weight, found[name]) for weight, name in zip(weights, names, strict=True)])


def sign(effect: Effect, threshold: float = 0.0) -> int:
    """1 where the whole interval lies above the threshold, -1 where it lies below, else 0."""
    if effect.low is not None and effect.low > threshold:
        return 1
    return -1 if effect.high is not None and effect.high < threshold else 0


def of_gains(kinds: int, each: int, mean: float, sd: float, draws: int) -> tuple[float, float, float]:
    """Shares that find the gain (natural minus medical, of two kinds) to be above 0 of datasets like these; that tell its sign
    of these datasets; and that tell the wrong one."""
    random, counts = np.random.default_rng(0), np.zeros(3)
    for _ in range(draws):
        of_kinds = [gains(random, each, mean * (kind == 0), sd) for kind in range(kinds)]
        true, values, parts = (np.concatenate(one) for one in zip(*of_kinds, strict=True))
        weights = np.repeat([1.0, -1.0][:kinds], each) / each
        by_kind = values.mean(1).reshape(kinds, each).tolist()
        beyond = (
            difference_effect(*by_kind, MIN_PER_DOMAIN, "datasets")
            if kinds > 1
            else mean_effect(by_kind[0], MIN_DATASETS, "datasets")
        )
        told, right = sign(here(values, parts, weights)), np.sign(weights @ true)
        counts += sign(beyond) == 1, told == right, told == -right
    share, right, wrong = (counts / draws).tolist()
    return share, right, wrong


def scheffe(blocks: Sequence[Array]) -> Effect:
    """The spread between groups, its interval as far as Scheffé's ball around the group means reaches."""
    n, total = sum(map(len, blocks)), sum(block.size for block in blocks)
    means = [block.mean(1, keepdims=True) - block.mean() for block in blocks]
    rest = sum(float(((one - one.mean(0) - mean) ** 2).sum()) for one, mean in zip(blocks, means, strict=True))
    first, second = n - len(blocks), sum((len(block) - 1) * (block.shape[1] - 1) for block in blocks)
    between = sum(float((mean**2).sum()) * block.shape[1] for block, mean in zip(blocks, means, strict=True))
    radius = math.sqrt(first * float(f.ppf(0.95, first, second)) * rest / second / total)
    value = math.sqrt(between / total)
    return Effect(value, max(value - radius, 0.0), value + radius, n)


def blocks(random: np.random.Generator, shape: tuple[int, int], spreads: Sequence[float], noise: float) -> list[Array]:
    """For each dataset the values (betas, seeds): betas evenly apart with this spread; a seed shifts all of them."""
    places = np.linspace(-1, 1, shape[0])[:, None]
    places /= places.std()
    return [sd * places + noise * random.normal(size=shape) + 0.02 * random.normal(size=shape[1]) for sd in spreads]


def of_spreads(
    rule: Callable[[list[Array]], Effect],
    shape: tuple[int, int],
    spreads: Sequence[float],
    noise: float,
    draws: int,
    chance: float = 1.0,
) -> tuple[float, float]:
    """Shares found to be below, and above, BETA_THRESHOLD; `chance`: that a dataset has its spread, else it has none."""
    random, signs = np.random.default_rng(0), []
    for _ in range(draws):
        own = np.where(random.random(len(spreads)) < chance, spreads, 0.0).tolist()
        signs.append(sign(rule(blocks(random, shape, own, noise)), BETA_THRESHOLD))
    return signs.count(-1) / draws, signs.count(1) / draws


def lines(draws: int) -> Iterator[str]:
    """The two tables."""
    yield "| claim | datasets | true effect, sd between datasets | like these: found | these: told | these: told wrongly |"
    yield "|---|---|---|---|---|---|"
    for name, kinds, mean, sd, counts in (
        ("projection", 2, 0.02, 0.02, (2, 7, 18)),
        ("ensemble", 1, 0.02, 0.087, (3, 7, 153)),
    ):
        for each in counts:
            share, right, wrong = of_gains(kinds, each, mean, sd, draws)
            text = f"{each} + {each}" if kinds > 1 else str(each)
            yield f"| `{name}` | {text} | {mean}, {sd} | {share:.3f} | {right:.3f} | {wrong:.3f} |"
        needed = units_needed(mean, sd * math.sqrt(kinds))
        yield f"| `{name}` | what it says is needed: {needed}{' of each' if kinds > 1 else ''} | | | | |"
    yield ""
    yield "| betas × seeds, datasets | noise | no spread: seen to be below 0.01 | 0.01: called less | 0.0099: called more |"
    yield "|---|---|---|---|---|"
    for shape, count, noise in SPREADS:
        rules = (scheffe, lambda found: dependence(found, "betas"))
        cases = ((0.0, 0), (0.01, 0), (0.0099, 1))
        both = [[of_spreads(rule, shape, [true] * count, noise, draws)[side] for true, side in cases] for rule in rules]
        texts = [f"{a:.3f} → {b:.3f}" for a, b in zip(*both, strict=True)]
        yield f"| {shape[0]} × {shape[1]}, {count} | {noise} | {' | '.join(texts)} |"
    yield ""
    yield "| datasets like these | true sd | called below 0.01 | called above 0.01 |"
    yield "|---|---|---|---|"
    for count, true, chance in ((5, 0.0099, 1.0), (5, 0.0099, 0.5), (7, 0.0099, 0.5), (7, 0.02, 1.0), (7, 0.02, 0.5)):
        spreads = [true / math.sqrt(chance)] * count
        found = of_spreads(by_dataset, (3, 3), spreads, 0.004, draws, chance)
        what = "all the same" if chance == 1 else "half of all have none"
        yield f"| {count}, {what} | {true} | {found[0]:.3f} | {found[1]:.3f} |"


def by_dataset(found: list[Array]) -> Effect:
    """The spread on datasets like these."""
    return mean_spread({str(at): [block] for at, block in enumerate(found)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000, help="simulated collections per line, default 1000")
    for line in lines(parser.parse_args().draws):
        print(line, flush=True)


if __name__ == "__main__":
    main()
