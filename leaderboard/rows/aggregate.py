"""From results to the rows of a table: mean, spread and interval over seeds, never over different settings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leaderboard.record import METRICS
from leaderboard.results.collect import Collection
from leaderboard.results.folds import join_folds
from leaderboard.results.run_arrays import PAIRED, Array, RunArrays, without_cycles
from leaderboard.results.setting_labels import Group, distinct_seeds, tell_apart, tell_ensembles_apart
from leaderboard.statistics.samples import Statistic, statistics

from .row import NOTHING, Row, Samples
from .selection import criteria_of

NO_RESULT = "(no result)"


@without_cycles()
def aggregate(collection: Collection) -> list[Row]:
    """A row per (dataset, model, beta, setting, predictor), sorted by these, predictors by falling mean test AUROC.

    The folds of a cross-validation count as one run. A planned group without any result is one row, predictor
    `(no result)`, 0/N. An ensemble over seeds is a row of its own. ResultError when a seed lies twice in a setting.
    """
    joined = join_folds(collection)
    runs: dict[Group, list[RunArrays]] = defaultdict(list)
    ensembles: dict[Group, list[RunArrays]] = defaultdict(list)
    for run in joined.collection.results:
        (ensembles if run.ensemble_of else runs)[Group(run.dataset, run.model, run.beta, run.setting_id)].append(run)
    seeds = defaultdict(set, {group: distinct_seeds(group, members) for group, members in runs.items()})
    for planned in joined.collection.planned:
        seeds[Group(planned.dataset, planned.model, planned.beta, planned.setting_id)].add(planned.seed)
    for group in ensembles:
        seeds.setdefault(group, set())
    labels, notes = tell_apart(seeds, {**ensembles, **runs}, joined.collection.differs)
    rows = []
    for group in seeds:
        said = (notes.get(group, ""), joined.notes.get(group.setting_id, ""))
        folds = joined.folds.get(group.setting_id, 0)
        shared = {"label": labels[group], "note": "\n".join(filter(None, said)), "folds": folds}
        group_rows = _rows(group, runs.get(group, []), len(seeds[group]), shared)
        rows += group_rows or ([_empty(group, len(seeds[group]), shared)] if seeds[group] else [])
        rows += [row for run in tell_ensembles_apart(ensembles[group]) for row in _rows(group, [run], 1, shared)]
    return sorted(rows, key=_order)


def known_metrics(rows: Iterable[Row]) -> tuple[str, ...]:
    """METRICS, then those of a user's own that any of the rows has."""
    return (*METRICS, *dict.fromkeys(name for row in rows for name in row.own_metrics))


def _order(row: Row) -> tuple[Any, ...]:
    return row.dataset, row.model, row.beta, row.label, *by_auroc(row)


def by_auroc(row: Row) -> tuple[Any, ...]:
    """What rows are sorted by: the highest mean AUROC on test first."""
    auroc = row.test["auroc"].mean
    return auroc is None, -(auroc or 0.0), row.predictor, row.ensemble, row.beta, row.label


def _empty(group: Group, planned: int, shared: dict[str, Any]) -> Row:
    nothing = dict.fromkeys(METRICS, NOTHING)
    return Row(*group[:2], beta=group.beta, setting_id=group.setting_id, predictor=NO_RESULT, n=0, planned=planned,
               test=nothing, validation=nothing, **shared)  # fmt: skip


def _rows(group: Group, runs: list[RunArrays], planned: int, shared: dict[str, Any]) -> list[Row]:
    """A row per predictor that any of the runs has."""
    runs = sorted(runs, key=lambda run: run.seed)
    names = list(dict.fromkeys(name for run in runs for name in run.predictors))
    metrics = runs[0].metrics if runs else METRICS  # a setting's runs share their config
    samples = _samples(names, runs)
    return [
        Row(
            dataset=group.dataset,
            model=group.model,
            beta=group.beta,
            setting_id=group.setting_id,
            predictor=name,
            n=len(sample.seeds),
            planned=planned,
            test=dict(zip(metrics, summary, strict=False)),
            validation=dict(zip(metrics, summary[len(metrics) :], strict=False)),
            domain=runs[0].domain,
            ensemble=len(runs[0].ensemble_of),
            seconds=summary[-1],
            maps=tuple(facts for run in sample.runs for facts in run.maps.get(name, ())),
            criteria=criteria,
            samples=sample,
            **shared,
        )
        for name, sample, summary, criteria in zip(
            names, samples, _summaries(samples, len(runs)), criteria_of(names, runs), strict=True
        )
    ]


