"""The schema of a result: what one run writes, once, and everything else reads. Imports no torch, no numpy."""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, field
from msgspec.structs import replace

from .json_file import Document, Record, read_document, write_document
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
MARGIN = 0.01  # of a metric: a difference that matters to nobody, unless the user says otherwise
# Over pixels of many subjects; recorded without each of them, too.
POOLED = ("auroc", "ap", "dice_oracle", "aupro", "dice")
FPRS = (0.0, *(10 ** (k / 10 - 4) for k in range(41)))  # false-positive rates at which curves are recorded
RECALLS = tuple(k / 40 for k in range(1, 41))  # and recalls
CURVES = {"recall": FPRS, "overlap": FPRS, "precision": RECALLS}
# What normal validation images alone say of a row; higher is better in each. `stability` is of several seeds together.
CRITERIA = ("synthetic_ap", "synthetic_auroc", "elbo", "iwae", "false_positives", "consistency", "stability")
FINGERPRINT = 256  # pixels of normal images whose ranks are recorded
RESULT_FILE = "result.json"  # in a run's folder
IMAGES_FILE = "images.csv"  # beside it: of each test image these columns, and its score by predictor
IMAGE_COLUMNS = ("subject", "slice", "anomalous")  # anomalous: 0 or 1
PANEL = "panel"  # under which a picture of maps holds its Panel
PIXELS = "metrics count foreground pixels only"
REMEDY = (
    "Move the run's folder away and start the same command again: `anomaly-bench bench` redoes only what has no result."
)
BOUND_SLACK = 1e-9  # a value may leave its certified interval by the rounding of the sums behind the two
KNOWN_METRICS = frozenset(METRICS)

Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]
Width = Annotated[float, Meta(ge=0)]
Rank = Literal["best", "worst", "between", ""]


def direction(metric: str) -> int:
    """1 where a higher value of the metric is better, -1 where a lower one is."""
    return -1 if metric in LOWER_IS_BETTER else 1


class Measure(Record, frozen=True):
    """A metric with the certified interval its histogram bins leave; value None where the metric is undefined.

    ci_low, ci_high: 95 % bootstrap interval over subjects, None where it was not computed.
    """

    value: float | None
    low: float | None
    high: float | None
    ci_low: float | None = None
    ci_high: float | None = None

    def __post_init__(self) -> None:
        low, value, high = self.low, self.value, self.high
        if value is None:
            ordered = low is None or high is None or low <= high + BOUND_SLACK
        else:
            ordered = (low is None or low <= value + BOUND_SLACK) and (high is None or value <= high + BOUND_SLACK)
        if not ordered:
            raise ValueError(f"expected low <= value <= high, got {low}, {value}, {high}")


class SubjectRow(Record, frozen=True):
    """One test subject under one predictor; counts are of foreground pixels over all its images.

    `attributes`: what the data says of the subject: category, age, sex, scanner, …
    """

    subject: str
    images: Count
    pixels: Count
    anomalous_pixels: Count
    dice: float | None
    ap: float | None
    auroc: float | None = None
    attributes: dict[str, str] = field(default_factory=dict)


class LesionRow(Record, frozen=True):
    """Detection of the lesions of one size class: `smallest` to `largest` pixels (None: no limit)."""

    smallest: Positive
    largest: int | None
    lesions: Count
    detected: Count


class SubsetChoice(Record, frozen=True):
    """Which members of an ensemble a search on validation chose, how they are combined, and what it was chosen from.

    `ap`: average precision over the `pixels` sampled there, `anomalous_pixels` of them anomalous: the highest of the `tried`
    combinations, hence optimistic. `by`: `synthetic` where no validation image is anomalous: normal ones with pasted anomalies.
    """

    members: Annotated[list[str], Meta(min_length=2)]
    how: str
    ap: float
    pixels: Positive
    anomalous_pixels: Positive
    tried: Positive
    by: Literal["validation", "synthetic"] = "validation"


class SmoothedRow(Record, frozen=True):
    """A row's maps with one width of smoothing, counted in fewer bins than the row itself.

    smooth: standard deviation of the Gaussian in pixels. validation, test: `auroc`, `ap`, `dice_oracle` and `aupro`; None
    where undefined.
    """

    smooth: Width
    validation: dict[str, float | None]
    test: dict[str, float | None]


