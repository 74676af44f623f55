"""The claims about a spread: of the KL gradient's standing over datasets and settings, and of localization over betas.

A spread is never exactly 0, so that the threshold of a claim about one is the smallest that matters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from leaderboard.amounts import amount
from leaderboard.results.run_arrays import Array, RunArrays
from leaderboard.rows.row import Row
from leaderboard.rows.views import OWN_BETA
from leaderboard.statistics.effects import Effect, contrast, dependence, mean_spread, random_dependence

from .claim import Claim, by_dataset, chosen_on_validation, crossed, defined, runs_of, standing, test_value

KL = "grad_kl"
MIN_RIVALS = 2
STANDING_THRESHOLD = 0.1  # a tenth of the table: one place among ten predictors
BETA_THRESHOLD = 0.01  # of the metric: what a table shows in its second decimal


class KLGradientDependsOnDataset(Claim):
    """Spread of the KL gradient's standing between datasets, at the settings that all of them have, beyond that of seeds."""

    name = "kl-gradient-dataset"
    statement = "The KL gradient's standing among the predictors depends on the dataset."
    meaning = (
        f"standard deviation over datasets of the standing of {KL} (0 first, 1 last), at the same models and betas"
    )
    needs = f"three seeds of runs with {KL} and the same other predictors, models and betas on more datasets"
    part = f"standing of {KL} (0 first, 1 last)"
    difference = False
    threshold = STANDING_THRESHOLD

    def effect(self, rows: list[Row], metric: str) -> Effect:
        block, rivals = self._standings(rows, metric, lambda run: run.dataset)
        return dependence([block], self.units, 1 / max(rivals, 1))

    def beyond(self, rows: list[Row], metric: str) -> Effect:
        block, rivals = self._standings(rows, metric, lambda run: run.family)
        return random_dependence(block, self.units, 1 / max(rivals, 1))

    def parts(self, rows: list[Row], metric: str) -> dict[str, Effect]:
        runs, rivals = self._comparable(rows, metric)
        found = by_dataset(runs, lambda run: standing(run, KL, rivals, metric))
        return {name: contrast([(1.0, one)]) for name, one in found.items()}

    def _standings(self, rows: list[Row], metric: str, unit: Callable[[RunArrays], str]) -> tuple[Array, int]:
        """The mean standing by unit and seed (units, seeds), and among how many rivals."""
        runs, rivals = self._comparable(rows, metric)
        standings: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        for run in runs:
            place = standing(run, KL, rivals, metric)
            if place is not None:
                standings[unit(run)][run.seed].append(place)
        return crossed(standings), len(rivals)

    def _comparable(self, rows: list[Row], metric: str) -> tuple[list[RunArrays], list[str]]:
        """The runs at the models and betas that all datasets have, and the rivals."""
        runs, rivals = _with_rivals(rows, metric)
        settings: dict[str, set[tuple[str, float]]] = defaultdict(set)
        for run in runs:
            settings[run.dataset].add((run.model, run.beta))
        shared = set.intersection(*settings.values()) if settings else set()
        return [run for run in runs if (run.model, run.beta) in shared], rivals


class KLGradientDependsOnSetting(Claim):
    """Spread of the KL gradient's standing between the settings of a dataset, beyond what seeds make of it."""

    name = "kl-gradient-setting"
    statement = "The KL gradient's standing among the predictors depends on the VAE's setting."
    meaning = f"standard deviation over settings of the standing of {KL} (0 first, 1 last), within datasets"
    units = "settings"
    needs = (
        f"three seeds of runs with {KL} and the same other predictors in more settings (beta, latent size) of a dataset"
    )
    beyond_needs = (
        f"three seeds of runs with {KL} and the same other predictors, in several settings each, on more datasets"
    )
    part = f"standard deviation over settings of the standing of {KL}"
    difference = False
    threshold = STANDING_THRESHOLD

    def effect(self, rows: list[Row], metric: str) -> Effect:
        blocks, rivals = self._blocks(rows, metric)
        return dependence(list(blocks.values()), self.units, 1 / max(rivals, 1))

    def beyond(self, rows: list[Row], metric: str) -> Effect:
        blocks, rivals = self._blocks(rows, metric)
        return mean_spread({name: [block] for name, block in blocks.items()}, 1 / max(rivals, 1))

    def parts(self, rows: list[Row], metric: str) -> dict[str, Effect]:
        blocks, rivals = self._blocks(rows, metric)
        return {name: dependence([block], self.units, 1 / max(rivals, 1)) for name, block in sorted(blocks.items())}

    def over(self, rows: list[Row], metric: str, effect: Effect) -> str:
        blocks, _ = self._blocks(rows, metric)
        return amount_each({name: [block] for name, block in blocks.items()}, self.units)

    def _blocks(self, rows: list[Row], metric: str) -> tuple[dict[str, Array], int]:
        """The standing by setting and seed (settings, seeds) on each dataset, and among how many rivals."""
        runs, rivals = _with_rivals(rows, metric)
        standings: dict[str, dict[str, dict[int, list[float]]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(list))
        )
        for run in runs:
            place = standing(run, KL, rivals, metric)
            if place is not None:
                standings[run.dataset][run.setting_id][run.seed].append(place)
        return {name: crossed(settings) for name, settings in standings.items()}, len(rivals)


