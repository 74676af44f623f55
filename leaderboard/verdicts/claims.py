"""The paper's statements, held against whatever runs are there.

Each claim is a class: what it states, what it needs, and how its effect is computed, on the datasets at hand and on others
like them. A verdict follows from the 95 % interval of the effect alone: *supported* where all of it lies above the claim's
threshold, *contradicted* where all of it lies below, *undecided* otherwise and where there is no interval.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from leaderboard.record import direction
from leaderboard.results.run_arrays import Array, RunArrays
from leaderboard.rows.aggregate import known_metrics
from leaderboard.rows.row import Row
from leaderboard.statistics.effects import (
    Effect,
    Estimate,
    contrast,
    correlation,
    difference_effect,
    estimates,
    mean_effect,
)

from .claim import (
    Claim,
    Finding,
    by_dataset,
    by_family,
    chosen_on_validation,
    gain,
    gain_influence,
    runs_of,
    test_value,
)
from .spreads import KLGradientDependsOnDataset, KLGradientDependsOnSetting, LocalizationDependsOnBeta

START, PROJECTION, ENSEMBLE = "rec_l1", "projection", "ensemble_probit"
MIN_DATASETS = 3
MIN_PER_DOMAIN = 2
MIN_SETTINGS = 5
MIN_CURVES = 5  # below, correlations of 1 or -1 by chance agree in more than one case of twenty
CORRELATION_THRESHOLD = 0.2


class ProjectionHelpsNaturalMore(Claim):
    """Gain of projection over the reconstruction error it starts from, natural minus medical datasets."""

    name = "projection"
    statement = "Energy-based projection helps natural images more than medical ones."
    meaning = f"gain of {PROJECTION} over {START}, mean over natural minus mean over medical datasets"
    needs = f"runs with {PROJECTION} and {START} on more natural and more medical datasets"
    part = f"gain of {PROJECTION} over {START}"

    def effect(self, rows: list[Row], metric: str) -> Effect:
        runs = runs_of(rows)
        domains = {run.dataset: run.domain for run in runs}
        natural, medical = (
            [one for name, one in self._gains(runs, metric).items() if domains[name] == domain]
            for domain in ("natural", "medical")
        )
        if not (natural and medical):
            why = f"n too small: {len(natural)} natural and {len(medical)} medical datasets, one of each is needed"
            return Effect(None, None, None, len(natural) + len(medical), why)
        return contrast([(1 / len(natural), one) for one in natural] + [(-1 / len(medical), one) for one in medical])

    def beyond(self, rows: list[Row], metric: str) -> Effect:
        runs = runs_of(rows)
        domains, gains = {run.family: run.domain for run in runs}, by_family(runs, self._gains(runs, metric))
        natural, medical = (
            [one.value for name, one in gains.items() if domains[name] == domain] for domain in ("natural", "medical")
        )
        return difference_effect(natural, medical, MIN_PER_DOMAIN, "natural and medical datasets")

    def parts(self, rows: list[Row], metric: str) -> dict[str, Effect]:
        return {name: contrast([(1.0, one)]) for name, one in self._gains(runs_of(rows), metric).items()}

    def _gains(self, runs: list[RunArrays], metric: str) -> dict[str, Estimate]:
        return by_dataset(
            runs,
            lambda run: gain(run, PROJECTION, START, metric),
            lambda run: gain_influence(run, PROJECTION, START, metric),
        )


class EnsembleBeatsBestMember(Claim):
    """Gain of the ensemble over its member with the best validation metric, per dataset."""

    name = "ensemble"
    statement = "An ensemble of predictors beats its best single member, chosen on validation."
    meaning = f"gain of {ENSEMBLE} over the member that validation chooses, mean over datasets"
    needs = f"runs with {ENSEMBLE} and all its members on more datasets"
    part = f"gain of {ENSEMBLE} over the member that validation chooses"

    def effect(self, rows: list[Row], metric: str) -> Effect:
        return mean_of(self._gains(runs_of(rows), metric))

    def beyond(self, rows: list[Row], metric: str) -> Effect:
        runs = runs_of(rows)
        return mean_of_families(by_family(runs, self._gains(runs, metric)))

    def parts(self, rows: list[Row], metric: str) -> dict[str, Effect]:
        return {name: contrast([(1.0, one)]) for name, one in self._gains(runs_of(rows), metric).items()}

    def _gains(self, runs: list[RunArrays], metric: str) -> dict[str, Estimate]:
        members = {run.run_id: best_member(run, metric) for run in runs}

        def value(run: RunArrays) -> float | None:
            best = members[run.run_id]
            return None if best is None else gain(run, ENSEMBLE, best, metric)

        def influence(run: RunArrays) -> Array | None:
            best = members[run.run_id]
            return None if best is None else gain_influence(run, ENSEMBLE, best, metric)

        return by_dataset(runs, value, influence)


def best_member(run: RunArrays, metric: str) -> str | None:
    """The ensemble's member that validation chooses; None where the run lacks one or has no anomaly there."""
    members = list(run.choices.get(ENSEMBLE, json.loads(run.facts.get(f"predictors.members.{ENSEMBLE}.members", "[]"))))
    if not members or not set(members) <= set(run.predictors):
        return None
    return chosen_on_validation([run], metric, members)


