"""The gate for CI: rows against a baseline, failing closed on anything worse, missing or measured over fewer seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, field

from leaderboard.amounts import amount
from leaderboard.json_file import Document, Record, ResultError, read_document, write_document
from leaderboard.record import LOWER_IS_BETTER, METRICS, Positive
from leaderboard.results.setting_labels import beta_text
from leaderboard.rows.row import Row
from leaderboard.statistics.samples import Statistic

MINIMAL_TOLERANCE = 0.02
BASELINE_REMEDY = (
    "Restore it from version control, or make it anew from a trusted run (check OUT --update --baseline FILE)."
)
Status = Literal["worse", "missing", "undefined", "fewer seeds", "better", "new", "same"]
FAILURES: tuple[Status, ...] = ("worse", "missing", "undefined", "fewer seeds")
STATUSES: tuple[Status, ...] = (*FAILURES, "better", "new", "same")
ADVICE: dict[Status, str] = {
    "worse": "the mean fell by more than is allowed",
    "missing": "no such row in the results; was the run left out, did it fail?",
    "undefined": "the results have the row but no value",
    "fewer seeds": "run as many seeds as the baseline",
    "better": "update the baseline",
    "new": "not in the baseline; add it to have it checked",
}


class Expectation(Record, frozen=True):
    """What a predictor reached when the baseline was made, and how much lower a mean may be and still pass."""

    mean: float
    sd: float | None
    n: Positive
    tolerance: Annotated[float, Meta(ge=0)]


class Baseline(Document, frozen=True):
    """Expected means of one metric on one dataset, by `<model>|beta=<b>|<predictor>`; `command` produced them.

    `settings`: by `<model>|beta=<b>` the config and data that they were reached with; older baselines have none.
    """

    dataset: str
    metric: str
    command: str
    predictors: Annotated[dict[str, Expectation], Meta(min_length=1)]
    settings: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expected = [name for name in METRICS if name not in LOWER_IS_BETTER]
        if self.metric not in expected:
            raise ValueError(f"no metric to check, {self.metric!r}; expected one of {expected}")


@dataclass(frozen=True)
class Verdict:
    """One predictor against the baseline; `expected` is None for a new one, `found` for one that is missing."""

    key: str
    status: Status
    expected: Expectation | None
    found: Statistic | None

    @property
    def failed(self) -> bool:
        """Whether this verdict fails the check."""
        return self.status in FAILURES


@dataclass(frozen=True)
class Checked:
    """A baseline, the verdicts on it, and how the settings differ from its own (`setting_changes`)."""

    baseline: Baseline
    verdicts: list[Verdict]
    changes: list[str]

    @property
    def failed(self) -> bool:
        """Whether any verdict fails the check."""
        return any(verdict.failed for verdict in self.verdicts)

    @property
    def outcome(self) -> str:
        """One line: how many of the checked predictors failed."""
        failures = sum(verdict.failed for verdict in self.verdicts)
        checked = sum(verdict.status != "new" for verdict in self.verdicts)
        of = amount(checked, "checked predictors")
        return f"FAILED: {failures} of {of}" if failures else f"passed: {amount(checked, 'predictors')}"


def row_key(row: Row) -> str:
    """`<model>|beta=<b>|<predictor>`; the model wears its setting's suffix where settings would share the key."""
    return f"{row.label}|beta={beta_text(row.beta)}|{row.predictor}"


def read_baseline(path: Path) -> Baseline:
    """The baseline in the file `path`; ResultError when it is not there, damaged, empty or of another version."""
    return read_document(path, Baseline, BASELINE_REMEDY)


def write_baseline(baseline: Baseline, path: Path) -> None:
    """Write `baseline` atomically, in place of an older one: version control keeps that."""
    write_document(baseline, path)


