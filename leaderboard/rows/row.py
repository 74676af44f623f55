"""A row of the leaderboard, the samples it is a summary of, and how it compares with the best one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from leaderboard.record import MARGIN, METRICS
from leaderboard.results.run_arrays import Array, MapFacts, RunArrays
from leaderboard.results.setting_labels import ANY, beta_text
from leaderboard.statistics.samples import Statistic
from leaderboard.statistics.versus import Versus

Verdict = Literal["best", "equivalent", "worse", "undecided"]
NOTHING = Statistic(None, None, None, None, 0)


class Comparison(NamedTuple):
    """A row against `best`, the best one of its table, in one metric; `versus` is the row minus that one.

    verdict: *equivalent* where the interval lies within the margin, *worse* where it lies beyond 0 and not within, *undecided*
    where it holds both, and without an interval. margin: up to which difference rows are equivalent.
    """

    best: str
    versus: Versus
    verdict: Verdict
    margin: float = MARGIN


@dataclass(frozen=True, eq=False)
class Samples:
    """What a row is a summary of: n runs in the order of their seeds. NaN where undefined.

    test, validation: (n, M) in the order of the runs' `metrics`. seconds: (n,) per image. subjects: S names; by_subject:
    for each of PAIRED (n, S), and means their means over the runs (S,). influence: mean over the runs of what a
    subject adds to a metric (S,), of metrics that all have. runs: the runs themselves.
    """

    seeds: tuple[int, ...]
    test: Array
    validation: Array
    seconds: Array
    subjects: tuple[str, ...]
    by_subject: dict[str, Array]
    means: dict[str, Array]
    influence: dict[str, Array]
    runs: tuple[RunArrays, ...]


@dataclass(frozen=True)
class Row:
    """One predictor of one group.

    `label` is the model, with `#` and the start of `setting_id` where settings share dataset, model and beta. `n` runs
    hold the predictor, of `planned` seeds (all that are planned or found). `test` and `validation` hold every metric of
    METRICS and the runs' own; a statistic's own n is smaller than the row's where the metric is undefined for some seeds.
    `note` has a line each for settings and folds. `ensemble`: of how many seeds this row combines the maps, 0 for a mean
    over seeds. `folds`: over how many folds each seed's values are a mean, 0 without cross-validation. `any_setting`: it
    stands for all settings, being the same in each. `maps`: what each run and fold chose of the maps; empty for ensembles.
    `criteria`: means over seeds of what is known of CRITERIA. `chosen_by`: what chose this setting among several, `validation`
    or one of CRITERIA. `versus`: per metric the comparison with the best row of the dataset.
    `samples`: None where there is no result.
    """

    dataset: str
    model: str
    label: str
    beta: float
    setting_id: str
    predictor: str
    n: int
    planned: int
    test: dict[str, Statistic]
    validation: dict[str, Statistic]
    note: str = ""
    domain: str = ""
    ensemble: int = 0
    folds: int = 0
    any_setting: bool = False
    seconds: Statistic = NOTHING
    maps: tuple[MapFacts, ...] = ()
    criteria: dict[str, float] = field(default_factory=dict, repr=False)
    chosen_by: str = ""
    versus: dict[str, Comparison] = field(default_factory=dict, repr=False)
    samples: Samples | None = field(default=None, repr=False, compare=False)

    @property
    def key(self) -> tuple[str, float | None]:
        """Label and beta by which exports and views name the row: ANY and None where it stands for all settings."""
        return (ANY, None) if self.any_setting else (self.label, self.beta)

    @property
    def where(self) -> tuple[str, str]:
        """`key` as tables show it."""
        return self.key[0], beta_text(self.key[1])

    @property
    def name(self) -> str:
        """The predictor with its setting, in words."""
        return self.predictor if self.any_setting else f"{self.predictor} of {self.label}, beta {beta_text(self.beta)}"

    @property
    def own_metrics(self) -> tuple[str, ...]:
        """The metrics of a user's own."""
        return tuple(self.test)[len(METRICS) :]

    @property
    def complete(self) -> bool:
        """Whether every planned seed is in."""
        return self.n == self.planned

    @property
    def count(self) -> str:
        """n/N with a * where seeds are missing; `of k` for an ensemble over k seeds."""
        return f"of {self.ensemble}" if self.ensemble else f"{self.n}/{self.planned}{'' if self.complete else '*'}"
