"""What a claim is, and what claims read from runs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from leaderboard.record import LOWER_IS_BETTER, direction
from leaderboard.results.run_arrays import Array, RunArrays
from leaderboard.rows.comparison import better
from leaderboard.rows.row import Row
from leaderboard.statistics.effects import Effect, mean_effect

Verdict = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True)
class Finding:
    """What the runs say about a claim: `effect` (its `meaning` in words) over `effect.n` `units`, and the verdict.

    `decide`: the data that would decide an undecided claim, empty for a decided one. `parts`: what each dataset says by
    itself, which `part` says in words; their intervals are over seeds.
    """

    name: str
    statement: str
    metric: str
    meaning: str
    units: str
    effect: Effect
    verdict: Verdict
    decide: str
    part: str = ""
    parts: dict[str, Effect] = field(default_factory=dict)


class Claim(ABC):
    """A statement about results. `threshold`: the effect above which it holds and below which it does not."""

    name: ClassVar[str]
    statement: ClassVar[str]
    meaning: ClassVar[str]
    units: ClassVar[str] = "datasets"
    needs: ClassVar[str]
    part: ClassVar[str]
    threshold: ClassVar[float] = 0.0

    @abstractmethod
    def effect(self, rows: list[Row], metric: str) -> Effect:
        """The effect that decides, oriented so that more of it speaks for the claim."""

    @abstractmethod
    def parts(self, rows: list[Row], metric: str) -> dict[str, Effect]:
        """What each dataset says by itself, in the words of `part`; those that say nothing are left out."""

    def evaluate(self, rows: list[Row], metric: str = "auroc") -> Finding:
        """The finding on these rows; rows without results and ensembles over seeds are left out."""
        rows = [row for row in rows if row.samples is not None and not row.ensemble]
        effect = self.effect(rows, metric)
        verdict: Verdict = "undecided"
        if effect.low is not None and effect.low > self.threshold:
            verdict = "supported"
        elif effect.high is not None and effect.high < self.threshold:
            verdict = "contradicted"
        why = f" ({effect.why})" if effect.why else ""
        decide = "" if verdict != "undecided" else f"{self.needs}{why}"
        said = (self.name, self.statement, metric, self.meaning, self.units)
        return Finding(*said, effect, verdict, decide, self.part, self.parts(rows, metric))


def runs_of(rows: list[Row]) -> list[RunArrays]:
    """The runs behind the rows, each once."""
    runs = {run.run_id: run for row in rows if row.samples for run in row.samples.runs}
    return list(runs.values())


def test_value(run: RunArrays, predictor: str, metric: str) -> float | None:
    """The predictor's metric on test; None where it is undefined or the run lacks the predictor or the metric."""
    return value_of(run, run.test, predictor, metric)


def value_of(run: RunArrays, table: Array, predictor: str, metric: str) -> float | None:
    """The predictor's metric in one of the run's tables (P, M)."""
    if predictor not in run.predictors or metric not in run.metrics:
        return None
    value = float(table[run.predictors.index(predictor), run.metrics.index(metric)])
    return None if math.isnan(value) else value


def defined(values: list[float | None]) -> list[float]:
    """Those that are not None."""
    return [value for value in values if value is not None]


def gain(run: RunArrays, predictor: str, over: str, metric: str) -> float | None:
    """How much better one predictor is than the other on test; negative where worse."""
    a, b = test_value(run, predictor, metric), test_value(run, over, metric)
    if a is None or b is None:
        return None
    return b - a if metric in LOWER_IS_BETTER else a - b


def standing(run: RunArrays, predictor: str, rivals: Collection[str], metric: str) -> float | None:
    """The share of the rivals that are better on test; ties count half. None where one of them all has no value."""
    own, *others = (test_value(run, name, metric) for name in (predictor, *rivals))
    values = defined(others)
    if own is None or not rivals or len(values) < len(others):
        return None
    return sum(1.0 if better(metric, value, own) else 0.5 * (value == own) for value in values) / len(values)


def over_seeds(runs: Iterable[RunArrays], value: Callable[[RunArrays], float | None]) -> dict[str, Effect]:
    """The mean of a run's value on each dataset, over its settings first, with the t interval over its seeds."""
    values: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        found = value(run)
        if found is not None:
            values[run.family][run.seed].append(found)
    return {
        family: mean_effect([float(np.mean(of_seed)) for of_seed in by_seed.values()], 2, "seeds")
        for family, by_seed in sorted(values.items())
    }


def crossed(table: Mapping[Any, Mapping[int, list[float]]]) -> Array:
    """(groups, seeds) of values by group and seed: the mean of each, over the seeds that every group has."""
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in table.values()))) if table else []
    values = [np.mean(by_seed[seed]) for by_seed in table.values() for seed in seeds]
    return np.array(values).reshape(len(table), len(seeds))


def chosen_on_validation(runs: list[RunArrays], metric: str, among: Collection[str] | None = None) -> str | None:
    """The predictor with the best mean validation metric, of those that every run has and whose test values vary.

    `among`: exactly these compete; None where one of them has no validation metric.
    """
    names = set.intersection(*(set(run.predictors) for run in runs)) if among is None else set(among)
    means = {}
    for name in sorted(names):
        validation = defined([value_of(run, run.validation, name, metric) for run in runs])
        test = {test_value(run, name, metric) for run in runs}
        if len(validation) == len(runs) and None not in test and (among is not None or len(test) > 1):
            means[name] = direction(metric) * float(np.mean(validation))
    if among is not None and len(means) < len(names):
        return None
    return max(means, key=means.__getitem__, default=None)
