"""How often a leaderboard's verdicts are right, on simulated tables: `python -m benchmarks.studies.verdicts --help`.

Rows have an sd of 0.01 over seeds, half of its variance common to all rows of a seed, and one row may truly be lower. Printed
beside what was the rule before: a paired t-test of each row against the best, with Holm's correction over the rows.

`--subjects`: results of runs with test subjects whose anomalies are of unequal size and visibility, from the histograms of
their pixels' scores to the verdicts of the table: AP and dice over all pixels, for other seeds and other subjects. Before:
t-tests over seeds and over subjects of their own values, joined by min F' (Clark 1973), with Holm's correction.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from scipy.stats import ttest_1samp, ttest_rel

from benchmarks.leaderboards import measure, result
from leaderboard.record import RunResult
from leaderboard.results.collect import Collection
from leaderboard.results.run_arrays import run_of
from leaderboard.rows.aggregate import aggregate
from leaderboard.rows.main_table import all_settings
from leaderboard.statistics.versus import against

Array = NDArray[np.float64]
SD = 0.01
ROWS, SEEDS = 10, 3
EDGES = np.linspace(-4.5, 9.0, 200)  # of the histograms of scores; normal pixels' have a standard normal distribution
THRESHOLD = 2.33  # a hundredth of the normal pixels lies above
NORMAL = 4000  # pixels of a subject
VISIBLE = 2.4  # how far the anomalies' scores lie above the normal ones, on average


def before(values: Array) -> NDArray[np.bool_]:
    """Which rows a paired t-test against the best calls worse, Holm-corrected."""
    best = int(values.mean(1).argmax())
    p = np.full(len(values), np.nan)
    others = np.arange(len(values)) != best
    p[others] = ttest_rel(values[others], values[best][None], axis=1).pvalue
    return holm(p)


def holm(p: Array) -> NDArray[np.bool_]:
    """Which p are below 0.05 after Holm's correction; the best row's, NaN, is not."""
    order = np.argsort(p)[:-1]  # NaN is last
    called = np.zeros(len(p), dtype=bool)
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


def over_both(values: Array, subjects: Array) -> NDArray[np.bool_]:
    """Which rows are worse than the best by values over seeds (R, n), and by the means over seeds of each subject (R, S)."""
    best = int(values.mean(1).argmax())
    others = np.arange(len(values)) != best
    seeds, by_subject = ((table - table[best])[others] for table in (values, subjects))
    first, second = (ndtri(ttest_1samp(table, 0, axis=1).pvalue / 2) for table in (seeds, by_subject))
    p = np.full(len(values), np.nan)
    agree = seeds.mean(1) * by_subject.mean(1) > 0
    p[others] = np.where(agree, 2 * ndtr(-1 / np.hypot(1 / first, 1 / second)), 1.0)
    return holm(p)


class Subjects:
    """Test subjects of one draw: how many anomalous pixels each has, and how visible they are to each row and seed."""

    def __init__(
        self, random: np.random.Generator, count: int, lower: float, rows: int = ROWS, seeds: int = SEEDS
    ) -> None:
        self.pixels = np.exp(4.5 + random.normal(size=count))
        visible = VISIBLE + 0.6 * random.normal(size=count) + 0.3 * random.normal(size=(rows, 1, count))
        visible = visible + 0.05 * (random.normal(size=(rows, seeds, 1)) + random.normal(size=(seeds, 1)))
        visible[-1] -= lower
        self.normal = NORMAL * -np.diff(1 - ndtr(EDGES))
        self.histograms = self.pixels[:, None] * np.diff(ndtr(EDGES - visible[..., None]))

    def table(self, metric: str) -> tuple[Array, Array, Array]:
        """The metric over all pixels (R, n), that without each subject (R, n, S), and that of each subject (R, n, S)."""
        count, of = len(self.pixels), {"ap": _ap, "dice": _dice}[metric]
        whole = self.histograms.sum(-2)
        without = whole[..., None, :] - self.histograms
        return (
            of(whole, self.normal * count),
            of(without, self.normal * (count - 1)),
            of(self.histograms, self.normal),
        )


def _ap(anomalous: Array, normal: Array) -> Array:
    """Average precision of histograms (…, places), by rising score."""
    found, false = (np.cumsum(table[..., ::-1], axis=-1) for table in (anomalous, normal))
    steps = np.diff(found, axis=-1, prepend=0.0) / found[..., -1:]
    return np.asarray((steps * found / np.maximum(found + false, 1e-12)).sum(-1))


def _dice(anomalous: Array, normal: Array) -> Array:
    """Dice of what lies above THRESHOLD."""
    above = EDGES[:-1] >= THRESHOLD
    found, false = anomalous[..., above].sum(-1), normal[..., above].sum(-1)
    return np.asarray(2 * found / (found + false + anomalous.sum(-1)))


@cache
def shift_for(difference: float, metric: str) -> float:
    """By how much less visible anomalies have to be that the metric over very many subjects is lower by so much."""
    if not difference:
        return 0.0

    def excess(lower: float) -> float:
        values = Subjects(np.random.default_rng(0), 3000, lower, rows=2, seeds=1).table(metric)[0]
        return float(values[0, 0] - values[1, 0]) - difference

    return float(brentq(excess, 0.0, VISIBLE))


def verdicts(tables: dict[str, tuple[Array, Array, Array]]) -> dict[str, list[str]]:
    """By metric the verdict of each row of a leaderboard of results with these values."""
    names, runs = [f"row{at}" for at in range(ROWS)], []
    count = tables["ap"][1].shape[-1]
    for seed in range(SEEDS):
        document: dict[str, Any] = result(seed, names, count)
        for at, row in enumerate(document["predictors"].values()):
            row["without"] = {metric: without[at, seed].tolist() for metric, (_, without, _) in tables.items()}
            row["test"] |= {metric: measure(float(values[at, seed])) for metric, (values, _, _) in tables.items()}
        runs.append(run_of(msgspec.convert(document, RunResult)))
    rows = {row.predictor: row for row in all_settings(aggregate(Collection(runs)))}
    return {metric: [rows[name].versus[metric].verdict for name in names] for metric in tables}


def print_subjects(tables: int) -> None:
    """A line per number of subjects, metric and true difference."""
    print(
        "| subjects | metric | truly lower | found: before → now | an equal row called worse | the best called worse |"
    )
    print("|---|---|---|---|---|---|")
    for count in (10, 20, 50):
        for metric, lower in (("ap", 0.0), ("ap", 0.05), ("ap", 0.15), ("dice", 0.0), ("dice", 0.15)):
            random, shares = np.random.default_rng(0), np.zeros((2, 3))
            for _ in range(tables):
                drawn = Subjects(random, count, shift_for(lower, metric))
                table = drawn.table(metric)
                told = verdicts({"ap": drawn.table("ap"), metric: table})[metric]
                both = over_both(table[0], table[2].mean(1)), np.array([one == "worse" for one in told])
                shares += [(called[:-1].any() if lower else called.any(), called[0], called[-1]) for called in both]
            shares /= tables
            texts = [f"{a:.3f} → {b:.3f}" for a, b in shares.T]
            line = (count, metric, lower or "–", texts[2] if lower else "–", *texts[:2])
            print(f"| {' | '.join(map(str, line))} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=1000, help="simulated tables per line, default 1000")
    parser.add_argument("--subjects", action="store_true", help="tables of results with test subjects")
    options = parser.parse_args()
    tables = options.tables
    if options.subjects:
        print_subjects(tables)
        return
    print(
        "| rows × seeds | sds of rows | truly lower | found: before → now | an equal row called worse | the best called worse |"
    )
    print("|---|---|---|---|---|---|")
    for rows, seeds in ((10, 3), (60, 3), (60, 5)):
        for lower, spread in ((0.0, 0.0), (0.0, 0.5), (0.0, 1.0), (0.03, 0.0), (0.05, 0.0), (0.1, 0.0)):
            old, new = (simulated(rows, seeds, lower, spread, tables, rule) for rule in (before, now))
            texts = [f"{a:.3f} → {b:.3f}" for a, b in zip(old, new, strict=True)]
            found = texts[2] if lower else "–"
            kind = f"unequal (log sd {spread:g})" if spread else "equal"
            print(f"| {rows} × {seeds} | {kind} | {lower or '–'} | {found} | {texts[0]} | {texts[1]} |", flush=True)


if __name__ == "__main__":
    main()
