"""How often a leaderboard's verdicts are right, on simulated tables: `python -m benchmarks.verdicts [--tables N]`.

Rows have an sd of 0.01 over seeds, half of its variance common to all rows of a seed, and one row may truly be lower. Printed
beside what was the rule before: a paired t-test of each row against the best, with Holm's correction over the rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ttest_rel

from leaderboard.statistics.versus import against

Array = NDArray[np.float64]
SD = 0.01


def before(values: Array) -> NDArray[np.bool_]:
    """Which rows a paired t-test against the best calls worse, Holm-corrected."""
    best = int(values.mean(1).argmax())
    p = np.full(len(values), np.nan)
    others = np.arange(len(values)) != best
    p[others] = ttest_rel(values[others], values[best][None], axis=1).pvalue
    order = np.argsort(p)[:-1]  # NaN, of the best row, is last
    called = np.zeros(len(values), dtype=bool)
    called[order] = np.logical_and.accumulate(p[order] * np.arange(len(order), 0, -1) < 0.05)
    return called


def now(values: Array) -> NDArray[np.bool_]:
    """Which rows have an interval below 0."""
    found = against(values, int(values.mean(1).argmax()))
    return np.array([one.high is not None and one.high < 0 for one in found])


def simulated(
    rows: int, seeds: int, lower: float, spread: float, tables: int, rule: Callable[[Array], NDArray[np.bool_]]
) -> Array:
    """Shares of tables in which an equal row is called worse, the first (a best one) is, and the one that is lower is."""
    random, counts = np.random.default_rng(0), np.zeros(3)
    for _ in range(tables):
        sd = SD * np.exp(spread * random.normal(size=(rows, 1)))
        values = 0.8 + sd * (random.normal(size=(rows, seeds)) + random.normal(size=seeds)) / np.sqrt(2)
        values[-1] -= lower
        called = rule(values)
        counts += called[:-1].any() if lower else called.any(), called[0], called[-1]
    return counts / tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=1000, help="simulated tables per line, default 1000")
    tables = parser.parse_args().tables
    print(
        "| rows × seeds | sds of rows | truly lower | found: before → now | an equal row called worse | the best called worse |"
    )
    print("|---|---|---|---|---|---|")
    for rows, seeds in ((10, 3), (10, 5), (31, 3), (60, 3), (60, 5)):
        for lower, spread in ((0.0, 0.0), (0.0, 0.5), (0.03, 0.0), (0.05, 0.0), (0.1, 0.0)):
            old, new = (simulated(rows, seeds, lower, spread, tables, rule) for rule in (before, now))
            texts = [f"{a:.3f} → {b:.3f}" for a, b in zip(old, new, strict=True)]
            found = texts[2] if lower else "–"
            kind = "unequal (log sd 0.5)" if spread else "equal"
            print(f"| {rows} × {seeds} | {kind} | {lower or '–'} | {found} | {texts[0]} | {texts[1]} |", flush=True)


if __name__ == "__main__":
    main()
