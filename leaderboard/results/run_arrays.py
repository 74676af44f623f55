"""A run as the leaderboard keeps it: its identity, and its numbers as arrays, so that ten thousand fit in memory."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from leaderboard.json_file import ResultError
from leaderboard.record import (
    CRITERIA,
    CURVES,
    METRICS,
    POOLED,
    REMEDY,
    MapChoice,
    Measure,
    PredictorResult,
    RunResult,
    read_result,
)

Array = NDArray[np.float64]
Single = NDArray[np.float32]
DIGESTS = ("data_fingerprint", "split_digest", "source_digest")
PAIRED = ("dice", "ap", "auroc")
SMOOTHED = ("auroc", "ap", "dice_oracle", "aupro")  # what is measured at every width of smoothing
LOGGED = ("val/elbo", "train/loss")


class MapFacts(NamedTuple):
    """What of a row's maps was chosen, and on what grounds: see `record.MapChoice`."""

    smooth: float
    smooth_by: str
    sign: str | None
    sign_by: str | None


@dataclass(frozen=True, eq=False)
class RunArrays:
    """One run, or one ensemble over seeds (`ensemble_of` names its members).

    P predictors in the order of `predictors`, M metrics in that of `metrics` (METRICS, then those of a user's own), S test
    subjects in that of `subjects`. Undefined numbers are NaN. `facts`: the flattened config and the digests of data, split
    and code, as JSON texts.

    test, validation: (P, M). seconds: (P,) per image. by_subject: for each of PAIRED (P, S). influence: for each of POOLED that
    is known (P, S), what a subject adds to the pooled metric (`_influence`). curves: for each of CURVES (P, places). groups: by
    attribute and value (P, METRICS), of those subjects. lesions: by smallest and largest size (P, 2), how many there are and
    how many are detected. choices: members of an ensemble that were searched on validation, by predictor. maps: what was
    chosen of a predictor's maps, in each fold; missing for ensembles. smoothed: (2, W, P, SMOOTHED) on validation and on test
    at each of `widths` (pixels). curve: of the epochs `epoch` and LOGGED, (E,) each, as far as they were logged. left_out: rows
    that this model cannot have, and why. criteria: for each of CRITERIA that is recorded (P,). fingerprints: (P, F), F = 0
    unless all rows have one.
    """

    run_id: str
    setting_id: str
    dataset: str
    family: str
    category: str | None
    domain: str
    model: str
    beta: float
    beta_normalised: float
    seed: int
    facts: Mapping[str, str]
    training: Mapping[str, float | int | None]
    predictors: tuple[str, ...]
    test: Array
    validation: Array
    seconds: Array
    subjects: tuple[str, ...]
    by_subject: Mapping[str, Array]
    groups: Mapping[str, Mapping[str, Array]]
    lesions: Mapping[tuple[int, int | None], Array]
    created: str
    device: str
    ensemble_of: tuple[str, ...] = ()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    metrics: tuple[str, ...] = METRICS
    maps: Mapping[str, tuple[MapFacts, ...]] = field(default_factory=dict)
    widths: tuple[float, ...] = ()
    smoothed: Array = field(default_factory=lambda: np.zeros((2, 0, 0, len(SMOOTHED))))
    curve: Mapping[str, Array] = field(default_factory=dict)
    influence: Mapping[str, Single] = field(default_factory=dict)
    curves: Mapping[str, Single] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    criteria: Mapping[str, Single] = field(default_factory=dict)
    fingerprints: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    folder: Path | None = None

    @property
    def index(self) -> dict[str, int]:
        """Where each predictor is in the arrays."""
        return {name: index for index, name in enumerate(self.predictors)}


