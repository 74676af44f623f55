"""What is counted of one predictor in one pass over a set of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor

from anomaly_bench.metrics import (
    LesionDetection,
    LocalizationCurve,
    OwnMetric,
    Regions,
    SubjectCurves,
    formulas,
    image_ap,
    image_auroc,
    image_f1_oracle,
    top_k_mean,
)
from anomaly_bench.metrics.bins import keys_of
from anomaly_bench.metrics.formulas import Array, Certified
from anomaly_bench.metrics.images import at_most, highest, mean_of_highest
from anomaly_bench.metrics.subjects.on_device import Block
from anomaly_bench.metrics.transfers import together
from anomaly_bench.models.processes import of_all_processes
from anomaly_bench.predictors.stopwatch import Seconds, folded
from data_modules.base.batch import AnomalyBatch
from leaderboard.record import FPRS, RECALLS, LesionRow, MapChoice, Measure, PredictorResult, SubjectRow, SubsetChoice

from .waiting import Batch, Waiting

# An attribute with more values than this (an age, a file's name) makes no groups; a category always does.
MAX_GROUPS = 30


class NotANumberError(ValueError):
    """A predictor's map holds NaN; the message names predictor, subject and slice."""


@dataclass
class Tally:
    """One predictor's pixel histograms, image scores and, if asked for, counts per subject and per lesion.

    threshold: the bin at and above which a pixel is called anomalous, if it is known already; without one there are no counts
    per lesion. image_share: an image's score is the mean of the highest share of its foreground pixels. own: a user's
    metrics by name, of nothing yet. converged: of each image, of an iterative predictor that says so.
    """

    name: str
    curve: LocalizationCurve
    image_share: float
    threshold: int | None = None
    per_subject: bool = False
    own: Mapping[str, OwnMetric] = field(default_factory=dict)
    seconds: Seconds = 0.0
    scores: list[float] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    slices: list[int] = field(default_factory=list)
    converged: list[bool] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    subjects: SubjectCurves = field(init=False)
    lesions: LesionDetection = field(default_factory=LesionDetection)

    def __post_init__(self) -> None:
        self.subjects = SubjectCurves(full_bits=self.curve.bits)

    def update(self, score: Tensor, seconds: Seconds, batch: AnomalyBatch, regions: Regions | None) -> None:
        """Count a batch's map (B, 1, H, W); `regions` are those of its mask, if lesions count.

        An image without foreground has no score. Raises NotANumberError, and ValueError for an image whose highest scores
        have no mean.
        """
        if torch.isnan(score).any():
            bad = int(torch.isnan(score).flatten(1).any(1).nonzero()[0])
            raise NotANumberError(
                f"predictor {self.name}: its map of subject {int(batch['subject'][bad])}, "
                f"slice {int(batch['slice'][bad])} holds NaN"
            )
        mask, foreground, weight = batch["mask"], batch["foreground"], batch["region_weight"]
        self.curve.update(score, mask, foreground, weight)
        for metric in self.own.values():
            metric.update(score, mask, foreground)
        if self.per_subject:
            pivot = float(self.curve.pivot)
            self.subjects.update(score, mask, foreground, batch["subject"], pivot, self.threshold, weight)
            if regions is not None and self.threshold is not None:
                self.lesions.update(self.curve.keys(score) >= self.threshold, regions)
        seen = foreground.flatten(1).any(1)
        if seen.any():
            self.scores += top_k_mean(score[seen], foreground[seen], self.image_share).tolist()
        self.labels += (mask & foreground)[seen].flatten(1).any(1).tolist()
        self.owners += batch["subject"][seen].tolist()
        self.slices += batch["slice"][seen].tolist()
        self.seconds = folded(self.seconds + seconds)

    def update_there(self, score: Tensor, seconds: Seconds, batch: Batch) -> None:
        """`update` on the device of the map, which nobody waits for; `read` has the rest. A NaN is told of there."""
        self.curve.update(score, batch["mask"], batch["foreground"], batch["region_weight"])
        if self.own:
            home = together([score, batch["mask"], batch["foreground"]])
            for metric in self.own.values():
                metric.update(*home)
        called = None
        if self.per_subject:
            pivot = float(self.curve.pivot)
            parts = (batch[key] for key in ("mask", "foreground", "region_weight", "subject"))
            self.subjects.update_there(Block(score, *parts), pivot, self.threshold)
            if self.threshold is not None:
                called = keys_of(score, pivot, self.curve.bits) >= self.threshold
        top = highest(score, batch["foreground"], at_most(score[0].numel(), self.image_share))
        self.waiting.append(Waiting(batch, top, score.isnan().flatten(1).any(1), called))
        for earlier in self.waiting[:-1]:  # whose masks have come over meanwhile
            earlier.cover()
        self.seconds = folded(self.seconds + seconds)

    def take(self, waiting: Waiting, top: Tensor, nan: Tensor, covered: Tensor) -> None:
        """What a batch on a device gave, in main memory. Raises as `update`."""
        facts = waiting.batch.facts
        if nan.any():
            bad = int(nan.nonzero()[0])
            raise NotANumberError(
                f"predictor {self.name}: its map of subject {int(facts.subject[bad])}, slice {int(facts.slice[bad])} holds NaN"
            )
        seen = facts.size > 0
        if seen.any():
            self.scores += mean_of_highest(top[seen], facts.size[seen], self.image_share).tolist()
        self.labels += facts.label[seen].tolist()
        self.owners += facts.subject[seen].tolist()
        self.slices += facts.slice[seen].tolist()
        if waiting.covered is not None:
            self.lesions.add(covered.numpy(), waiting.batch.regions.sizes)

    def merge(self, other: Tally) -> None:
        """Add what another process counted of other images with the same predictor.

        Raises:
            ValueError: its bins, pivot or threshold differ.
        """
        mine, theirs = (self.name, self.threshold), (other.name, other.threshold)
        if mine != theirs:
            raise ValueError(f"expected a tally of (predictor, threshold) {mine}, got {theirs}")
        self.curve.merge_state(other.curve)
        for name, metric in self.own.items():
            metric.merge(other.own[name])
        self.subjects.merge(other.subjects)
        self.lesions.merge(other.lesions)
        self.scores += other.scores
        self.labels += other.labels
        self.owners += other.owners
        self.slices += other.slices
        self.converged += other.converged
        self.seconds += other.seconds

    def gathered(self) -> Tally:
        """Of a distributed run, what all its processes counted, the same in each, which have to call this together."""
        self.seconds = float(self.seconds)  # events of a GPU are of its process
        total, *others = of_all_processes(self)
        for other in others:
            total.merge(other)
        for name, metric in self.own.items():
            total.own[name].function = metric.function
        return total

    def measures(
        self, intervals: Mapping[str, tuple[float, float] | None] = MappingProxyType({})
    ) -> dict[str, Measure]:
        """Every metric of the images counted so far; an undefined one has no value. intervals: over subjects, by metric."""
        threshold = self.threshold
        measures = {
            **{name: _measure(certified) for name, certified in self.curve.compute().items()},
            "dice": _exact(None if threshold is None else self.curve.dice_at(threshold)),
            "iou": _exact(None if threshold is None else self.curve.iou_at(threshold)),
            **_image_measures(self.scores, self.labels),
            **{name: metric.measure(self.curve) for name, metric in self.own.items()},
        }
        for name, interval in intervals.items():
            if interval is not None and measures[name].value is not None:
                measures[name] = replace(measures[name], ci_low=interval[0], ci_high=interval[1])
        return measures

    def result(
        self,
        validation: dict[str, Measure],
        names: Mapping[int, str],
        attributes: Mapping[int, Mapping[str, str]],
        resamples: int,
        choice: SubsetChoice | None = None,
        finishing: MapChoice | None = None,
    ) -> PredictorResult:
        """The record of this predictor, given its validation measures, and the subjects' names and attributes by id.

        choice: what it was searched to be. finishing: how its maps are smoothed, and their sign.
        """
        ids = self.subjects.subjects
        intervals, without = self.subjects.bootstrap_and_without(resamples)
        rows = []
        for row in self.subjects.rows():
            subject = int(row["subject"] or 0)
            rows.append(SubjectRow(**{**row, "subject": names[subject], "attributes": dict(attributes[subject])}))  # type: ignore[arg-type]
        groups = {
            attribute: {value: self._pooled(members) for value, members in values.items()}
            for attribute, values in groups_of(ids, attributes).items()
        }
        return PredictorResult(
            test=self.measures(intervals),
            validation=validation,
            subjects=rows,
            without={name: _rounded(values) for name, values in without.items()},
            curves=self._curves(),
            groups=groups,
            lesions=[LesionRow(**row) for row in self.lesions.rows()],  # type: ignore[arg-type]
            seconds_per_image=float(self.seconds) / max(len(self.scores), 1),
            converged=sum(self.converged) / len(self.converged) if self.converged else None,
            choice=choice,
            map=finishing,
            own_metrics=list(self.own),
        )

    def _curves(self) -> dict[str, list[float]]:
        normal, anomalous, region, _ = self.curve.descending()
        known = {
            "recall": formulas.at_fpr(normal, anomalous, np.array(FPRS)),
            "overlap": formulas.at_fpr(normal, region, np.array(FPRS)),
            "precision": formulas.at_recall(normal, anomalous, np.array(RECALLS)),
        }
        return {name: values.round(4).tolist() for name, values in known.items() if values is not None}

    def _pooled(self, members: list[int]) -> dict[str, Measure]:
        chosen = set(members)
        images = [index for index, owner in enumerate(self.owners) if owner in chosen]
        return {
            **{name: _measure(certified) for name, certified in self.subjects.pooled(members).items()},
            **_image_measures([self.scores[index] for index in images], [self.labels[index] for index in images]),
        }


