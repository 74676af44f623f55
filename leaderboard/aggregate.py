"""From results to the rows of a table: mean, spread and interval over seeds, never over different settings."""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from scipy.special import stdtrit

from leaderboard.collect import Collection
from leaderboard.record import METRICS, Measure, ResultError, RunResult

CONFIDENCE = 0.95
NO_RESULT = "(no result)"
SUFFIX_LENGTH = 4
DIGESTS = ("data_fingerprint", "split_digest", "source_digest")


class Group(NamedTuple):
    """Runs that differ in their seed alone."""

    dataset: str
    model: str
    beta: float
    setting_id: str


@dataclass(frozen=True)
class Statistic:
    """A metric over `n` seeds: mean (None for n = 0), sd with n - 1 below, and 95 % t interval (None for n < 2)."""

    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """One predictor of one group.

    `label` is the model, with `#` and the start of `setting_id` where settings share dataset, model and beta; `note`
    then says how these differ. `n` runs hold the predictor, of `planned` seeds (all that are planned or found). `test`
    and `validation` hold every metric of METRICS; a statistic's own n is smaller than the row's where the metric is
    undefined for some seeds.
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

    @property
    def complete(self) -> bool:
        """Whether every planned seed is in."""
        return self.n == self.planned


def summarise(values: Sequence[float]) -> Statistic:
    """Mean, sd (ddof = 1) and two-sided 95 % Student t interval of the mean; the interval is not clipped to [0, 1].

    Sums are exact, so the order of the seeds cannot change the last bit.
    """
    n = len(values)
    if n == 0:
        return Statistic(None, None, None, None, 0)
    mean = statistics.mean(values)
    if n == 1:
        return Statistic(mean, None, None, None, 1)
    sd = statistics.stdev(values)
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * sd / math.sqrt(n)
    return Statistic(mean, sd, mean - half, mean + half, n)


def beta_text(beta: float) -> str:
    """The shortest text that reads back as exactly `beta`: 4, 0.25, 1e-05."""
    short = f"{beta:g}"
    return short if float(short) == beta else repr(beta)


def aggregate(collection: Collection) -> list[Row]:
    """A row per (dataset, model, beta, setting, predictor), sorted by these, predictors by falling mean test AUROC.

    A planned group without any result is one row, predictor `(no result)`, 0/N. ResultError when a seed lies twice in a
    setting.
    """
    runs: dict[Group, list[RunResult]] = defaultdict(list)
    for result in collection.results:
        runs[Group(result.dataset, result.model, result.beta, result.setting_id)].append(result)
    seeds: dict[Group, set[int]] = defaultdict(set)
    for group, results in runs.items():
        seeds[group] = _distinct_seeds(group, results)
    for run in collection.planned:
        seeds[Group(run.dataset, run.model, run.beta, run.setting_id)].add(run.seed)
    labels, notes = _tell_settings_apart(seeds, runs)
    rows = [
        _row(group, predictor, runs.get(group, []), len(seeds[group]), labels[group], notes.get(group, ""))
        for group in seeds
        for predictor in {name for result in runs.get(group, []) for name in result.predictors} or {NO_RESULT}
    ]
    return sorted(rows, key=_order)


def _order(row: Row) -> tuple[Any, ...]:
    auroc = row.test["auroc"].mean
    return row.dataset, row.model, row.beta, row.label, auroc is None, -(auroc or 0.0), row.predictor


def _distinct_seeds(group: Group, results: Iterable[RunResult]) -> set[int]:
    by_seed: dict[int, str] = {}
    for result in results:
        if result.seed in by_seed:
            raise ResultError(
                f"{group.dataset}, {group.model}, beta {beta_text(group.beta)}, setting {group.setting_id}: "
                f"seed {result.seed} lies in two runs, {by_seed[result.seed]} and {result.run_id}. "
                "It would count twice: move one of their folders away."
            )
        by_seed[result.seed] = result.run_id
    return set(by_seed)


def _row(group: Group, predictor: str, runs: list[RunResult], planned: int, label: str, note: str) -> Row:
    found = [result.predictors[predictor] for result in runs if predictor in result.predictors]
    test = _statistics([one.test for one in found])
    validation = _statistics([one.validation for one in found])
    return Row(
        group.dataset,
        group.model,
        label,
        group.beta,
        group.setting_id,
        predictor,
        len(found),
        planned,
        test,
        validation,
        note,
    )


def _statistics(measures: list[dict[str, Measure]]) -> dict[str, Statistic]:
    summary = {}
    for metric in METRICS:
        values = [one[metric].value for one in measures if metric in one]
        summary[metric] = summarise([value for value in values if value is not None])
    return summary


def _tell_settings_apart(
    groups: Iterable[Group], runs: dict[Group, list[RunResult]]
) -> tuple[dict[Group, str], dict[Group, str]]:
    """A label for every group, and a note for those that share dataset, model and beta with another setting."""
    alike: dict[tuple[str, str, float], list[Group]] = defaultdict(list)
    for group in groups:
        alike[group[:3]].append(group)
    labels: dict[Group, str] = {}
    notes: dict[Group, str] = {}
    for (dataset, model, beta), family in alike.items():
        if len(family) == 1:
            labels[family[0]] = model
            continue
        suffixes = _suffixes(family)
        labels.update({group: f"{model}{suffixes[group]}" for group in family})
        keys = differing_keys([runs[group] for group in family if runs.get(group)])
        how = f"differ in {', '.join(keys)}" if keys else "differ in nothing that their results record"
        empty = [suffixes[group] for group in family if not runs.get(group)]
        unknown = f" (no result yet: {', '.join(sorted(empty))})" if empty else ""
        names = ", ".join(sorted(suffixes.values()))
        note = f"{dataset}, {model}, beta {beta_text(beta)}: settings {names} {how}{unknown}; never averaged."
        notes.update(dict.fromkeys(family, note))
    return labels, notes


def _suffixes(family: list[Group]) -> dict[Group, str]:
    """`#` and the first four letters of each setting id, or as many more as it takes to tell them apart."""
    longest = max(len(group.setting_id) for group in family)
    lengths = range(SUFFIX_LENGTH, max(longest, SUFFIX_LENGTH) + 1)
    enough = next(size for size in lengths if len({group.setting_id[:size] for group in family}) == len(family))
    return {group: f"#{group.setting_id[:enough]}" for group in family}


def differing_keys(settings: list[list[RunResult]]) -> list[str]:
    """Flattened config keys, and digests of data, split and code, that have one value in each setting but not in all.

    The key `seed`, and any key that varies with it inside a setting, says nothing about the settings and is left out.
    """
    known = [[facts(result) for result in results] for results in settings]
    keys = sorted({key for setting in known for run in setting for key in run} - {"seed"})
    differing = []
    for key in keys:
        values = [{run.get(key) for run in setting} for setting in known]
        if all(len(value) == 1 for value in values) and len(set.union(*values)) > 1:
            differing.append(key)
    return differing


def facts(result: RunResult) -> dict[str, str]:
    """What may tell one setting from another: the flattened config and the digests of data, split and code."""
    digests = {f"provenance.{name}": getattr(result.provenance, name) for name in DIGESTS}
    return {**_flatten(result.config), **digests}


def _flatten(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted keys to JSON texts; a list is one value."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = json.dumps(value, sort_keys=True)
    return flat
