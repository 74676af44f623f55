"""A run as the leaderboard keeps it: its identity, and its numbers as arrays, so that ten thousand fit in memory."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from leaderboard.json_file import ResultError
from leaderboard.record import BOUND_SLACK, METRICS, RunResult, read_result

from .lean import ABSENT, MEASURES, decoder

Array = NDArray[np.float64]
DIGESTS = ("data_fingerprint", "split_digest", "source_digest")
PAIRED = ("dice", "ap")


@dataclass(frozen=True, eq=False)
class Run:
    """One run, or one ensemble over seeds (`ensemble_of` names its members).

    P predictors in the order of `predictors`, M metrics in that of METRICS, S test subjects in that of `subjects`.
    Undefined numbers are NaN. `facts`: the flattened config and the digests of data, split and code, as JSON texts.

    test, validation: (P, M). seconds: (P,) per image. by_subject: for each of PAIRED (P, S). groups: by attribute and
    value (P, M), the metrics of those subjects. lesions: by smallest and largest size (P, 2), how many there are and how
    many are detected. choices: members of an ensemble that were searched on validation, by predictor.
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
    folder: Path | None = None

    @property
    def index(self) -> dict[str, int]:
        """Where each predictor is in the arrays."""
        return {name: at for at, name in enumerate(self.predictors)}


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


def read_run(path: Path) -> Run:
    """The run in the file `path`; ResultError when it is not there, damaged, incomplete or of another version."""
    try:
        result = decoder().decode(path.read_bytes())
        return _run(result, path.parent)
    except (OSError, msgspec.MsgspecError, ValueError, KeyError):
        return run_of(read_result(path), path.parent)  # says what is wrong; what it accepts is right


def run_of(result: RunResult, folder: Path | None = None) -> Run:
    """A validated result as a run."""
    return _run(decoder().decode(result.model_dump_json()), folder)


def _run(result: Any, folder: Path | None) -> Run:
    """From a decoded result; ValueError or KeyError where what msgspec does not check is wrong."""
    if datetime.fromisoformat(result.provenance.created).utcoffset() != timedelta(0):
        raise ValueError("created is not in UTC")
    found = list(result.predictors.values())
    test = [one.test for one in found]
    if any(ABSENT is one for measures in test for one in astuple(measures)):
        raise ValueError("missing metrics")
    subjects, by_subject = _subjects(found, folder)
    dataset = result.config.get("dataset")
    return Run(
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
        test=_measures(test),
        validation=_measures([one.validation for one in found]),
        seconds=np.array([one.seconds_per_image for one in found], dtype=float),
        subjects=subjects,
        by_subject=by_subject,
        groups=_groups(found),
        lesions=_lesions(found),
        created=result.provenance.created,
        device=result.provenance.device,
        ensemble_of=tuple(result.ensemble_of),
        choices={name: tuple(one.choice.members) for name, one in result.predictors.items() if one.choice is not None},
        folder=folder,
    )


def _measures(found: list[Any]) -> Array:
    """Value of each metric (P, M), NaN where there is none; ValueError for unordered bounds."""
    flat = list(chain.from_iterable(map(astuple, found)))
    bounds = [one.low for one in flat], [one.value for one in flat], [one.high for one in flat]
    low, value, high = np.array(bounds, dtype=float)
    if ((low > value + BOUND_SLACK) | (value > high + BOUND_SLACK) | (low > high + BOUND_SLACK)).any():
        raise ValueError("bounds out of order")
    return value.reshape(len(found), len(METRICS)).copy()


def _subjects(found: list[Any], folder: Path | None) -> tuple[tuple[str, ...], dict[str, Array]]:
    """Subjects in the order of the first predictor, and for each of PAIRED the values (P, S)."""
    names = [row.subject for row in found[0].subjects] if found else []
    values: dict[str, list[list[float | None]]] = {metric: [] for metric in PAIRED}
    for one in found:
        rows = one.subjects
        if [row.subject for row in rows] != names:
            by_name = {row.subject: row for row in rows}
            if by_name.keys() != set(names):
                raise ResultError(
                    f"{folder}: its predictors were scored on different subjects. Delete the result and run it again."
                )
            rows = [by_name[name] for name in names]
        values["dice"].append([row.dice for row in rows])
        values["ap"].append([row.ap for row in rows])
    shape = len(found), len(names)
    tables = {metric: np.array(rows, dtype=float).reshape(shape) for metric, rows in values.items()}
    return _shared(tuple(names)), tables


def _groups(found: list[Any]) -> dict[str, dict[str, Array]]:
    rows: dict[str, dict[str, list[Any]]] = {}
    for at, one in enumerate(found):
        for attribute, values in one.groups.items():
            of_attribute = rows.setdefault(_shared(attribute), {})
            for value, measures in values.items():
                of_attribute.setdefault(_shared(value), [MEASURES()] * len(found))[at] = measures
    return {
        attribute: {value: _measures(members) for value, members in values.items()}
        for attribute, values in rows.items()
    }


def _lesions(found: list[Any]) -> dict[tuple[int, int | None], Array]:
    rows: dict[tuple[int, int | None], list[tuple[int, int]]] = {}
    for at, one in enumerate(found):
        for row in one.lesions:
            rows.setdefault((row.smallest, row.largest), [(0, 0)] * len(found))[at] = row.lesions, row.detected
    return {size: np.array(members, dtype=float) for size, members in rows.items()}


def _facts(result: Any) -> dict[str, str]:
    facts = _flatten(result.config)
    for name in DIGESTS:
        facts[f"provenance.{name}"] = _shared(getattr(result.provenance, name))
    return facts


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
