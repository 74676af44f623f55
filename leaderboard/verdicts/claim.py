"""What a claim is, and what claims read from runs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from leaderboard.amounts import amount
from leaderboard.record import LOWER_IS_BETTER, direction
from leaderboard.results.run_arrays import Array, RunArrays
from leaderboard.rows.comparison import better
from leaderboard.rows.row import Row
from leaderboard.statistics.effects import Effect, Estimate, estimates, units_needed

Verdict = Literal["supported", "contradicted", "undecided"]
HERE, BEYOND = "these datasets", "datasets like these"  # the two scopes of a finding
NO_SPREAD = 1e-12
MORE_SEEDS = "more seeds of the same runs"
MOST = 1000  # datasets that a remedy names


@dataclass(frozen=True)
class Finding:
    """What the runs say about a claim, in two scopes: of the datasets at hand, and of other datasets like them.

    effect (its `meaning` in words) over `effect.n` `units`, which `over` counts by dataset in words, with an interval for other
    seeds and test subjects of these datasets, the verdict from it, and `decide`: the data that would decide it, empty for a
    decided one. beyond, beyond_verdict, beyond_decide: the same of datasets like these, a benchmark's categories being one.
    threshold: what the effect is held against. difference: whether effect and parts are differences, which have a sign, and no
    spreads or places. parts: what each dataset says by itself, which `part` says in words; their intervals are those of the
    first scope.
    """

    name: str
    statement: str
    metric: str
    meaning: str
    units: str
    effect: Effect
    verdict: Verdict
    decide: str
    beyond: Effect
    beyond_verdict: Verdict
    beyond_decide: str
    threshold: float = 0.0
    difference: bool = True
    part: str = ""
    over: str = ""
    parts: dict[str, Effect] = field(default_factory=dict)


class Claim(ABC):
    """A statement about results. `threshold`: the effect above which it holds and below which it does not."""

    name: ClassVar[str]
    statement: ClassVar[str]
    meaning: ClassVar[str]
    units: ClassVar[str] = "datasets"
    needs: ClassVar[str]
    beyond_needs: ClassVar[str] = ""  # of datasets like these; empty where it is the same
    part: ClassVar[str]
    difference: ClassVar[bool] = True
    threshold: ClassVar[float] = 0.0

    @abstractmethod
    def effect(self, rows: list[Row], metric: str) -> Effect:
        """The effect on the datasets at hand, oriented so that more of it speaks for the claim."""

    @abstractmethod
    def beyond(self, rows: list[Row], metric: str) -> Effect:
        """The effect on datasets of which those at hand are a sample."""

    @abstractmethod
    def parts(self, rows: list[Row], metric: str) -> dict[str, Effect]:
        """What each dataset says by itself, in the words of `part`; those that say nothing are left out."""

    def over(self, rows: list[Row], metric: str, effect: Effect) -> str:
        """What the effect on the datasets at hand is over, in words."""
        del rows, metric
        return amount(effect.n, self.units)

    def evaluate(self, rows: list[Row], metric: str = "auroc") -> Finding:
        """The finding on these rows; rows without results and ensembles over seeds are left out."""
        rows = [row for row in rows if row.samples is not None and not row.ensemble]
        here, beyond = self.effect(rows, metric), self.beyond(rows, metric)
        verdict, beyond_verdict = self._verdict(here), self._verdict(beyond)
        return Finding(
            name=self.name,
            statement=self.statement,
            metric=metric,
            meaning=self.meaning,
            units=self.units,
            effect=here,
            verdict=verdict,
            decide=self._here_needs(here) if verdict == "undecided" else "",
            beyond=beyond,
            beyond_verdict=beyond_verdict,
            beyond_decide=self._beyond_needs(beyond) if beyond_verdict == "undecided" else "",
            threshold=self.threshold,
            difference=self.difference,
            part=self.part,
            over=self.over(rows, metric, here),
            parts=self.parts(rows, metric),
        )

    def _verdict(self, effect: Effect) -> Verdict:
        if effect.low is not None and effect.low > self.threshold:
            return "supported"
        return "contradicted" if effect.high is not None and effect.high < self.threshold else "undecided"

    def _here_needs(self, effect: Effect) -> str:
        if effect.few_seeds:
            return f"{MORE_SEEDS} ({effect.why})"
        if effect.value is None or effect.low is None or effect.high is None:
            return f"{self.needs}{f' ({effect.why})' if effect.why else ''}"
        half, distance = (effect.high - effect.low) / 2, abs(effect.value - self.threshold)
        more = "more seeds"
        if effect.subjects is not None:
            more = (
                f"more {'test subjects' if effect.subjects > 0.5 else 'seeds'}, which make up most of its uncertainty"
            )
        return f"{more}: the interval is ±{half:.3f}, and {distance:.3f} away from {self.threshold:g}"

    def _beyond_needs(self, effect: Effect) -> str:
        why, needs = f" ({effect.why})" if effect.why else "", self.beyond_needs or self.needs
        if effect.few_seeds:
            return f"{MORE_SEEDS}{why}"
        if effect.value is None or not effect.spread or (distance := abs(effect.value - self.threshold)) < NO_SPREAD:
            return f"{needs}{why}"
        if effect.low is not None and effect.high is None and effect.value < self.threshold:
            return f"{needs}, should the spread be larger there{why}"
        each = " of each kind" if "minus mean over" in self.meaning else ""
        units = units_needed(distance, effect.spread * (math.sqrt(2) if each else 1))
        count = f"about {units}" if units <= MOST else f"more than {MOST:,}"
        own = (
            ""
            if effect.own is None
            else f", of which their own uncertainty explains {min(effect.own, effect.spread):.3f}"
        )
        return (
            f"{count} datasets{each}, if the effect is of this size (found in four cases of five), as it varies between them "
            f"with an sd of {effect.spread:.3f}{own}{why}"
        )


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


def by_dataset(
    runs: Iterable[RunArrays],
    value: Callable[[RunArrays], float | None],
    influence: Callable[[RunArrays], Array | None] = lambda run: None,
) -> dict[str, Estimate]:
    """The mean of a run's value on each dataset: over the settings that all its seeds have, for each seed, then over seeds.

    influence: what each test subject adds to a run's value, (S,) in the order of its `subjects`; None if that is not known.
    """
    found: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    used: dict[tuple[str, str], list[RunArrays]] = defaultdict(list)
    for run in runs:
        if (known := value(run)) is not None:
            found[run.dataset][run.setting_id][run.seed] = known
            used[run.dataset, run.setting_id].append(run)
    values, parts = {}, {}
    for dataset, settings in sorted(found.items()):
        seeds = set.union(*(set(of) for of in settings.values()))
        whole = [name for name, of in settings.items() if set(of) == seeds] or list(settings)
        by_seed = [[settings[name][seed] for name in whole if seed in settings[name]] for seed in sorted(seeds)]
        values[dataset] = np.array([np.mean(of) for of in by_seed if of])
        part = _mean_influence([run for name in whole for run in used[dataset, name]], influence)
        if part is not None:
            parts[dataset] = part
    return estimates(values, parts)


def _mean_influence(runs: list[RunArrays], influence: Callable[[RunArrays], Array | None]) -> Array | None:
    """The mean over runs of what each subject adds, None where a run does not know it or has other subjects."""
    parts = []
    for run in runs:
        part = influence(run)
        if part is None or set(run.subjects) != set(runs[0].subjects):
            return None
        parts.append(part[np.argsort(np.array(run.subjects))])
    return np.asarray(np.mean(parts, axis=0)) if parts else None


def by_family(runs: Iterable[RunArrays], found: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """The datasets' estimates by benchmark: the mean over its categories, their variances as of independent ones."""
    families: dict[str, dict[str, None]] = defaultdict(dict)
    for run in runs:
        if run.dataset in found:
            families[run.family][run.dataset] = None
    joined = {}
    for family, datasets in sorted(families.items()):
        members = [found[name] for name in datasets]
        count = len(members)
        joined[family] = Estimate(
            value=sum(one.value for one in members) / count,
            seeds=min(one.seeds for one in members),
            over_seeds=sum(one.over_seeds for one in members) / count**2,
            freedom=sum(one.freedom for one in members),
            subjects=sum(one.subjects for one in members),
            over_subjects=sum(one.over_subjects for one in members) / count**2,
        )
    return joined


def gain_influence(run: RunArrays, predictor: str, over: str, metric: str) -> Array | None:
    """What each test subject adds to `gain`; None for a metric of which that is not recorded."""
    if metric not in run.influence:
        return None
    table = run.influence[metric].astype(float)
    return np.asarray(direction(metric) * (table[run.index[predictor]] - table[run.index[over]]))


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