class AnomalyDegradesSurroundings(Claim):
    """How much worse normal pixels beside an anomaly are reconstructed than the same model's other normal pixels."""

    name = "surroundings"
    statement = "An anomaly degrades the reconstruction of the normal region around it."
    meaning = "log of the ratio of normal pixels' reconstruction error near an anomaly to that far from any, mean over datasets"
    needs = "runs on more datasets whose test images have normal pixels both near an anomaly and far from it"
    part = "log of the ratio of normal pixels' reconstruction error near an anomaly to that far from any"

    def effect(self, rows: list[Row], metric: str) -> Effect:
        del metric
        return mean_of(by_dataset(runs_of(rows), self._ratio))

    def beyond(self, rows: list[Row], metric: str) -> Effect:
        del metric
        runs = runs_of(rows)
        return mean_of_families(by_family(runs, by_dataset(runs, self._ratio)))

    def parts(self, rows: list[Row], metric: str) -> dict[str, Effect]:
        del metric
        return {name: contrast([(1.0, one)]) for name, one in by_dataset(runs_of(rows), self._ratio).items()}

    def _ratio(self, run: RunArrays) -> float | None:
        near, far = (run.training.get(f"normal_error_{where}") for where in ("near", "far"))
        return float(np.log(near / far)) if near and far and near > 0 and far > 0 else None


class ReconstructionIsNotLocalization(Claim):
    """Rank correlation, over the settings of a dataset and a seed, of reconstruction quality and localization; turned around.

    Of other datasets the unit is the dataset: neighbouring betas resemble each other, and six of them are no six observations.
    """

    name = "reconstruction"
    statement = "Better reconstruction is not better localization."
    meaning = (
        "minus Spearman's correlation, over the settings of a seed, of −rec on normal validation images with the metric of "
        f"{START}, mean over seeds and datasets"
    )
    needs = f"three seeds of runs with {START} in {MIN_SETTINGS} or more settings (betas, say) with the same likelihood"
    beyond_needs = f"{needs}, on each of {MIN_CURVES} or more datasets"
    part = f"minus Spearman's correlation, over the settings of a seed, of −rec with the metric of {START}"
    threshold = -CORRELATION_THRESHOLD

    def effect(self, rows: list[Row], metric: str) -> Effect:
        return _clipped(mean_of(self._rhos(rows, metric)))

    def beyond(self, rows: list[Row], metric: str) -> Effect:
        found = by_family(runs_of(rows), self._rhos(rows, metric))
        return _clipped(mean_effect([one.value for one in found.values()], MIN_CURVES, self.units))

    def parts(self, rows: list[Row], metric: str) -> dict[str, Effect]:
        return {name: _clipped(contrast([(1.0, one)])) for name, one in self._rhos(rows, metric).items()}

    def _rhos(self, rows: list[Row], metric: str) -> dict[str, Estimate]:
        """The correlation on each dataset: of each seed that all settings of a likelihood have, the mean over likelihoods."""
        points: dict[tuple[str, object], dict[str, dict[int, tuple[float, float]]]] = defaultdict(
            lambda: defaultdict(dict)
        )
        for run in runs_of(rows):
            rec, value = run.training.get("last_rec"), test_value(run, START, metric)
            if rec is not None and value is not None:
                same = tuple(
                    run.facts.get(f"model.{key}") for key in ("likelihood", "sigma", "variance", "learn_sigma")
                )
                points[run.dataset, same][run.setting_id][run.seed] = rec, direction(metric) * value
        rhos: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        for (dataset, _), settings in points.items():
            if len(settings) >= MIN_SETTINGS:
                for seed in sorted(set.intersection(*map(set, settings.values()))):
                    recs, values = zip(*(by_seed[seed] for by_seed in settings.values()), strict=True)
                    if (rho := correlation(recs, values)) is not None:
                        rhos[dataset][seed].append(rho)
        means = {name: np.array([np.mean(of) for of in by_seed.values()]) for name, by_seed in sorted(rhos.items())}
        return estimates(means, {})


def _clipped(effect: Effect) -> Effect:
    """The effect with its bounds where those of a correlation can be."""
    if effect.low is None or effect.high is None:
        return effect
    return replace(effect, low=max(effect.low, -1.0), high=min(effect.high, 1.0))


def mean_of(found: Mapping[str, Estimate]) -> Effect:
    """The mean over these datasets, each with the same weight."""
    return contrast([(1 / len(found), one) for one in found.values()])


def mean_of_families(found: Mapping[str, Estimate]) -> Effect:
    """The mean over datasets like these, with the t interval over benchmarks (each a dataset or the mean of its categories)."""
    values = list(found.values())
    return mean_effect([one.value for one in values], MIN_DATASETS, "datasets", [one.variance for one in values])


CLAIMS: tuple[Claim, ...] = (
    ProjectionHelpsNaturalMore(),
    KLGradientDependsOnDataset(),
    KLGradientDependsOnSetting(),
    LocalizationDependsOnBeta(),
    EnsembleBeatsBestMember(),
    AnomalyDegradesSurroundings(),
    ReconstructionIsNotLocalization(),
)


def evaluate(rows: list[Row], metric: str = "auroc") -> list[Finding]:
    """Every claim on these rows; ValueError for a metric that none of them knows."""
    known = known_metrics(rows)
    if metric not in known:
        raise ValueError(f"unknown metric {metric!r}; expected one of {list(known)}")
    return [claim.evaluate(rows, metric) for claim in CLAIMS]
