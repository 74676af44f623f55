"""Which rows of a dataset's table are statistically no worse than its best one."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from leaderboard.record import LOWER_IS_BETTER, METRICS, direction
from leaderboard.results.run_arrays import PAIRED, Array
from leaderboard.results.setting_labels import beta_text
from leaderboard.statistics.paired import ALPHA, MIN_SEEDS, NO_SPREAD, Paired, over_both, over_seeds, over_subjects

from .row import Comparison, Row, Verdict

COMPARED = ("auroc", "ap", "dice", "dice_oracle", "aupro", "image_auroc", "fpr95")


def mark(rows: list[Row]) -> list[Row]:
    """The rows, each compared with the best of its dataset in the metrics COMPARED.

    The best is sought among rows over seeds: an ensemble over seeds has one value only.
    """
    versus: dict[int, dict[str, Comparison]] = {id(row): {} for row in rows}
    by_dataset: dict[str, list[Row]] = {}
    for row in rows:
        if row.samples is not None:
            by_dataset.setdefault(row.dataset, []).append(row)
    for members in by_dataset.values():
        test, subjects = _by_seed(members), _by_subject(members)
        for index, metric in enumerate(METRICS):
            if metric not in COMPARED:
                continue
            comparisons = _compare(members, metric, test[:, :, index], subjects.get(metric))
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


def mean_over_seeds(values: Array) -> Array:
    """Mean of (n, S) over the seeds that have a value; NaN where none has."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)


def _compare(rows: list[Row], metric: str, test: Array, subjects: Array | None) -> list[Comparison | None]:
    best = reference(rows, metric)
    if best is None:
        return [None] * len(rows)
    best_index = next(index for index, row in enumerate(rows) if row is best)
    name = f"{best.predictor} of {best.label}, beta {beta_text(best.beta)}"
    others = [index for index in range(len(rows)) if index != best_index]
    of_seeds = (test - test[best_index])[others]
    of_subjects = None if subjects is None else _differences(rows, best, metric, subjects, best_index)[others]
    by_seed, by_subject = over_seeds(of_seeds), None if of_subjects is None else over_subjects(of_subjects)
    joint = over_both(of_seeds, of_subjects)
    comparisons: list[Comparison | None] = [None] * len(rows)
    comparisons[best_index] = Comparison(name, Paired(0.0, 0.0, 0.0, best.n), None, None, "best")
    for place, index in enumerate(others):
        if rows[index].test[metric].mean is not None:
            p = None if np.isnan(joint[place]) else float(joint[place])
            verdict = _verdict(by_seed[place], p, metric)
            comparisons[index] = Comparison(name, by_seed[place], by_subject[place] if by_subject else None, p, verdict)
    return comparisons


def _differences(rows: list[Row], best: Row, metric: str, subjects: Array, best_index: int) -> Array:
    """Each row's means over seeds minus the best one's (R, S), both over their common seeds; an ensemble's minus all."""
    differences = subjects - subjects[best_index]
    seeds = best.samples.seeds if best.samples else ()
    for index, row in enumerate(rows):
        if row.samples and not row.ensemble and row.samples.seeds != seeds:
            common = set(row.samples.seeds) & set(seeds)
            mine, others = (_means_over(either, metric, common) for either in (row, best))
            of_both = [value - others[name] for name, value in mine.items() if name in others]
            differences[index] = np.nan
            differences[index, : len(of_both)] = of_both  # which subject it is no longer matters
    return differences


def _means_over(row: Row, metric: str, seeds: set[int]) -> dict[str, float]:
    """Of each subject of a row the mean over these seeds."""
    if not row.samples:
        return {}
    kept = [index for index, seed in enumerate(row.samples.seeds) if seed in seeds]
    means = mean_over_seeds(row.samples.by_subject[metric][kept])
    return dict(zip(row.samples.subjects, means.tolist(), strict=True))


def _verdict(seeds: Paired, p: float | None, metric: str) -> Verdict:
    if p is not None:
        lower = seeds.difference is not None and better(metric, 0.0, seeds.difference)
        return "worse" if p < ALPHA and lower else "not worse"
    equal = seeds.n > 1 and seeds.difference is not None and abs(seeds.difference) <= NO_SPREAD
    return "not worse" if equal else "undecided"


def _by_seed(rows: list[Row]) -> Array:
    """Test values (R, seeds, METRICS), NaN where a row lacks a seed; ensembles have none."""
    seeds = sorted({seed for row in rows if row.samples for seed in row.samples.seeds})
    column = {seed: index for index, seed in enumerate(seeds)}
    values = np.full((len(rows), len(seeds), len(METRICS)), np.nan)
    for index, row in enumerate(rows):
        if row.samples and not row.ensemble:
            values[index, [column[seed] for seed in row.samples.seeds]] = row.samples.test[:, : len(METRICS)]
    return values


def _by_subject(rows: list[Row]) -> dict[str, Array]:
    """For each of PAIRED the mean over seeds (R, S), S being all subjects of any row; NaN where a row lacks one."""
    lists = dict.fromkeys(row.samples.subjects for row in rows if row.samples)
    column = {name: index for index, name in enumerate(dict.fromkeys(name for names in lists for name in names))}
    columns = {names: [column[name] for name in names] for names in lists}
    values = {metric: np.full((len(rows), len(column)), np.nan) for metric in PAIRED}
    for index, row in enumerate(rows):
        if row.samples:
            for metric in PAIRED:
                values[metric][index, columns[row.samples.subjects]] = row.samples.means[metric]
    return values
