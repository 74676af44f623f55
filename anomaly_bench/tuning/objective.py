"""What a trial is worth: a criterion of normal validation images, or a metric of labelled ones; never of the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.schema import RunConfig
from leaderboard.record import CRITERIA, Measure, RunResult
from leaderboard.results.run_arrays import run_of
from leaderboard.rows.selection import criteria_of

from . import LABELLED, OBJECTIVES


@dataclass(frozen=True)
class Objective:
    """by: one of OBJECTIVES, higher is better in each. predictor: the row that counts; the best one if empty."""

    by: str
    predictor: str = ""

    def check(self, configs: Sequence[RunConfig]) -> None:
        """Raises ConfigError if the runs of a trial cannot have it."""
        if self.by == "stability" and len(configs) < 2:
            raise ConfigError("--by stability: expected two seeds or more, such as 'seed=0,1'")
        for config in configs:
            rows = config.predictors.only or list(config.predictors.members)
            if self.predictor and self.predictor not in rows:
                raise ConfigError(f"--predictor {self.predictor}: expected a row of the runs: {', '.join(rows)}")
            if self.by in CRITERIA and self.by not in config.selection.criteria:
                raise ConfigError(f"--by {self.by}: selection.criteria does not have it; add it there")

    def of(self, results: Sequence[RunResult]) -> tuple[float, str]:
        """The value of a trial with a run for each seed, mean over seeds, and the row that has it.

        Raises ConfigError if no row has one: without an anomalous validation image there is no metric of labelled ones.
        """
        values = self._values(results)
        if not values:
            why = "no validation image is anomalous" if self.by in LABELLED else "the model has none"
            raise ConfigError(f"--by {self.by}: {why}; choose another of {', '.join(OBJECTIVES)}")
        row = max(values, key=values.__getitem__)
        return values[row], row

    def _values(self, results: Sequence[RunResult]) -> dict[str, float]:
        names = [self.predictor] if self.predictor else list(results[0].predictors)
        names = [name for name in names if all(name in result.predictors for result in results)]
        if self.by in LABELLED:
            metric = self.by.partition("_")[2]
            rows = {
                name: [_value(result.predictors[name].validation.get(metric)) for result in results] for name in names
            }
            return {name: sum(row) / len(row) for name, row in rows.items() if None not in row}  # type: ignore[arg-type]
        known = criteria_of(names, [run_of(result) for result in results])
        return {name: row[self.by] for name, row in zip(names, known, strict=True) if self.by in row}


def _value(measure: Measure | None) -> float | None:
    return None if measure is None else measure.value
