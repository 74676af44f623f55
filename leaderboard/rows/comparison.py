"""How each row of a dataset's table compares with its best one: worse, equivalent, or undecided."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from leaderboard.record import LOWER_IS_BETTER, MARGIN, METRICS, direction
from leaderboard.results.run_arrays import Array
from leaderboard.statistics.versus import Versus, against

from .row import Comparison, Row, Verdict

MIN_SEEDS = 3  # that a row needs to be the one which others are compared with, if any row has them
COMPARED = ("auroc", "ap", "dice", "dice_oracle", "aupro", "image_auroc", "fpr95")


def mark(rows: list[Row], margin: float = MARGIN) -> list[Row]:
    """The rows, each compared with the best of its dataset in the metrics COMPARED.

    The best is sought among rows over seeds: an ensemble over seeds has one value only. margin: of a metric, the difference up
    to which rows are equivalent.
    """
    versus: dict[int, dict[str, Comparison]] = {id(row): {} for row in rows}
    by_dataset: dict[str, list[Row]] = {}
    for row in rows:
        if row.samples is not None and not row.ensemble:
            by_dataset.setdefault(row.dataset, []).append(row)
    for members in by_dataset.values():
        test = _by_seed(members)
        for metric in COMPARED:
            comparisons = _compare(members, metric, test[:, :, METRICS.index(metric)], margin)
            for row, comparison in zip(members, comparisons, strict=True):
                if comparison is not None:
                    versus[id(row)][metric] = comparison
    return [replace(row, versus=versus[id(row)]) for row in rows]


def better(metric: str, a: float, b: float) -> bool:
    """Whether value `a` of the metric is better than `b`."""
    return a < b if metric in LOWER_IS_BETTER else a > b


def best_of(rows: list[Row], metric: str, on: Literal["test", "validation"] = "test") -> Row | None:
    """The row with the best mean; of equal ones the first, None where none has the metric."""
    pairs = [(mean, row) for row in rows if (mean := getattr(row, on)[metric].mean) is not None]
    return max(pairs, key=lambda pair: direction(metric) * pair[0])[1] if pairs else None


def reference(rows: list[Row], metric: str) -> Row | None:
    """The row that the others are compared with: the best of those with seeds enough for a test, else the best of all.

    A single lucky seed would otherwise lead a table in which nothing can be tested against it. Ensembles over seeds have
    one value and are not sought among.
    """
    single = [row for row in rows if not row.ensemble]
    return best_of([row for row in single if row.test[metric].n >= MIN_SEEDS], metric) or best_of(single, metric)


def _compare(rows: list[Row], metric: str, test: Array, margin: float) -> list[Comparison | None]:
    best = reference(rows, metric)
    if best is None:
        return [None] * len(rows)
    index = next(index for index, row in enumerate(rows) if row is best)
    known = [row.test[metric].mean is not None for row in rows]
    place = sum(known[:index])
    influence = _influence([row for row in rows if row.test[metric].n], metric, place)
    found = iter(against(test[known], place, influence))
    comparisons: list[Comparison | None] = []
    for row, has in zip(rows, known, strict=True):
        one = next(found) if has else None
        comparisons.append(
            one and Comparison(best.name, one, "best" if row is best else _verdict(one, metric, margin), margin)
        )
    return comparisons


def _verdict(one: Versus, metric: str, margin: float) -> Verdict:
    if one.low is None or one.high is None:
        return "undecided"
    if -margin <= one.low and one.high <= margin:
        return "equivalent"
    return "worse" if better(metric, 0.0, one.high if direction(metric) > 0 else one.low) else "undecided"


def _influence(rows: list[Row], metric: str, reference: int) -> Array | None:
    """The mean over seeds of what each subject of the reference adds (R, S), NaN of a row that has others or does not know it.

    None where no row knows it.
    """
    samples = [row.samples for row in rows if row.samples]
    if not any(metric in one.influence for one in samples):
        return None
    subjects = samples[reference].subjects
    unknown = np.full(len(subjects), np.nan)
    return np.stack([one.influence.get(metric, unknown) if one.subjects == subjects else unknown for one in samples])


def _by_seed(rows: list[Row]) -> Array:
    """Test values (R, seeds, METRICS), NaN where a row lacks a seed."""
    seeds = sorted({seed for row in rows if row.samples for seed in row.samples.seeds})
    column = {seed: index for index, seed in enumerate(seeds)}
    values = np.full((len(rows), len(seeds), len(METRICS)), np.nan)
    for index, row in enumerate(rows):
        if row.samples:
            values[index, [column[seed] for seed in row.samples.seeds]] = row.samples.test[:, : len(METRICS)]
    return values