def _summaries(samples: list[Samples], n: int) -> list[list[Statistic]]:
    """For each predictor the statistics of its test metrics, its validation metrics and its seconds, all in one pass."""
    width = 2 * samples[0].test.shape[1] + 1 if samples else 1
    values = np.full((n, len(samples), width), np.nan)
    for index, sample in enumerate(samples):
        values[: len(sample.seeds), index] = np.hstack([sample.test, sample.validation, sample.seconds[:, None]])
    summaries = statistics(values.reshape(n, len(samples) * width))
    return [summaries[start : start + width] for start in range(0, len(summaries), width)]


def _samples(names: list[str], runs: list[RunArrays]) -> list[Samples]:
    """The samples of each predictor: views of one table over all runs, or parts of it where runs lack a predictor."""
    if not runs:
        return []
    subjects = tuple(dict.fromkeys(name for run in runs for name in run.subjects))
    places = _places(names, [run.predictors for run in runs])
    columns = _places(subjects, [run.subjects for run in runs])
    shape = len(runs), len(names)
    test, validation = (np.full((*shape, len(runs[0].metrics)), np.nan) for _ in range(2))
    seconds, held = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    by_subject = {metric: np.full((*shape, len(subjects)), np.nan) for metric in PAIRED}
    for index, (run, place, column) in enumerate(zip(runs, places, columns, strict=True)):
        test[index, place], validation[index, place], seconds[index, place] = run.test, run.validation, run.seconds
        held[index, place] = True
        for metric in PAIRED:
            by_subject[metric][index, place[:, None], column] = run.by_subject[metric]
    means = {metric: _mean_over_seeds(values) for metric, values in by_subject.items()}
    influence = _influence(names, runs, subjects)
    samples = []
    for index, holds in enumerate(held.T):
        keep = slice(None) if holds.all() else holds
        holders = tuple(compress(runs, holds))
        samples.append(
            Samples(
                seeds=tuple(run.seed for run in holders),
                test=test[keep, index],
                validation=validation[keep, index],
                seconds=seconds[keep, index],
                subjects=subjects,
                by_subject={metric: values[keep, index] for metric, values in by_subject.items()},
                means={metric: values[index] for metric, values in means.items()},
                influence={metric: values[index] for metric, values in influence.items()},
                runs=holders,
            )
        )
    return samples


def _influence(names: list[str], runs: list[RunArrays], subjects: tuple[str, ...]) -> dict[str, Array]:
    """For each metric the mean over the runs of `RunArrays.influence` (P, S); of those that all runs know for all subjects."""
    if any(set(run.subjects) != set(subjects) for run in runs):
        return {}
    found = {}
    for metric in set.intersection(*(set(run.influence) for run in runs)):
        values = np.full((len(runs), len(names), len(subjects)), np.nan)
        for index, run in enumerate(runs):
            (place,), (column,) = _places(names, [run.predictors]), _places(subjects, [run.subjects])
            values[index, place[:, None], column] = run.influence[metric]
        found[metric] = _mean_over_seeds(values)
    return found


def _places(names: Sequence[str], lists: list[tuple[str, ...]]) -> list[NDArray[np.intp]]:
    """Where the names of each list are in `names`; equal lists are looked up once."""
    index = {name: place for place, name in enumerate(names)}
    places = {members: np.array([index[name] for name in members], dtype=np.intp) for members in set(lists)}
    return [places[members] for members in lists]


def _mean_over_seeds(values: Array) -> Array:
    """Mean of (n, S) over the seeds that have a value; NaN where none has."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
