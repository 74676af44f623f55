"""Which rows of a dataset's table are statistically no worse than its best one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from leaderboard.record import LOWER_IS_BETTER, METRICS
from leaderboard.results.run_arrays import PAIRED, Array
from leaderboard.results.setting_labels import beta_text
from leaderboard.statistics.paired import ALPHA, MIN_SEEDS, NO_SPREAD, Paired, over_both, over_seeds, over_subjects

from .row import Comparison, Verdict

if TYPE_CHECKING:
    from .row import Row


COMPARED = ("auroc", "ap", "dice", "dice_oracle", "aupro", "image_auroc", "fpr95")


def better(metric: str, a: float, b: float) -> bool:
    """Whether value `a` of the metric is better than `b`."""
    return a < b if metric in LOWER_IS_BETTER else a > b


def best_of(rows: list[Row], metric: str) -> Row | None:
    """The row with the best mean; of equal ones the first."""
    sign = -1 if metric in LOWER_IS_BETTER else 1
    known = [row for row in rows if row.test[metric].mean is not None]
    return max(known, key=lambda row: sign * (row.test[metric].mean or 0.0), default=None)


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
        for at, metric in enumerate(METRICS):
            if metric not in COMPARED:
                continue
            found = _compare(members, metric, test[:, :, at], subjects.get(metric))
            for row, comparison in zip(members, found, strict=True):
                if comparison is not None:
                    versus[id(row)][metric] = comparison
    return [replace(row, versus=versus[id(row)]) for row in rows]


def _by_seed(rows: list[Row]) -> Array:
    """Test values (R, seeds, M), NaN where a row lacks a seed; ensembles have none."""
    seeds = sorted({seed for row in rows if row.samples for seed in row.samples.seeds})
    at = {seed: k for k, seed in enumerate(seeds)}
    values = np.full((len(rows), len(seeds), len(METRICS)), np.nan)
    for k, row in enumerate(rows):
        if row.samples and not row.ensemble:
            values[k, [at[seed] for seed in row.samples.seeds]] = row.samples.test
    return values


def _by_subject(rows: list[Row]) -> dict[str, Array]:
    """For each of PAIRED the mean over seeds (R, S), S being all subjects of any row; NaN where a row lacks one."""
    lists = dict.fromkeys(row.samples.subjects for row in rows if row.samples)
    at = {name: k for k, name in enumerate(dict.fromkeys(name for names in lists for name in names))}
    places = {names: [at[name] for name in names] for names in lists}
    found = {metric: np.full((len(rows), len(at)), np.nan) for metric in PAIRED}
    for k, row in enumerate(rows):
        if row.samples:
            for metric in PAIRED:
                found[metric][k, places[row.samples.subjects]] = row.samples.means[metric]
    return found


def _over_seeds(row: Row, metric: str, seeds: set[int]) -> dict[str, float]:
    """Of each subject of a row the mean over these seeds."""
    if not row.samples:
        return {}
    kept = [k for k, seed in enumerate(row.samples.seeds) if seed in seeds]
    means = mean_over_seeds(row.samples.by_subject[metric][kept])
    return dict(zip(row.samples.subjects, means.tolist(), strict=True))


def mean_over_seeds(values: Array) -> Array:
    """Mean of (n, S) over the seeds that have a value; NaN where none has."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)


def reference(rows: list[Row], metric: str) -> Row | None:
    """The row that the others are compared with: the best of those with seeds enough for a test, else the best of all.

    A single lucky seed would otherwise lead a table in which nothing can be tested against it. Ensembles over seeds have
    one value and are not sought among.
    """
    single = [row for row in rows if not row.ensemble]
    return best_of([row for row in single if row.test[metric].n >= MIN_SEEDS], metric) or best_of(single, metric)


def _compare(rows: list[Row], metric: str, test: Array, subjects: Array | None) -> list[Comparison | None]:
    best = reference(rows, metric)
    if best is None:
        return [None] * len(rows)
    at = next(k for k, row in enumerate(rows) if row is best)
    name = f"{best.predictor} of {best.label}, beta {beta_text(best.beta)}"
    others = [k for k in range(len(rows)) if k != at]
    seeds = over_seeds((test - test[at])[others])
    of_subjects = None if subjects is None else _differences(rows, best, metric, subjects, at)[others]
    paired = None if of_subjects is None else over_subjects(of_subjects)
    joint = over_both((test - test[at])[others], of_subjects)
    found: list[Comparison | None] = [None] * len(rows)
    found[at] = Comparison(name, Paired(0.0, 0.0, 0.0, best.n), None, None, "best")
    for place, k in enumerate(others):
        if rows[k].test[metric].mean is not None:
            p = None if np.isnan(joint[place]) else float(joint[place])
            verdict = _verdict(seeds[place], p, metric)
            found[k] = Comparison(name, seeds[place], paired[place] if paired else None, p, verdict)
    return found


def _differences(rows: list[Row], best: Row, metric: str, subjects: Array, at: int) -> Array:
    """Each row's means over seeds minus the best one's (R, S), both over their common seeds; an ensemble's minus all."""
    differences = subjects - subjects[at]
    own = best.samples.seeds if best.samples else ()
    for k, row in enumerate(rows):
        if row.samples and not row.ensemble and row.samples.seeds != own:
            common = set(row.samples.seeds) & set(own)
            a, b = (_over_seeds(one, metric, common) for one in (row, best))
            of_both = [value - b[name] for name, value in a.items() if name in b]
            differences[k] = np.nan
            differences[k, : len(of_both)] = of_both  # which subject it is no longer matters
    return differences


def _verdict(seeds: Paired, p: float | None, metric: str) -> Verdict:
    if p is not None:
        lower = seeds.difference is not None and better(metric, 0.0, seeds.difference)
        return "worse" if p < ALPHA and lower else "not worse"
    equal = seeds.n > 1 and seeds.difference is not None and abs(seeds.difference) <= NO_SPREAD
    return "not worse" if equal else "undecided"
