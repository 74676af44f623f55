"""`anomaly-bench score`: how well maps localize anomalies that someone else's model made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.localization.tallies.tally import Tally
from anomaly_bench.metrics import Certified, ExactCurve, LocalizationCurve, find_regions, region_weight
from data_modules.base.batch import AnomalyBatch
from data_modules.base.errors import DataError
from leaderboard.record import Measure

from .maps import Array, read_foreground, read_map, read_mask
from .pairs import SHOWN, Folders, Item, pair, raise_all

Progress = Callable[[int, int], None]
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class ScoreReport:
    """What a folder of maps reached.

    metrics: each with its certified bounds, None where it is undefined. intervals: 95 % bootstrap intervals over
    subjects, of the metrics that have one. subjects: rows as `SubjectCurves.rows` gives them, with names. lesions: rows
    as `LesionDetection.rows` gives them, empty without a threshold. threshold: the least float32 score that is called
    anomalous in `dice` and `iou`, from normal maps, or None. oracle_threshold: the same of `dice_oracle`. Calling
    `map.astype(float32) >= threshold` anomalous gives that Dice exactly. counts: files, subjects, images (planes with
    foreground), anomalous_images, pixels and anomalous_pixels in the foreground, and anomalous_outside it, which count nowhere.
    """

    metrics: dict[str, Certified | None]
    intervals: dict[str, tuple[float, float] | None]
    subjects: list[dict[str, str | int | float | None]]
    lesions: list[dict[str, int | None]]
    threshold: float | None
    oracle_threshold: float | None
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


def score(
    maps: str | Path,
    masks: str | Path,
    foreground: str | Path | None = None,
    normal_maps: str | Path | None = None,
    *,
    normal: str | Iterable[str] = (),
    missing_normal: bool = False,
    mask_threshold: float | None = None,
    per_subject: str | None = None,
    fpr: float = 0.05,
    image_share: float = 0.01,
    exact: bool = False,
    resamples: int = 1000,
    progress: Progress | None = None,
) -> ScoreReport:
    """Score a folder of maps against a folder of masks, one file at a time.

    Args:
        maps, masks, foreground: folders; see `pairs.pair` for names, `maps.read_map` for what files hold.
            A foreground's pixels that are not zero are those that count (all if not given); outside it a pixel is
            neither normal nor anomalous, also for the label of its image.
        normal_maps: maps of other normal images. They set the threshold behind `dice`, `iou` and the lesions: the
            lowest at which at most the share `fpr` of their pixels is called anomalous.
        normal, missing_normal: which maps may lack a mask, for being normal.
        per_subject: a regular expression; what it finds in a map's path below `maps` (its group if it has one) names
            the subject. Without it every file is a subject of its own.
        mask_threshold: what a mask's grey, from 0 to 1, must exceed; not given: see `anomalous_in`.
        image_share: an image's score is the mean of the highest share of its pixels; a slice is an image.
        exact: store all scores instead of histograms.
        resamples: of the bootstrap over subjects; 0 for none.
        progress: told files done and in all.

    Raises:
        DataError: names all files (the first 10) that are missing, cannot be read, do not fit each other, hold NaN or
            have no foreground; or nothing is anomalous, or nothing normal.
        ConfigError: the regular expression or a number is none.
    """
    _check_numbers(fpr, image_share, resamples, mask_threshold)
    more = (None if folder is None else Path(folder) for folder in (foreground, normal_maps))
    folders = Folders(Path(maps), Path(masks), *more)
    items, calm = pair(folders, normal, missing_normal)
    names = _subjects(items, folders.maps, per_subject)
    ids = {name: index for index, name in enumerate(sorted(set(names)))}
    subject = {item.map: ids[name] for item, name in zip(items, names, strict=True)}
    curve, threshold = ExactCurve() if exact else LocalizationCurve(), None
    work = _Work(len(items) + len(calm), progress or (lambda done, total: None), [], mask_threshold)
    work.through(calm, lambda item, loaded: curve.update(*loaded))
    if calm and not work.problems:
        threshold = curve.threshold_at_fpr(fpr)
        curve.reset()
    tally, outside = Tally("maps", curve, image_share, threshold, per_subject=True), 0

    def count(item: Item, loaded: Loaded) -> None:
        nonlocal outside
        outside += int((loaded.mask & ~loaded.foreground).sum())
        _count(tally, loaded, subject[item.map], item.map)

    work.through(items, count, len(calm))
    raise_all(work.problems)
    anomalous, healthy, _ = curve.called_at(0)
    if not (anomalous and healthy):
        said = "no pixel that counts is anomalous" if healthy else "every pixel that counts is anomalous"
        raise DataError(f"--masks {masks}: {said}, so nothing can be scored; check that masks are 0 where normal alone")
    return _report(tally, list(ids), resamples, len(items), outside)


class Loaded(NamedTuple):
    """What a map, its mask and its foreground hold, each (planes, H, W)."""

    scores: Tensor
    mask: Tensor
    foreground: Tensor


class _Work(NamedTuple):
    """Files to go through, and what is wrong with them."""

    total: int
    progress: Progress
    problems: list[DataError]
    mask_threshold: float | None

    def through(self, items: Sequence[Item], use: Callable[[Item, Loaded], None], before: int = 0) -> None:
        """Hand what is in every item to `use`; after the first problem only look for more, up to SHOWN."""
        for done, item in enumerate(items, start=before + 1):
            if len(self.problems) >= SHOWN:
                return
            try:
                loaded = _load(item, self.mask_threshold)
                if not self.problems:
                    use(item, loaded)
            except DataError as error:
                self.problems.append(error)
            self.progress(done, self.total)


def _load(item: Item, mask_threshold: float | None) -> Loaded:
    """Scores, mask and foreground of an item. Raises DataError naming the file."""
    values = read_map(item.map, item.mask)
    scores = torch.from_numpy(_as_counted(values, item.map))
    mask, inside = torch.zeros(scores.shape, dtype=torch.bool), torch.ones(scores.shape, dtype=torch.bool)
    if item.mask is not None:
        pixels = read_mask(item.mask, item.map, values.shape, threshold=mask_threshold)
        mask = torch.from_numpy(np.ascontiguousarray(pixels))
    if item.foreground is not None:
        pixels = read_foreground(item.foreground, item.map, values.shape, item.mask or item.map)
        if not pixels.any():
            remedy = f"set some, or leave {item.map} out"
            raise DataError(f"{item.foreground}: no pixel is set, so nothing of its map would count; {remedy}")
        inside = torch.from_numpy(np.ascontiguousarray(pixels))
    bad = scores.isnan() & inside
    if bool(bad.any()):
        plane, row, column = bad.nonzero()[0].tolist()
        raise DataError(
            f"{item.map}: holds {int(bad.sum())} NaN, the first in plane {plane} at row {row}, column {column}; "
            "mend the map, or leave these pixels out of the foreground"
        )
    return Loaded(scores, mask, inside)


def _as_counted(values: Array, path: Path) -> Array:
    """Scores as floats that rank as the file's numbers do, in this machine's order of bytes.

    Floats keep their type, whole numbers become the float32 or float64 that holds them. Raises DataError for finite
    scores that are infinite in float32.
    """
    kind, size = values.dtype.kind, values.dtype.itemsize
    kept = np.dtype(np.float64 if size > (4 if kind == "f" else 2) else np.float32)
    if kind == "f" and size <= 4:
        kept = values.dtype.newbyteorder("=")
    scores = np.array(values, dtype=kept, order="C")
    if scores.dtype == np.float64 and bool((np.isfinite(scores) & (np.abs(scores) > LARGEST)).any()):
        raise DataError(
            f"{path}: holds finite scores beyond ±{LARGEST:.2g}, which cannot be ranked; take their logarithm"
        )
    return scores


def _count(tally: Tally, loaded: Loaded, subject: int, path: Path) -> None:
    """Count the planes of a file. Raises DataError naming `path`."""
    scores, mask, foreground = (part.unsqueeze(1) for part in loaded)
    batch = AnomalyBatch(
        image=scores,
        mask=mask,
        foreground=foreground,
        region_weight=region_weight(mask),
        subject=torch.full((len(scores),), subject),
        slice=torch.arange(len(scores)),
    )
    try:
        # what is left of NaN lies outside of the foreground, where nothing counts
        tally.update(scores.masked_fill(scores.isnan(), 0.0), 0.0, batch, find_regions(mask).within(foreground))
    except ValueError as error:
        said = f"has both +inf and -inf among the highest {tally.image_share:.3g} of an image's scores"
        raise DataError(f"{path}: {said}, which have no mean; clip the map to finite scores") from error


def _report(tally: Tally, names: list[str], resamples: int, files: int, outside: int) -> ScoreReport:
    rows, curve, threshold = tally.subjects.rows(), tally.curve, tally.threshold
    pixels, anomalous = (sum(int(row[key] or 0) for row in rows) for key in ("pixels", "anomalous_pixels"))
    return ScoreReport(
        metrics={name: _certified(measure) for name, measure in tally.measures().items()},
        intervals=dict(tally.subjects.bootstrap(resamples)) if resamples else {},
        subjects=[{**row, "subject": names[int(row["subject"] or 0)]} for row in rows],
        lesions=[] if threshold is None else tally.lesions.rows(),
        threshold=None if threshold is None else curve.score_of(threshold),
        oracle_threshold=curve.dice_oracle_threshold(),
        counts={
            "files": files,
            "subjects": len(names),
            "images": len(tally.labels),
            "anomalous_images": sum(tally.labels),
            "pixels": pixels,
            "anomalous_pixels": anomalous,
            "anomalous_outside": outside,
        },
    )


def _certified(measure: Measure) -> Certified | None:
    if measure.value is None or measure.low is None or measure.high is None:
        return None
    return Certified(measure.value, measure.low, measure.high)


def _subjects(items: Sequence[Item], maps: Path, expression: str | None) -> list[str]:
    """The subject of each item."""
    if expression is None:
        return [item.name for item in items]
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise ConfigError(
            f"--per-subject {expression}: is no regular expression ({error}); for folders per subject: '^[^/]+'"
        ) from error
    matches = {item.map: pattern.search(item.map.relative_to(maps).as_posix()) for item in items}
    names = {path: match and (match.group(1) if match.groups() else match.group()) for path, match in matches.items()}
    if lost := [str(path) for path, name in names.items() if not name]:
        raise DataError(
            f"--per-subject {expression}: finds no subject in {', '.join(lost[:SHOWN])} ({len(lost)} in all); "
            "the first parentheses, or else the whole expression, have to find its name in the path of every map"
        )
    return [name for name in names.values() if name]


def _check_numbers(fpr: float, image_share: float, resamples: int, mask_threshold: float | None) -> None:
    for name, value in (("fpr", fpr), ("image_share", image_share)):
        if not 0 < value <= 1:
            raise ConfigError(f"{name}: expected a share in (0, 1], got {value}; give 0.05, say")
    if resamples < 0:
        raise ConfigError(f"resamples: expected 0 or more, got {resamples}; give 0 for no intervals")
    if mask_threshold is not None and not 0 <= mask_threshold < 1:
        raise ConfigError(f"mask_threshold: expected a grey from 0 to less than 1, got {mask_threshold}; give 0.5, say")
