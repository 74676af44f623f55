"""`anomaly-bench score`: how well maps localize anomalies that someone else's model made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data_modules.errors import DataError

from .errors import ConfigError
from .metrics import (
    Certified,
    LesionDetection,
    LocalizationCurve,
    SubjectCurves,
    find_regions,
    image_ap,
    image_auroc,
    image_f1_oracle,
    region_weight,
    top_k_mean,
)
from .score_files import Item, find, pair, partners, read_map, read_mask

Progress = Callable[[int, int], None]
Batch = tuple[Tensor, Tensor, Tensor]  # scores, mask and foreground, each (planes, H, W)


@dataclass(frozen=True)
class ScoreReport:
    """What a folder of maps reached.

    metrics: each with its certified bounds, None where it is undefined. intervals: 95 % bootstrap intervals over
    subjects, of the metrics that have one. subjects: rows as `SubjectCurves.rows` gives them, with names. lesions: rows
    as `LesionDetection.rows` gives them, empty without a threshold. threshold: the least score that is called
    anomalous, from normal maps, or None. counts: files, images, pixels, anomalous_pixels.
    """

    metrics: dict[str, Certified | None]
    intervals: dict[str, tuple[float, float] | None]
    subjects: list[dict[str, str | int | float | None]]
    lesions: list[dict[str, int | None]]
    threshold: float | None
    counts: dict[str, int]

    def rows(self) -> list[dict[str, str | float | None]]:
        """One row per metric: metric, value, low, high, ci_low, ci_high."""
        rows: list[dict[str, str | float | None]] = []
        for name, certified in self.metrics.items():
            value, low, high = certified or (None, None, None)
            ci_low, ci_high = self.intervals.get(name) or (None, None)
            rows.append(
                {"metric": name, "value": value, "low": low, "high": high, "ci_low": ci_low, "ci_high": ci_high}
            )
        return rows


@dataclass
class _Counts:
    """Everything that is counted of the maps."""

    curve: LocalizationCurve
    threshold: int | None
    image_share: float
    subjects: SubjectCurves = field(init=False)
    lesions: LesionDetection = field(default_factory=LesionDetection)
    scores: list[float] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.subjects = SubjectCurves(full_bits=self.curve.bits)

    def update(self, batch: Batch, subject: int) -> None:
        scores, mask, foreground = batch
        weight = region_weight(mask)
        self.curve.update(scores, mask, foreground, weight)
        if bool(self.curve.pivot.isnan()):
            return  # no file has had a pixel in the foreground so far
        ids = torch.full((len(scores),), subject)
        self.subjects.update(scores, mask, foreground, ids, float(self.curve.pivot), self.threshold, weight)
        if self.threshold is not None:
            called = torch.zeros_like(mask)
            called[foreground] = self.curve.keys(scores[foreground]) >= self.threshold
            self.lesions.update(called, find_regions(mask).within(foreground))
        seen = foreground.flatten(1).any(1)
        self.scores += top_k_mean(scores[seen], foreground[seen], self.image_share).tolist() if bool(seen.any()) else []
        self.labels += (mask & foreground)[seen].flatten(1).any(1).tolist()

    def metrics(self) -> dict[str, Certified | None]:
        exact = {
            "dice": None if self.threshold is None else self.curve.dice_at(self.threshold),
            "iou": None if self.threshold is None else self.curve.iou_at(self.threshold),
            "image_auroc": image_auroc(self.scores, self.labels),
            "image_ap": image_ap(self.scores, self.labels),
            "image_f1_oracle": image_f1_oracle(self.scores, self.labels),
        }
        certain = {name: None if value is None else Certified(value, value, value) for name, value in exact.items()}
        return self.curve.compute() | certain


def score(
    maps: Path,
    masks: Path,
    foreground: Path | None = None,
    normal_maps: Path | None = None,
    *,
    normal: Iterable[str] = (),
    missing_normal: bool = False,
    per_subject: str | None = None,
    fpr: float = 0.05,
    image_share: float = 0.01,
    exact: bool = False,
    resamples: int = 1000,
    progress: Progress | None = None,
) -> ScoreReport:
    """Score a folder of maps against a folder of masks, one file at a time.

    Args:
        maps, masks, foreground: folders; see `score_files.pair` for names, `score_files.read_map` for what files hold.
            A mask's pixels that are not zero are anomalous, a foreground's are those that count (all if not given).
        normal_maps: maps of other normal images. They set the threshold behind `dice`, `iou` and the lesions: the
            lowest at which at most the share `fpr` of their pixels is called anomalous.
        normal, missing_normal: which maps may lack a mask, for being normal.
        per_subject: a regular expression; what it finds in a map's path below `maps` (its group if it has one) names
            the subject. Without it every file is a subject of its own.
        image_share: an image's score is the mean of the highest share of its pixels; a slice is an image.
        exact: store all scores instead of histograms.
        resamples: of the bootstrap over subjects; 0 for none.
        progress: told files done and in all.

    Raises:
        DataError: names the files that are missing, cannot be read, do not fit each other, or hold NaN.
        ConfigError: the regular expression or a number is none.
    """
    items = pair(maps, masks, foreground, normal, missing_normal)
    names = _subjects(items, maps, per_subject)
    calm = _normal_items(normal_maps, foreground) if normal_maps else []
    report, total = progress or (lambda done, total: None), len(items) + len(calm)
    curve, threshold = LocalizationCurve(exact=exact), None
    if calm:
        for done, batch in enumerate(_batches(calm), start=1):
            curve.update(*batch)
            report(done, total)
        if not int(sum(curve.called_at(0)[:2])):
            raise DataError(f"{normal_maps}: no pixel of these maps lies in the foreground; check --foreground")
        threshold = curve.threshold_at_fpr(fpr)
        curve.reset()
    counts = _Counts(curve, threshold, image_share)
    ids = {name: at for at, name in enumerate(sorted(set(names)))}
    files = images = 0
    for batch, name in zip(_batches(items), names, strict=True):
        counts.update(batch, ids[name])
        files, images = files + 1, images + len(batch[0])
        report(len(calm) + files, total)
    back = dict(enumerate(ids))
    subjects = [{**row, "subject": back[int(row["subject"] or 0)]} for row in counts.subjects.rows()]
    pixels, anomalous = (sum(int(row[key] or 0) for row in subjects) for key in ("pixels", "anomalous_pixels"))
    return ScoreReport(
        metrics=counts.metrics(),
        intervals=dict(counts.subjects.bootstrap(resamples)) if resamples else {},
        subjects=subjects,
        lesions=[] if threshold is None else counts.lesions.rows(),
        threshold=None if threshold is None else curve.score_of(threshold),
        counts={"files": files, "images": images, "pixels": pixels, "anomalous_pixels": anomalous},
    )


def _normal_items(folder: Path, foreground: Path | None) -> list[Item]:
    found = find(folder, "maps")
    inside = partners(found, find(foreground, "foreground")) if foreground else {}
    if foreground and (outside := [str(path) for name, path in found.items() if name not in inside]):
        raise DataError(f"{folder}: no foreground in {foreground} for {', '.join(outside[:10])}; name them alike")
    return [Item(name, path, None, inside.get(name)) for name, path in found.items()]


def _batches(items: Sequence[Item]) -> Iterator[Batch]:
    """Scores, mask and foreground of each item. Raises DataError naming the file."""
    for item in items:
        values = read_map(item.map)
        # A map of floats keeps its type: float16 is exact, and float64 is rounded where it is counted.
        kept = values.dtype if values.dtype in (np.float16, np.float32) else np.float32
        scores = torch.from_numpy(np.array(values, dtype=kept, order="C"))
        mask = torch.zeros(scores.shape, dtype=torch.bool)
        if item.mask is not None:
            mask = torch.from_numpy(np.ascontiguousarray(read_mask(item.mask, item.map, values.shape)))
        inside = torch.ones_like(mask)
        if item.foreground is not None:
            inside = torch.from_numpy(np.ascontiguousarray(read_mask(item.foreground, item.map, values.shape)))
        bad = scores.isnan() & inside
        if bool(bad.any()):
            plane, row, column = bad.nonzero()[0].tolist()
            raise DataError(
                f"{item.map}: holds {int(bad.sum())} NaN, the first in plane {plane} at row {row}, column {column}; "
                "mend the map, or leave these pixels out of the foreground"
            )
        yield scores, mask, inside


def _subjects(items: Sequence[Item], maps: Path, expression: str | None) -> list[str]:
    """The subject of each item."""
    if expression is None:
        return [item.name for item in items]
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise ConfigError(f"--per-subject {expression}: is no regular expression ({error})") from error
    matches = {item.map: pattern.search(item.map.relative_to(maps).as_posix()) for item in items}
    found = {path: match and (match.group(1) if match.groups() else match.group()) for path, match in matches.items()}
    if lost := [str(path) for path, name in found.items() if not name]:
        raise DataError(
            f"--per-subject {expression}: finds no subject in {', '.join(lost[:10])} ({len(lost)} in all); "
            "the first parentheses, or else the whole expression, have to find its name in the path of every map"
        )
    return [name for name in found.values() if name]