def _with_rivals(rows: list[Row], metric: str) -> tuple[list[RunArrays], list[str]]:
    """The runs with the KL gradient and MIN_RIVALS others, and what others they share: a place is one among the same."""
    runs = [run for run in runs_of(rows) if KL in run.predictors and len(run.predictors) > MIN_RIVALS]
    shared = set.intersection(*(set(run.predictors) for run in runs)) - {KL} if runs else set()
    rivals = [name for name in shared if all(test_value(run, name, metric) is not None for run in runs)]
    return (runs, sorted(rivals)) if len(rivals) >= MIN_RIVALS else ([], [])


class LocalizationDependsOnBeta(Claim):
    """Spread between betas of the predictor that validation chooses, beyond what seeds make of it."""

    name = "beta"
    statement = "Localization depends on beta."
    meaning = (
        "standard deviation over betas of the metric of the predictor chosen on validation, within datasets and models"
    )
    units = "betas"
    needs = "three seeds of runs at more betas, everything else equal"
    beyond_needs = "three seeds of runs at several betas, everything else equal, on more datasets"
    part = "standard deviation over betas of the predictor chosen on validation"
    difference = False
    threshold = BETA_THRESHOLD

    def effect(self, rows: list[Row], metric: str) -> Effect:
        return dependence([block for blocks in self._blocks(rows, metric).values() for block in blocks], self.units)

    def beyond(self, rows: list[Row], metric: str) -> Effect:
        return mean_spread(self._blocks(rows, metric))

    def parts(self, rows: list[Row], metric: str) -> dict[str, Effect]:
        return {name: dependence(blocks, self.units) for name, blocks in sorted(self._blocks(rows, metric).items())}

    def over(self, rows: list[Row], metric: str, effect: Effect) -> str:
        return amount_each(self._blocks(rows, metric), self.units)

    def _blocks(self, rows: list[Row], metric: str) -> dict[str, list[Array]]:
        """The metric by beta and seed (betas, seeds) of each model, by dataset."""
        families: dict[tuple[str, str, object], dict[float, list[RunArrays]]] = defaultdict(lambda: defaultdict(list))
        for run in runs_of(rows):
            facts = frozenset(fact for fact in run.facts.items() if fact[0] not in OWN_BETA)
            families[run.dataset, run.model, facts][run.beta].append(run)
        blocks: dict[str, list[Array]] = defaultdict(list)
        for (dataset, *_), betas in families.items():
            name = chosen_on_validation([run for runs in betas.values() for run in runs], metric)
            if name is not None:
                values = {
                    beta: {run.seed: defined([test_value(run, name, metric)]) for run in runs}
                    for beta, runs in betas.items()
                }
                blocks[dataset].append(crossed(values))
        return blocks


def amount_each(blocks: Mapping[str, Sequence[Array]], units: str) -> str:
    """How many groups each block (groups, seeds) of each dataset has, in words; of the blocks that tell a spread."""
    known = {name: found for name, of in blocks.items() if (found := [len(one) for one in of if min(one.shape) > 1])}
    counts = [count for of in known.values() for count in of]
    least, most = min(counts, default=0), max(counts, default=0)
    each = amount(most, units) if least == most else f"{least} to {most} {units}"
    if len(counts) < 2:
        return each if len(blocks) < 2 else f"{each} on {len(counts)} of {len(blocks)} datasets"
    if len(counts) == len(known):
        return f"{each} on each of {len(known)} datasets"
    return f"{each} of each of {len(counts)} pairs of dataset and model"