@contextmanager
def without_cycles() -> Iterator[None]:
    """No search for cyclic garbage while millions of objects are made, none of them in a cycle: it takes half the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_run(path: Path) -> RunArrays:
    """The run in the file `path`; ResultError when it is not there, damaged, incomplete or of another version."""
    try:
        return run_of(read_result(path), path.parent)
    except (RecursionError, OverflowError) as error:  # valid JSON, but no result that a run has written
        raise ResultError(f"{path}: nested too deeply, or a number is too large ({error}). {REMEDY}") from error


def run_of(result: RunResult, folder: Path | None = None) -> RunArrays:
    """The result as a run; ResultError when its predictors were scored on different subjects."""
    rows = list(result.predictors.values())
    subjects, by_subject = _subjects(rows, folder)
    metrics = _shared((*METRICS, *dict.fromkeys(name for row in rows for name in row.own_metrics)))
    dataset = result.config.get("dataset")
    widths, smoothed = _smoothed(rows)
    return RunArrays(
        run_id=result.run_id,
        setting_id=result.setting_id,
        dataset=result.dataset,
        family=result.family or result.dataset,
        category=result.category,
        domain=str(dataset.get("domain") or "") if isinstance(dataset, dict) else "",
        model=result.model,
        beta=result.beta,
        beta_normalised=result.beta_normalised,
        seed=result.seed,
        facts=_facts(result),
        training=result.training,
        predictors=_shared(tuple(result.predictors)),
        test=_values([row.test for row in rows], metrics),
        validation=_values([row.validation for row in rows], metrics),
        seconds=np.array([row.seconds_per_image for row in rows], dtype=float),
        subjects=subjects,
        by_subject=by_subject,
        groups=_groups(rows),
        lesions=_lesions(rows),
        created=result.provenance.created,
        device=result.provenance.device,
        ensemble_of=tuple(result.ensemble_of),
        choices={name: tuple(row.choice.members) for name, row in result.predictors.items() if row.choice is not None},
        metrics=metrics,
        maps={_shared(name): (_facts_of(row.map),) for name, row in result.predictors.items() if row.map is not None},
        widths=widths,
        smoothed=smoothed,
        curve={key: np.array(result.curve[key], dtype=float) for key in ("epoch", *LOGGED) if result.curve.get(key)},
        influence=_influence(rows, subjects),
        curves=_curves(rows),
        left_out=result.left_out,
        criteria={
            _shared(name): np.array([row.criteria.get(name) for row in rows], dtype=np.float32)
            for name in CRITERIA
            if any(name in row.criteria for row in rows)
        },
        fingerprints=_fingerprints(rows),
        folder=folder,
    )


def _facts_of(choice: MapChoice) -> MapFacts:
    facts: MapFacts = _shared(MapFacts(choice.smooth, choice.smooth_by, choice.sign, choice.sign_by))
    return facts


def _smoothed(rows: list[PredictorResult]) -> tuple[tuple[float, ...], Array]:
    """The widths that any predictor was measured at, ascending, and the values at each (2, W, P, SMOOTHED)."""
    widths = sorted({tried.smooth for row in rows if row.map for tried in row.map.tried})
    values = np.full((2, len(widths), len(rows), len(SMOOTHED)), np.nan)
    for index, row in enumerate(rows):
        for tried in row.map.tried if row.map else ():
            for part, measured in enumerate((tried.validation, tried.test)):
                values[part, widths.index(tried.smooth), index] = [
                    np.nan if (value := measured.get(metric)) is None else value for metric in SMOOTHED
                ]
    return _shared(tuple(widths)), values


def _values(tables: list[dict[str, Measure]], metrics: tuple[str, ...] = METRICS) -> Array:
    """Value of each metric (P, M), NaN where there is none."""
    values = [table[name].value if name in table else None for table in tables for name in metrics]
    return np.array(values, dtype=float).reshape(len(tables), len(metrics))


def _subjects(predictors: list[PredictorResult], folder: Path | None) -> tuple[tuple[str, ...], dict[str, Array]]:
    """Subjects in the order of the first predictor, and for each of PAIRED the values (P, S)."""
    names = [row.subject for row in predictors[0].subjects] if predictors else []
    values: dict[str, list[list[float | None]]] = {metric: [] for metric in PAIRED}
    for predictor in predictors:
        rows = predictor.subjects
        if [row.subject for row in rows] != names:
            by_name = {row.subject: row for row in rows}
            if by_name.keys() != set(names):
                raise ResultError(
                    f"{folder}: its predictors were scored on different subjects. Delete the result and run it again."
                )
            rows = [by_name[name] for name in names]
        for metric, known in values.items():
            known.append([getattr(row, metric) for row in rows])
    shape = len(predictors), len(names)
    tables = {metric: np.array(rows, dtype=float).reshape(shape) for metric, rows in values.items()}
    return _shared(tuple(names)), tables


def _influence(predictors: list[PredictorResult], subjects: tuple[str, ...]) -> dict[str, Single]:
    """Of each of POOLED that all rows record without each subject (P, S): (S − 1) times how much less it is without it.

    Centred pseudo-values of the jackknife (Efron & Stein 1981, The Annals of Statistics 9:586): they have a mean of 0, and
    the sum of their squares over S (S − 1) estimates the variance of the pooled metric over subjects; that of the differences
    of two rows' does so for the difference of the rows. NaN where a metric is undefined without some subject.
    """
    influence = {}
    for metric in POOLED:
        tables = [_in_order(row, row.without.get(metric, ()), subjects) for row in predictors]
        if len(subjects) > 1 and all(len(values) for values in tables):
            without = np.array(tables, dtype=float)
            influence[metric] = ((len(subjects) - 1) * (without.mean(1, keepdims=True) - without)).astype(np.float32)
    return influence


def _in_order(
    row: PredictorResult, values: Sequence[float | None], subjects: tuple[str, ...]
) -> Sequence[float | None]:
    """A value of each subject of a row in the order of `subjects`."""
    names = tuple(one.subject for one in row.subjects)
    if not values or names == subjects:
        return values
    known = dict(zip(names, values, strict=True))
    return [known[name] for name in subjects]


def _curves(predictors: list[PredictorResult]) -> dict[str, Single]:
    return {
        name: np.array([row.curves.get(name, [np.nan] * len(at)) for row in predictors], dtype=np.float32)
        for name, at in CURVES.items()
        if any(name in row.curves for row in predictors)
    }


def _fingerprints(predictors: list[PredictorResult]) -> NDArray[np.uint8]:
    lengths = {len(row.fingerprint) for row in predictors}
    rows = [row.fingerprint for row in predictors] if len(lengths) == 1 else [[] for _ in predictors]
    return np.array(rows, dtype=np.uint8).reshape(len(predictors), -1 if rows and rows[0] else 0)


def _groups(predictors: list[PredictorResult]) -> dict[str, dict[str, Array]]:
    tables: dict[str, dict[str, list[dict[str, Measure]]]] = {}
    for index, predictor in enumerate(predictors):
        for attribute, values in predictor.groups.items():
            of_attribute = tables.setdefault(_shared(attribute), {})
            for value, measures in values.items():
                of_attribute.setdefault(_shared(value), [{}] * len(predictors))[index] = measures
    return {
        attribute: {value: _values(members) for value, members in values.items()}
        for attribute, values in tables.items()
    }


def _lesions(predictors: list[PredictorResult]) -> dict[tuple[int, int | None], Array]:
    counts: dict[tuple[int, int | None], list[tuple[int, int]]] = {}
    for index, predictor in enumerate(predictors):
        for row in predictor.lesions:
            of_size = counts.setdefault((row.smallest, row.largest), [(0, 0)] * len(predictors))
            of_size[index] = row.lesions, row.detected
    return {size: np.array(members, dtype=float) for size, members in counts.items()}


def _facts(result: RunResult) -> dict[str, str]:
    facts = _flatten(result.config)
    for name in DIGESTS:
        facts[f"provenance.{name}"] = _shared(getattr(result.provenance, name))
    return facts | _flatten(result.provenance.own_code, "provenance.own_code.")


def _flatten(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted keys to JSON texts; a list is one value."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            scalar = value is None or isinstance(value, str | int | float)
            flat[_shared(f"{prefix}{key}")] = (
                _text(type(value).__name__, value) if scalar else json.dumps(value, sort_keys=True)
            )
    return flat


@lru_cache(maxsize=65_536)
def _text(kind: str, value: Any) -> str:
    """JSON text of a scalar; `kind` keeps 1, 1.0 and true apart, which are equal keys."""
    del kind
    return json.dumps(value)


@lru_cache(maxsize=65_536)
def _shared(value: Any) -> Any:
    """The first value equal to this one, so that equal names of ten thousand runs are stored once."""
    return value