def tolerance(statistic: Statistic) -> float:
    """max(0.02, 3·sd·√(2/n)), rounded up to 3 decimals.

    Training amplifies the last bits in which processors differ, so that another machine's means are another draw: three
    standard errors of a difference of two. 0.02 stands alone where one seed says nothing about spread.
    """
    error = 0.0 if statistic.sd is None else 3 * statistic.sd * math.sqrt(2 / statistic.n)
    return math.ceil(round(1000 * max(MINIMAL_TOLERANCE, error), 6)) / 1000


def make_baseline(rows: Sequence[Row], command: str, metric: str = "auroc") -> Baseline:
    """A baseline from complete rows of one dataset; ResultError for no rows, two datasets, missing seeds or values."""
    datasets = sorted({row.dataset for row in rows})
    if len(datasets) != 1:
        raise ResultError(
            f"a baseline is of one dataset, these rows are of {datasets or 'none'}. Choose the runs of one."
        )
    if metric not in METRICS:
        raise ResultError(f"unknown metric {metric!r}; expected one of {list(METRICS)}.")
    predictors = {}
    for row in rows:
        value = row.test[metric]
        if value.mean is None or value.n < row.planned:
            raise ResultError(
                f"{row.dataset}: {row_key(row)} has {metric} for {value.n} of {amount(row.planned, 'planned seeds')}; "
                "a baseline needs all. Finish the sweep first: start the same `anomaly-bench bench` again."
            )
        predictors[row_key(row)] = Expectation(mean=value.mean, sd=value.sd, n=value.n, tolerance=tolerance(value))
    return Baseline(datasets[0], metric, command, predictors, _settings(rows))


def compare(rows: Sequence[Row], baseline: Baseline) -> list[Verdict]:
    """A verdict for every predictor of the baseline, and for every new one; failures first.

    Worse: mean < expected mean − tolerance. Also failing: a predictor or group that is missing or undefined, and one
    measured over fewer seeds than the baseline. ResultError when a row is of another dataset than the baseline.
    """
    others = sorted({row.dataset for row in rows} - {baseline.dataset})
    if others:
        raise ResultError(
            f"the baseline is of dataset {baseline.dataset!r}, the results are of {others}. "
            f"Name the baseline of that dataset, or choose only the runs of {baseline.dataset!r}."
        )
    values = {row_key(row): row.test[baseline.metric] for row in rows}
    verdicts = [
        Verdict(key, _judge(expected, values.get(key)), expected, values.get(key))
        for key, expected in baseline.predictors.items()
    ]
    verdicts += [Verdict(key, "new", None, values[key]) for key in values.keys() - baseline.predictors.keys()]
    return sorted(verdicts, key=lambda verdict: (STATUSES.index(verdict.status), verdict.key))


def _judge(expected: Expectation, found: Statistic | None) -> Status:
    if found is None:
        return "missing"
    if found.mean is None:
        return "undefined"
    change = found.mean - expected.mean
    if change < -expected.tolerance:
        return "worse"
    if found.n < expected.n:
        return "fewer seeds"
    return "better" if change > expected.tolerance else "same"


def setting_changes(rows: Sequence[Row], baseline: Baseline) -> list[str]:
    """What the settings of the rows differ in from those that the baseline records: `<setting>: key old → new`."""
    changes = []
    for name, settings in _settings(rows).items():
        before = baseline.settings.get(name)
        if before is not None:
            keys = sorted(key for key in before.keys() | settings.keys() if before.get(key) != settings.get(key))
            changes += [f"{name}: {key} {before.get(key, 'absent')} → {settings.get(key, 'absent')}" for key in keys]
    return changes


def _settings(rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """By `<model>|beta=<b>` the flattened config and the digests of data and split; not the seed, not the code's digest."""
    settings = {}
    for row in rows:
        if row.samples is not None:
            facts = row.samples.runs[0].facts
            settings[f"{row.label}|beta={beta_text(row.beta)}"] = {
                key: facts[key] for key in sorted(facts) if key not in ("seed", "provenance.source_digest")
            }
    return settings