def groups_of(ids: Sequence[int], attributes: Mapping[int, Mapping[str, str]]) -> dict[str, dict[str, list[int]]]:
    """The subjects of each value of each attribute that has between 2 and MAX_GROUPS values; attributes: by id.

    A category may have more.
    """
    groups: dict[str, dict[str, list[int]]] = {}
    for subject in ids:
        for attribute, value in attributes[subject].items():
            groups.setdefault(attribute, {}).setdefault(value, []).append(subject)
    return {
        name: dict(sorted(values.items()))
        for name, values in groups.items()
        if len(values) > 1 and (len(values) <= MAX_GROUPS or name == "category")
    }


def _rounded(values: Array) -> list[float | None]:
    """None for NaN; to a billionth, far less than a subject's part in any metric."""
    return [None if value != value else round(value, 9) for value in values.tolist()]


def _image_measures(scores: list[float], labels: list[bool]) -> dict[str, Measure]:
    metrics = {"image_auroc": image_auroc, "image_ap": image_ap, "image_f1_oracle": image_f1_oracle}
    return {name: _exact(metric(scores, labels)) for name, metric in metrics.items()}


def _measure(certified: Certified | None) -> Measure:
    if certified is None:
        return _exact(None)
    return Measure(value=certified.value, low=certified.low, high=certified.high)


def _exact(value: float | None) -> Measure:
    return Measure(value=value, low=value, high=value)
