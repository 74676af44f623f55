"""Choosing without the test: what a row is chosen by, on validation labels or without any, and what a choice loses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from leaderboard.record import CRITERIA, direction
from leaderboard.results.run_arrays import Array, RunArrays

from .row import Row

VALIDATION = "validation"  # the metric itself, on labelled validation images
UNLABELLED = "synthetic_ap"  # where there are none
BY = (VALIDATION, *CRITERIA)
RANDOM = "any"  # the mean over all that could be chosen
OF_MODELS = ("elbo", "iwae")  # the same for all predictors of a model


@dataclass(frozen=True)
class Regret:
    """By how much what `by` chooses is worse on test than what the test's own labels would choose, in a dataset.

    setting: of each predictor's model and beta, the mean over those predictors that have several. predictor: of a predictor
    and its setting together. None where it cannot choose. by: of BY, or RANDOM.
    """

    dataset: str
    metric: str
    by: str
    setting: float | None
    predictor: float | None


def criteria_of(names: Sequence[str], runs: Sequence[RunArrays]) -> list[dict[str, float]]:
    """For each predictor the mean over runs of each criterion that is known, and over two or more the `stability`.

    stability: the mean rank correlation of two seeds' maps of the same normal pixels.
    """
    table: dict[str, Array] = {}
    for criterion in dict.fromkeys(name for run in runs for name in run.criteria):
        values = np.full((len(runs), len(names)), np.nan)
        for index, run in enumerate(runs):
            known = run.criteria.get(criterion)
            if known is not None:
                values[index] = [known[run.index[name]] if name in run.index else np.nan for name in names]
        found = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            table[criterion] = np.where(found, values, 0).sum(0) / np.where(found.any(0), found.sum(0), np.nan)
    table["stability"] = _stability(names, runs)
    return [
        {criterion: float(values[place]) for criterion, values in table.items() if not np.isnan(values[place])}
        for place in range(len(names))
    ]


def worth(row: Row, metric: str, by: str) -> float | None:
    """What a row is chosen by, higher is better; None where it is not known."""
    if by != VALIDATION:
        return row.criteria.get(by)
    mean = row.validation[metric].mean
    return None if mean is None else direction(metric) * mean


def of_most_seeds(rows: Iterable[Row]) -> list[Row]:
    """Of a predictor's rows those that may be chosen: with fewer seeds than another, a lucky one could lead."""
    rows = list(rows)
    most = max(row.n for row in rows)
    return [row for row in rows if row.n == most]


def best_by(rows: Iterable[Row], metric: str, by: str) -> Row | None:
    """The row that `by` chooses, of equal ones the first; None where nothing is known of any."""
    known = [(value, row) for row in rows if (value := worth(row, metric, by)) is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def regrets(rows: Iterable[Row], metrics: Iterable[str]) -> list[Regret]:
    """Of each dataset in which there is something to choose, for each of BY and RANDOM."""
    tables: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.samples is not None and not row.ensemble:
            tables[row.dataset][row.predictor].append(row)
    found = []
    for dataset, predictors in tables.items():
        for metric in metrics:
            known = {
                name: [row for row in of_most_seeds(alike) if row.test[metric].mean is not None]
                for name, alike in predictors.items()
            }
            everything = [row for alike in known.values() for row in alike]
            several = [alike for alike in known.values() if len(alike) > 1]
            for by in (*BY, RANDOM) if len(everything) > 1 else ():
                losses = [loss for alike in several if (loss := _loss(alike, metric, by)) is not None]
                joint = None if by in OF_MODELS else _loss(everything, metric, by)
                if losses or joint is not None:
                    setting = float(np.mean(losses)) if len(losses) == len(several) > 0 else None
                    found.append(Regret(dataset, metric, by, setting, joint))
    return found


def _loss(rows: Sequence[Row], metric: str, by: str) -> float | None:
    values = [direction(metric) * (row.test[metric].mean or 0.0) for row in rows]
    if by == RANDOM:
        return max(values) - float(np.mean(values))
    best = best_by(rows, metric, by)
    return None if best is None else max(values) - direction(metric) * (best.test[metric].mean or 0.0)


def _stability(names: Sequence[str], runs: Sequence[RunArrays]) -> Array:
    """Mean correlation of fingerprints over pairs of runs, by predictor; NaN unless all runs have them, of the same pixels."""
    shapes = {(run.predictors, run.fingerprints.shape, run.facts.get("provenance.split_digest")) for run in runs}
    nothing = np.full(len(names), np.nan)
    if len(runs) < 2 or len(shapes) > 1 or not runs[0].fingerprints.size:
        return nothing
    values = np.stack([run.fingerprints for run in runs]).astype(float)
    values -= values.mean(2, keepdims=True)
    norms = np.linalg.norm(values, axis=2, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.square((values / norms).sum(0)).sum(1)
    means = dict(zip(runs[0].predictors, (total - len(runs)) / (len(runs) * (len(runs) - 1)), strict=True))
    return np.array([means.get(name, np.nan) for name in names])
