"""Average ranks of the predictors over datasets, and which of them can be told apart (Demšar 2006, JMLR 7:1–30)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from leaderboard.record import direction
from leaderboard.statistics.samples import CONFIDENCE, Array, Statistic, summarise

from .views import Chosen

MIN_DATASETS = 5
MIN_PREDICTORS = 3


@dataclass(frozen=True)
class Ranking:
    """Predictors by average rank over `datasets` (1 is best, ties share), each at the setting chosen on validation.

    A benchmark's categories count as one dataset, their mean. `domain` is medical, natural or "" for all. `p` is
    Friedman's, `difference` Nemenyi's critical difference of two average ranks at 5 %, `cliques` the largest sets of
    predictors within it; None, None and empty where there are too few datasets or predictors, which `why` says.
    `left_out`: predictors that some dataset lacks, with the number of datasets that have them.
    """

    metric: str
    domain: str
    datasets: tuple[str, ...]
    ranks: dict[str, float]
    p: float | None
    difference: float | None
    cliques: tuple[tuple[str, ...], ...]
    left_out: dict[str, int]
    why: str = ""


@dataclass(frozen=True)
class DomainRow:
    """A predictor's metric over the datasets of a domain: `n` of `datasets` have it."""

    metric: str
    domain: str
    predictor: str
    value: Statistic
    datasets: int


def by_domain(choices: list[Chosen], metrics: Iterable[str]) -> list[DomainRow]:
    """Per metric and domain the predictors by falling (where lower is better: rising) mean over datasets."""
    domain_rows = []
    for metric in metrics:
        for domain in sorted({choice.domain for choice in choices if choice.domain}):
            values = _values(choices, metric, domain)
            datasets = len({family for families in values.values() for family in families})
            rows = [
                DomainRow(metric, domain, name, summarise(list(of.values())), datasets) for name, of in values.items()
            ]
            domain_rows += sorted(rows, key=lambda row: (-direction(metric) * (row.value.mean or 0.0), row.predictor))
    return domain_rows


def rank(choices: list[Chosen], metric: str, domain: str = "") -> Ranking:
    """The ranking by one metric over all datasets, or those of a domain."""
    values = _values(choices, metric, domain)
    datasets = tuple(sorted({family for families in values.values() for family in families}))
    complete = sorted(name for name, families in values.items() if len(families) == len(datasets))
    left_out = {name: len(families) for name, families in sorted(values.items()) if len(families) < len(datasets)}
    if not complete:
        return Ranking(
            metric, domain, datasets, {}, None, None, (), left_out, "no predictor has a value on every dataset"
        )
    table = np.array([[values[name][family] for name in complete] for family in datasets])
    average = rankdata(-direction(metric) * table, axis=1).mean(axis=0)
    ranks = {complete[index]: float(average[index]) for index in np.argsort(average, kind="stable")}
    if len(datasets) < MIN_DATASETS or len(complete) < MIN_PREDICTORS:
        why = (
            f"n too small: {len(datasets)} datasets and {len(complete)} predictors; a test of ranks needs "
            f"{MIN_DATASETS} and {MIN_PREDICTORS}"
        )
        return Ranking(metric, domain, datasets, ranks, None, None, (), left_out, why)
    p, difference = _tests(table)
    return Ranking(metric, domain, datasets, ranks, p, difference, cliques(ranks, difference), left_out)


def _values(choices: Iterable[Chosen], metric: str, domain: str) -> dict[str, dict[str, float]]:
    """Per predictor and family the mean over its datasets of the metric at the chosen setting."""
    table: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for choice in choices:
        if choice.metric == metric and domain in ("", choice.domain) and choice.row is not None:
            value = choice.row.test[metric].mean
            if value is not None:
                table[choice.predictor][choice.family].append(value)
    return {
        predictor: {family: float(np.mean(values)) for family, values in families.items()}
        for predictor, families in table.items()
    }


def _tests(table: Array) -> tuple[float, float]:
    """Friedman's p and Nemenyi's critical difference for `table` (datasets, predictors)."""
    datasets, predictors = table.shape
    p = float(friedmanchisquare(*table.T).pvalue) if (table != table[:, :1]).any() else 1.0
    quantile = float(studentized_range.ppf(CONFIDENCE, predictors, np.inf))
    return p, quantile / np.sqrt(2) * float(np.sqrt(predictors * (predictors + 1) / (6 * datasets)))


def cliques(ranks: dict[str, float], difference: float) -> tuple[tuple[str, ...], ...]:
    """The largest runs of two or more predictors, sorted by rank, whose ranks lie within `difference`."""
    names, values = list(ranks), list(ranks.values())
    groups: list[tuple[str, ...]] = []
    end = 0
    for start, value in enumerate(values):
        stop = next((index for index in range(start, len(values)) if values[index] - value > difference), len(values))
        if stop > end and stop - start > 1:
            groups.append(tuple(names[start:stop]))
        end = max(end, stop)
    return tuple(groups)
