"""The rows of a leaderboard seen from other sides: over beta, at the beta that validation chooses, by subjects, by lesion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from leaderboard.record import METRICS
from leaderboard.results.run_arrays import PAIRED, Array
from leaderboard.statistics.samples import (
    Statistic,
    Variance,
    bootstrap_intervals,
    listed,
    statistics_of_all,
    variance_components,
)

from .comparison import best_of, better
from .row import Row
from .selection import UNLABELLED, VALIDATION, best_by, of_most_seeds

OWN_BETA = ("model.beta", "seed")


class Point(NamedTuple):
    """A curve at one beta: the metric on test and on validation over seeds, and the seeds found of those planned."""

    beta: float
    test: Statistic
    validation: Statistic
    n: int
    planned: int


@dataclass(frozen=True)
class Curve:
    """A metric over beta, everything else equal. `label`: the model, with `#` and letters where settings share it."""

    dataset: str
    label: str
    predictor: str
    metric: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Chosen:
    """The setting (model and beta) of a predictor that `by` chooses (`selection.BY`), beside the best on test.

    `row` is None where it is known of no setting, `why` then says so. `oracle` is chosen on the test labels:
    an upper bound, never a result. `front`: nothing is both faster and better among the dataset's predictors.
    """

    dataset: str
    family: str
    domain: str
    predictor: str
    metric: str
    row: Row | None
    oracle: Row
    candidates: int
    by: str = VALIDATION
    front: bool = False
    why: str = ""


@dataclass(frozen=True)
class SubjectSummary:
    """The mean over subjects of a per-subject metric, averaged over seeds, with its 95 % bootstrap interval over subjects.

    low, high: None for a single subject. `variance`: the spread split into seeds and subjects, None with fewer than two of
    either.
    """

    dataset: str
    label: str
    beta: float | None
    predictor: str
    metric: str
    mean: float
    low: float | None
    high: float | None
    subjects: int
    variance: Variance | None


@dataclass(frozen=True)
class AttributeRow:
    """A row's metrics over the test subjects that share a value of an attribute (age, sex, scanner, …)."""

    dataset: str
    label: str
    beta: float | None
    predictor: str
    attribute: str
    value: str
    metrics: dict[str, Statistic]


@dataclass(frozen=True)
class LesionSummary:
    """The share of the lesions of `smallest` to `largest` pixels (None: no limit) that a row detects, over seeds."""

    dataset: str
    label: str
    beta: float | None
    predictor: str
    smallest: int
    largest: int | None
    lesions: float
    rate: Statistic


def curves(rows: Iterable[Row], metrics: Iterable[str]) -> list[Curve]:
    """A curve per dataset, setting but beta, predictor and metric; those of a single beta too.

    A row that stands for all settings of its dataset has the same value at every beta of each.
    """
    families: dict[tuple[str, str], dict[frozenset[Any], dict[str, list[Row]]]] = defaultdict(dict)
    constant: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.samples is not None:
            facts = row.samples.runs[0].facts.items()
            key = frozenset(fact for fact in facts if fact[0] not in OWN_BETA)
            members = families[row.dataset, row.model].setdefault(key, {})
            if row.any_setting:
                constant[row.dataset].append(row)
            else:
                name = row.predictor if not row.ensemble else f"{row.predictor} ({row.ensemble})"
                members.setdefault(name, []).append(row)
    drawn = []
    for (dataset, model), settings in families.items():
        for members in filter(None, settings.values()):
            own = [row for alike in members.values() for row in alike]
            betas = sorted({row.beta for row in own})
            first = min(row.setting_id for row in own)
            label = model if len(settings) == 1 else f"{model}#{first[:4]}"
            members |= {row.predictor: [replace(row, beta=beta) for beta in betas] for row in constant[dataset]}
            for predictor, alike in members.items():
                alike.sort(key=lambda row: row.beta)
                drawn += [Curve(dataset, label, predictor, metric, _points(alike, metric)) for metric in metrics]
    return drawn


def _points(rows: list[Row], metric: str) -> tuple[Point, ...]:
    return tuple(Point(row.beta, row.test[metric], row.validation[metric], row.n, row.planned) for row in rows)


def chosen(rows: Iterable[Row], metrics: Iterable[str], by: str = VALIDATION) -> list[Chosen]:
    """Per dataset, predictor and metric the setting that `by` chooses (`selection.BY`), among those with the most seeds.

    Where no validation image is anomalous, UNLABELLED chooses in the place of VALIDATION.
    """
    by_predictor: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row.samples is not None and not row.ensemble:
            by_predictor[row.dataset, row.predictor].append(row)
    choices = []
    for metric in metrics:
        of_metric = [choice for alike in by_predictor.values() if (choice := _choose(alike, metric, by)) is not None]
        choices += _with_front(of_metric)
    return choices


