"""The schema of a result: what one run writes, once, and everything else reads. Imports no torch, no numpy."""

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, model_validator

from .json_file import SCHEMA_VERSION, Document, read_document, write_document
from .json_file import ResultError as ResultError

METRICS = (
    "auroc",
    "ap",
    "dice",
    "dice_oracle",
    "iou",
    "iou_oracle",
    "aupro",
    "aupro_05",
    "fpr95",
    "sensitivity_90",
    "sensitivity_95",
    "sensitivity_99",
    "image_auroc",
    "image_ap",
    "image_f1_oracle",
)
LOWER_IS_BETTER = ("fpr95",)
PIXELS = "metrics count foreground pixels only"
REMEDY = "Delete the file and start the same command again: `make bench` redoes only the runs that have no result."
BOUND_SLACK = 1e-9  # a value may leave its certified interval by the rounding of the sums behind the two
TIMES: dict[str, Any] = {"provenance": {"created", "durations"}, "predictors": {"__all__": {"seconds_per_image"}}}


class Measure(Document):
    """A metric with the certified interval its histogram bins leave; value None where the metric is undefined.

    ci_low, ci_high: 95 % bootstrap interval over subjects, None where it was not computed.
    """

    value: float | None
    low: float | None
    high: float | None
    ci_low: float | None = None
    ci_high: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> "Measure":
        bounds = [bound for bound in (self.low, self.value, self.high) if bound is not None]
        if any(left > right + BOUND_SLACK for left, right in pairwise(bounds)):
            raise ValueError(f"expected low <= value <= high, got {self.low}, {self.value}, {self.high}")
        return self


class SubjectRow(Document):
    """One test subject under one predictor; counts are of foreground pixels over all its images.

    `attributes`: what the data says of the subject: category, age, sex, scanner, …
    """

    subject: str
    images: NonNegativeInt
    pixels: NonNegativeInt
    anomalous_pixels: NonNegativeInt
    dice: float | None
    ap: float | None
    attributes: dict[str, str] = Field(default_factory=dict)


class LesionRow(Document):
    """Detection of the lesions of one size class: `smallest` to `largest` pixels (None: no limit)."""

    smallest: int = Field(ge=1)
    largest: int | None
    lesions: NonNegativeInt
    detected: NonNegativeInt


class SubsetChoice(Document):
    """Which members of an ensemble a search on validation chose, how they are combined, and what it was chosen from.

    `ap`: average precision over the `pixels` sampled there, `anomalous_pixels` of them anomalous: the highest of the `tried`
    combinations, hence optimistic.
    """

    members: list[str] = Field(min_length=2)
    how: str
    ap: float
    pixels: int = Field(ge=1)
    anomalous_pixels: int = Field(ge=1)
    tried: int = Field(ge=1)


def _known_metrics(measures: dict[str, Measure]) -> dict[str, Measure]:
    unknown = sorted(set(measures) - set(METRICS))
    if unknown:
        raise ValueError(f"unknown metrics {unknown}; expected {list(METRICS)}")
    return measures


def _all_metrics(measures: dict[str, Measure]) -> dict[str, Measure]:
    missing = [name for name in METRICS if name not in measures]
    if missing:
        raise ValueError(f"missing metrics {missing}; an undefined one is a Measure whose value is None")
    return measures


SomeMeasures = Annotated[dict[str, Measure], AfterValidator(_known_metrics)]
AllMeasures = Annotated[SomeMeasures, AfterValidator(_all_metrics)]


class PredictorResult(Document):
    """What one predictor reached: every metric of METRICS on test, any of them on validation, and each test subject.

    `groups`: metrics of the test subjects that share a value of an attribute, by attribute and value. `choice`: of an
    ensemble whose members were searched on validation.
    """

    test: AllMeasures
    validation: SomeMeasures
    subjects: list[SubjectRow]
    groups: dict[str, dict[str, SomeMeasures]] = Field(default_factory=dict)
    lesions: list[LesionRow] = Field(default_factory=list)
    seconds_per_image: float = Field(ge=0)
    choice: SubsetChoice | None = None


def _utc(created: str) -> str:
    if datetime.fromisoformat(created).utcoffset() != timedelta(0):
        raise ValueError(f"expected an ISO time in UTC such as {datetime.now(UTC).isoformat()}, got {created}")
    return created


class Provenance(Document):
    """Where a result comes from; `created` is a UTC ISO time, `durations` are seconds per phase."""

    created: Annotated[str, AfterValidator(_utc)]
    versions: dict[str, str]
    git_revision: str | None
    source_digest: str
    device: str
    threads: int = Field(ge=1)
    data_fingerprint: str
    split_digest: str
    durations: dict[str, float]


def _strict_json(value: Any, where: str = "config") -> Any:
    """`value` unchanged; ValueError names the first entry that JSON would refuse, or give back as something else."""
    if isinstance(value, dict):
        for key, entry in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{where} has the key {key!r}; expected a string")
            _strict_json(entry, f"{where}.{key}")
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            _strict_json(entry, f"{where}[{index}]")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}; expected a finite number")
    elif value is not None and not isinstance(value, str | int):
        raise ValueError(f"{where} is a {type(value).__name__}; expected a JSON type (a tuple becomes a list)")
    return value


class RunResult(Document):
    """One run: its identity, its config, where it comes from, and what each predictor reached.

    `setting_id` is the hash of everything that defines the run but its seed: runs are averaged only within it. `beta`
    is in the raw unit (loss sums over pixels and latents), `beta_normalised` in that of Higgins et al. 2017 (by latent
    size / input size). `pixels` says which pixels the metrics count: PIXELS. `family` is the benchmark that the dataset
    is one or several categories of (mvtec_ad of mvtec_ad_bottle), `category` these, or None for a whole dataset. `ensemble_of`:
    the ids of the runs whose models an ensemble over seeds combines, all of this `setting_id`, `seed` being the first
    one's; empty for an ordinary run.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    run_id: str = Field(min_length=1)
    setting_id: str = Field(min_length=1)
    dataset: str = Field(min_length=1)
    family: str = ""
    category: str | None = None
    model: str = Field(min_length=1)
    beta: float
    beta_normalised: float
    seed: int
    config: Annotated[dict[str, Any], AfterValidator(_strict_json)]
    provenance: Provenance
    training: dict[str, float | int | None]
    pixels: str = Field(min_length=1)
    predictors: dict[str, PredictorResult]
    ensemble_of: list[str] = Field(default_factory=list)


def read_result(path: Path) -> RunResult:
    """The result in the file `path`; ResultError when it is not there, damaged, incomplete or of another version."""
    return read_document(path, RunResult, REMEDY)


def write_result(result: RunResult, path: Path) -> None:
    """Write `result` atomically; a file that already holds the same result (see `comparable`) is left as it is.

    ResultError when `path` holds a different or damaged result: a result is never overwritten.
    """
    if not path.exists():
        write_document(result, path)
    elif not comparable(existing := read_result(path), result):
        raise ResultError(
            f"{path}: already holds a different result (run {existing.run_id}; this one is {result.run_id}). "
            "Results are never overwritten: move that folder away, or run into another one."
        )


def comparable(a: RunResult, b: RunResult) -> bool:
    """Whether two results are equal in all but time: `created`, `durations` and `seconds_per_image` may differ."""
    return a.model_dump(exclude=TIMES) == b.model_dump(exclude=TIMES)
