"""Which rows of a dataset's table are statistically no worse than its best one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from leaderboard.paired import ALPHA, NO_SPREAD, Paired, over_seeds, over_subjects
from leaderboard.record import LOWER_IS_BETTER, METRICS
from leaderboard.runs import PAIRED, Array
from leaderboard.settings import beta_text

if TYPE_CHECKING:
    from leaderboard.aggregate import Row

COMPARED = ("auroc", "ap", "dice", "dice_oracle", "aupro", "image_auroc", "fpr95")
Verdict = Literal["best", "not worse", "worse", "undecided"]


@dataclass(frozen=True)
class Comparison:
    """A row against the best one of its dataset in one metric.

    `subjects`: of those metrics that are recorded per subject (PAIRED), the difference of their means over seeds; else
    None. verdict: *worse* where every test that can be made says so at a corrected 5 %; *not worse* where one that can be
    made does not; *undecided* where none can be made.
    """

    best: str
    seeds: Paired
    subjects: Paired | None
    verdict: Verdict


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
    """For each of PAIRED the mean over seeds (R, S); NaN where a row lacks a subject."""
    names = dict.fromkeys(name for row in rows if row.samples for name in row.samples.subjects)
    at = {name: k for k, name in enumerate(names)}
    found = {metric: np.full((len(rows), len(names)), np.nan) for metric in PAIRED}
    places: dict[tuple[str, ...], list[int]] = {}
    for k, row in enumerate(rows):
        if row.samples:
            where = places.get(row.samples.subjects)
            if where is None:
                where = places[row.samples.subjects] = [at[name] for name in row.samples.subjects]
            for metric in PAIRED:
                found[metric][k, where] = mean_over_seeds(row.samples.by_subject[metric])
    return found


def mean_over_seeds(values: Array) -> Array:
    """Mean of (n, S) over the seeds that have a value; NaN where none has."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)


def _compare(rows: list[Row], metric: str, test: Array, subjects: Array | None) -> list[Comparison | None]:
    best = best_of([row for row in rows if not row.ensemble], metric)
    if best is None:
        return [None] * len(rows)
    at = next(k for k, row in enumerate(rows) if row is best)
    name = f"{best.predictor} of {best.label}, beta {beta_text(best.beta)}"
    others = [k for k in range(len(rows)) if k != at]
    seeds = dict(zip(others, over_seeds((test - test[at])[others]), strict=True))
    paired = (
        dict(zip(others, over_subjects((subjects - subjects[at])[others]), strict=True)) if subjects is not None else {}
    )
    found: list[Comparison | None] = []
    for k, row in enumerate(rows):
        if k == at:
            found.append(Comparison(name, Paired(0.0, 0.0, 0.0, row.n), None, "best"))
        elif row.test[metric].mean is None:
            found.append(None)
        else:
            found.append(Comparison(name, seeds[k], paired.get(k), _verdict(seeds[k], paired.get(k), metric)))
    return found


def _verdict(seeds: Paired, subjects: Paired | None, metric: str) -> Verdict:
    tests = [one for one in (seeds, subjects) if one is not None and one.adjusted is not None]
    if tests:
        return "worse" if all(_is_worse(one, metric) for one in tests) else "not worse"
    same = [one for one in (seeds, subjects) if one is not None and one.difference is not None]
    equal = bool(same) and all(abs(one.difference or 0.0) <= NO_SPREAD and one.n > 1 for one in same)
    return "not worse" if equal else "undecided"


def _is_worse(test: Paired, metric: str) -> bool:
    significant = test.adjusted is not None and test.adjusted < ALPHA
    return significant and test.difference is not None and better(metric, 0.0, test.difference)