class MapChoice(Record, frozen=True):
    """What of a row's map was chosen, and on what grounds.

    smooth: standard deviation in pixels of the Gaussian that the row's own figures have. smooth_by: `validation`, where it is
    the one of the highest average precision on validation images; `size`, where none of these is anomalous: 1/32 of the
    image's shorter side; `config`, where the config fixes it. sign: of a signed error, what is anomalous: `positive`, brighter
    than the model expects, or `negative`, darker. sign_by: `dataset`, as its YAML says beforehand (dataset.polarity), or one
    of the former. tried: every width that was measured, ascending.
    """

    smooth: Width
    smooth_by: Literal["config", "validation", "size"]
    sign: Literal["positive", "negative"] | None = None
    sign_by: Literal["config", "dataset", "validation"] | None = None
    tried: list[SmoothedRow] = field(default_factory=list)


class PredictorResult(Record, frozen=True, kw_only=True):
    """What one predictor reached: every metric of METRICS on test, any of them on validation, and each test subject.

    `own_metrics`: those of a user's own, all of them on test; higher is better in each. `criteria`: of CRITERIA, None where
    undefined; `elbo` and `iwae` are the model's, the same in all rows. `fingerprint`: ranks in 0..255 of the scores of at most
    FINGERPRINT pixels of normal images, the same pixels for all seeds of a split.
    `groups`: metrics of the test subjects that share a value of an attribute, by attribute and value. `converged`: of a
    projection, the share of test images whose steps had come to an end before its iterations had. `choice`: of an
    ensemble whose members were searched on validation. `map`: None of an ensemble, whose members have theirs. `without`: by
    metric (POOLED), for each of `subjects` its value over the pixels of all the others. `curves`: of the test, `recall` and
    mean `overlap` of regions at the false-positive rates FPRS, `precision` at the recalls RECALLS; those that are defined.
    """

    test: dict[str, Measure]
    validation: dict[str, Measure]
    subjects: list[SubjectRow]
    without: dict[str, list[float | None]] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    groups: dict[str, dict[str, dict[str, Measure]]] = field(default_factory=dict)
    lesions: list[LesionRow] = field(default_factory=list)
    seconds_per_image: Seconds
    converged: Annotated[float, Meta(ge=0, le=1)] | None = None
    choice: SubsetChoice | None = None
    map: MapChoice | None = None
    own_metrics: list[str] = field(default_factory=list)
    criteria: dict[str, float | None] = field(default_factory=dict)
    fingerprint: list[Annotated[int, Meta(ge=0, le=255)]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.criteria) - set(CRITERIA)):
            raise ValueError(f"criteria: unknown {unknown}; expected {list(CRITERIA)}")
        _check_known(self.test, "test", self.own_metrics)
        _check_known(self.validation, "validation", self.own_metrics)
        for metric, left in self.without.items():
            if metric not in POOLED or len(left) != len(self.subjects):
                raise ValueError(
                    f"without.{metric}: expected one of {POOLED}, a value for each subject, got {len(left)}"
                )
        for name, curve in self.curves.items():
            if len(curve) != len(CURVES.get(name, ())):
                raise ValueError(
                    f"curves.{name}: expected one of {list(CURVES)}, a value for each place, got {len(curve)}"
                )
        for attribute, values in self.groups.items():
            for value, measures in values.items():
                _check_known(measures, f"groups.{attribute}.{value}")
        if len(self.test) < len(METRICS) + len(self.own_metrics):
            missing = [name for name in (*METRICS, *self.own_metrics) if name not in self.test]
            raise ValueError(f"test: missing metrics {missing}; an undefined one is a Measure whose value is None")


def _check_known(measures: Iterable[str], where: str, own: Collection[str] = ()) -> None:
    if not KNOWN_METRICS.union(own).issuperset(measures):
        unknown = sorted(set(measures) - KNOWN_METRICS.union(own))
        raise ValueError(f"{where}: unknown metrics {unknown}; expected {list(METRICS)}")


