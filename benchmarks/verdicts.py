"""How often equal rows of a leaderboard are called worse: the share of made-up tables with a false verdict.

    python benchmarks/verdicts.py --rows 10 --seeds 10 --subjects 40

All rows are equal; seeds, subjects and single values vary alike, for each row by itself. The reference is the row with the
best mean, chosen on the values it is compared in, as in a leaderboard. Beside the rule in use, the one that both tests have to
agree.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np

from leaderboard.statistics.paired import ALPHA, Paired, over_both, over_seeds, over_subjects

SPREAD = 0.1  # standard deviation over seeds, over subjects, and of what is left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--subjects", type=int, default=40)
    parser.add_argument("--tables", type=int, default=400)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    some: dict[str, int] = {}
    first: dict[str, int] = {}
    for _ in range(options.tables):
        for rule, worse in verdicts(random, options.rows, options.seeds, options.subjects).items():
            some[rule] = some.get(rule, 0) + bool(worse.any())
            first[rule] = first.get(rule, 0) + bool(worse[0])
    for rule, count in some.items():
        print(
            f"{rule}: some row is called worse in {count / options.tables:.1%} of {options.tables} tables, "
            f"a given one in {first[rule] / options.tables:.1%}"
        )


def verdicts(random: np.random.Generator, rows: int, seeds: int, subjects: int) -> dict[str, np.ndarray]:
    """By rule, which rows (R,) of a table of equal ones are called worse. Seeds alone are tested on a fixed test set."""
    by_seed = random.normal(0, SPREAD, (rows, seeds))
    by_subject = random.normal(0, SPREAD, (rows, subjects))
    left = random.normal(0, SPREAD, (rows, seeds, subjects))
    alone = by_seed + left.mean(axis=2)
    of_seeds, of_subjects = alone + by_subject.mean(axis=1, keepdims=True), by_subject + left.mean(axis=1)
    both, single = _against_best(of_seeds), _against_best(alone)
    same = of_subjects - of_subjects[both.best]
    return {
        "over seeds and subjects at once": both.placed(over_both(both.differences, same[both.others]) < ALPHA),
        "both tests agree": both.placed(
            _significant(over_seeds(both.differences)) & _significant(over_subjects(same[both.others]))
        ),
        "over seeds alone": single.placed(over_both(single.differences, None) < ALPHA),
    }


class _Compared(NamedTuple):
    """The rows but the best, (R,) bool, and their differences from it (R - 1, seeds)."""

    best: int
    others: np.ndarray
    differences: np.ndarray

    def placed(self, worse: np.ndarray) -> np.ndarray:
        """Verdicts of the others as those of all rows."""
        found = np.zeros(len(self.others), dtype=bool)
        found[self.others] = worse
        return found


def _against_best(values: np.ndarray) -> _Compared:
    best = int(values.mean(axis=1).argmax())
    others = np.arange(len(values)) != best
    return _Compared(best, others, (values - values[best])[others])


def _significant(tests: list[Paired]) -> np.ndarray:
    return np.array([one.adjusted is not None and one.adjusted < ALPHA for one in tests])


if __name__ == "__main__":
    main()