def _choose(rows: list[Row], metric: str, by: str) -> Chosen | None:
    rows = of_most_seeds(rows)
    oracle = best_of(rows, metric)
    if oracle is None:
        return None
    candidates = [row for row in rows if row.test[metric].mean is not None]
    best = best_by(candidates, metric, by)
    if best is None and len(rows) == 1:
        best = rows[0]  # nothing to choose
    unlabelled = best_by(candidates, metric, UNLABELLED) if by == VALIDATION else None
    if best is None and unlabelled is not None:
        best, by = unlabelled, UNLABELLED
    family = oracle.samples.runs[0].family if oracle.samples else oracle.dataset
    lacking = f"no setting has {metric} on validation" if by == VALIDATION else f"no setting has recorded {by}"
    why = "" if best else lacking
    where = oracle.dataset, family, oracle.domain, oracle.predictor
    return Chosen(*where, metric, best, oracle, len(rows), by, why=why)


def _with_front(choices: list[Chosen]) -> list[Chosen]:
    """The choices of one metric, those on their dataset's front of time and quality marked."""
    points = {id(choice): _cost(choice) for choice in choices}
    by_dataset: dict[str, list[Chosen]] = defaultdict(list)
    for choice in choices:
        by_dataset[choice.dataset].append(choice)

    def beaten(choice: Chosen) -> bool:
        seconds, value = points[id(choice)]
        return any(
            other_seconds <= seconds
            and not better(choice.metric, value, other)
            and (other_seconds < seconds or other != value)
            for other_seconds, other in (points[id(rival)] for rival in by_dataset[choice.dataset] if rival.row)
        )

    return [replace(choice, front=choice.row is not None and not beaten(choice)) for choice in choices]


def _cost(choice: Chosen) -> tuple[float, float]:
    if choice.row is None:
        return np.inf, np.nan
    return choice.row.seconds.mean or 0.0, choice.row.test[choice.metric].mean or 0.0


def subject_summaries(rows: Iterable[Row]) -> list[SubjectSummary]:
    """For each row and metric of PAIRED that has values for any subject."""
    summaries = []
    batches: dict[bytes, list[tuple[Row, str, Array]]] = defaultdict(list)
    for row in rows:
        for metric in PAIRED if row.samples else ():
            mean = row.samples.means[metric]  # type: ignore[union-attr]
            known = ~np.isnan(mean)
            if known.any():
                batches[known.tobytes()].append((row, metric, mean[known]))
    for members in batches.values():
        low, high = bootstrap_intervals(np.stack([mean for *_, mean in members]))
        for (row, metric, mean), lowest, highest in zip(members, listed(low), listed(high), strict=True):
            variance = variance_components(row.samples.by_subject[metric])  # type: ignore[union-attr]
            where = (row.dataset, *row.key, row.predictor, metric)
            summaries.append(SubjectSummary(*where, float(mean.mean()), lowest, highest, len(mean), variance))
    return summaries


def attribute_rows(rows: Iterable[Row], metrics: tuple[str, ...]) -> list[AttributeRow]:
    """By subject attribute, over seeds; categories have tables of their own."""
    columns = [METRICS.index(metric) for metric in metrics]
    groups: list[tuple[Row, str, str, Array]] = []
    for row in rows:
        tables: dict[tuple[str, str], list[Array]] = defaultdict(list)
        for run in row.samples.runs if row.samples else ():
            index = run.predictors.index(row.predictor)
            for attribute, values in run.groups.items():
                for value, table in values.items() if attribute != "category" else ():
                    tables[attribute, value].append(table[index])
        groups += [(row, *group, np.array(table).take(columns, axis=1)) for group, table in tables.items()]
    summaries = statistics_of_all([table for *_, table in groups])
    return [
        AttributeRow(row.dataset, *row.key, row.predictor, attribute, value, dict(zip(metrics, summary, strict=True)))
        for (row, attribute, value, _), summary in zip(groups, summaries, strict=True)
    ]


def lesion_summaries(rows: Iterable[Row]) -> list[LesionSummary]:
    """By lesion size, over the seeds in which there are lesions of that size."""
    groups: list[tuple[Row, tuple[int, int | None], Array]] = []
    for row in rows:
        counts: dict[tuple[int, int | None], list[Array]] = defaultdict(list)
        for run in row.samples.runs if row.samples else ():
            index = run.predictors.index(row.predictor)
            for size, table in run.lesions.items():
                if table[index, 0]:
                    counts[size].append(table[index])
        groups += [(row, size, np.array(members)) for size, members in counts.items()]
    rates = statistics_of_all([counts[:, 1:] / counts[:, :1] for *_, counts in groups])
    return [
        LesionSummary(row.dataset, *row.key, row.predictor, *size, float(counts[:, 0].mean()), rate)
        for (row, size, counts), (rate,) in zip(groups, rates, strict=True)
    ]