class Provenance(Record, frozen=True):
    """Where a result comes from; `created` is a UTC ISO time, `durations` are seconds per phase.

    `own_code`: digests of packages outside this one that the config names by import path.
    """

    created: str
    versions: dict[str, str]
    git_revision: str | None
    source_digest: str
    device: str
    threads: Positive
    data_fingerprint: str
    split_digest: str
    durations: dict[str, float]
    own_code: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            offset = datetime.fromisoformat(self.created).utcoffset()
        except ValueError:
            offset = None
        if offset != timedelta(0):
            raise ValueError(
                f"created: expected an ISO time in UTC such as {datetime.now(UTC).isoformat()}, got {self.created}"
            )


class RunResult(Document, frozen=True, kw_only=True):
    """One run: its identity, its config, where it comes from, and what each predictor reached.

    `setting_id` is the hash of everything that defines the run but its seed: runs are averaged only within it. `beta`
    is in the raw unit (loss sums over pixels and latents), `beta_normalised` in that of Higgins et al. 2017 (by latent
    size / input size). `pixels` says which pixels the metrics count: PIXELS. `family` is the benchmark that the dataset
    is one or several categories of (mvtec_ad of mvtec_ad_bottle), `category` these, or None for a whole dataset. `ensemble_of`:
    the ids of the runs whose models an ensemble over seeds combines, all of this `setting_id`, `seed` being the first
    one's; empty for an ordinary run. `training`: of the model in the end, `epochs` and `best_epoch` among it. `curve`: `epoch`,
    and what was logged of each (`train/loss`, `val/elbo`, …). `left_out`: the rows that this model cannot have or that would
    equal another one, and why.
    """

    run_id: Text
    setting_id: Text
    dataset: Text
    family: str = ""
    category: str | None = None
    model: Text
    beta: float
    beta_normalised: float
    seed: int
    config: dict[str, Any]
    provenance: Provenance
    training: dict[str, float | int | None]
    pixels: Text
    predictors: dict[str, PredictorResult]
    ensemble_of: list[str] = field(default_factory=list)
    curve: dict[str, list[float | None]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


class PanelRow(Record, frozen=True):
    """A row of a picture of maps: which image it is, and how it stands among all images of the test.

    `ap`: of the map that decides; `rank`: "" while nothing decides. Of the map that the picture shows, in pixels of the
    foreground, None where it is not recorded: `own_ap`; `lesion`, how many are anomalous; at the threshold `found`, how many of
    these are called so, and `false`, how many others.
    """

    caption: str
    rank: Rank = ""
    ap: float | None = None
    own_ap: float | None = None
    lesion: Count | None = None
    found: Count | None = None
    false: Count | None = None


class Panel(Record, frozen=True, kw_only=True):
    """What a picture of maps says of itself: its rows, and in pixels where its tiles and its colour bar are.

    lefts: of the columns image, mask, reconstruction and maps; row k begins at `top` + k `step`; tile: width and height.
    bar: left, top, width and height of a bar, the highest scores at its top; labels, threshold: by their height in [0, 1].
    decided_by: the predictor whose AP the rows are chosen by; why: why this one, after a comma.
    """

    rows: Annotated[list[PanelRow], Meta(min_length=1)]
    decided_by: str = ""
    why: str = ""
    lefts: list[Count]
    top: Count
    step: Positive
    tile: tuple[Positive, Positive]
    bar: tuple[Count, Count, Positive, Positive] | None = None
    labels: list[tuple[float, str]] = field(default_factory=list)
    threshold: float | None = None


def best_is_last(training: Mapping[str, float | int | None]) -> bool:
    """Whether the best epoch of a training was its last; False where that is not recorded."""
    best = training.get("best_epoch")
    return best is not None and best == training.get("epochs")


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
    return _timeless(a) == _timeless(b)


def _timeless(result: RunResult) -> RunResult:
    predictors = {name: replace(row, seconds_per_image=0.0) for name, row in result.predictors.items()}
    provenance = replace(result.provenance, created="1970-01-01T00:00:00Z", durations={})
    return replace(result, provenance=provenance, predictors=predictors)
