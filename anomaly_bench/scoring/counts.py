"""Everything that is counted of the maps in files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from anomaly_bench.metrics import (
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
from data_modules.base.errors import DataError

Batch = tuple[Tensor, Tensor, Tensor]  # scores, mask and foreground, each (planes, H, W)


@dataclass
class Counts:
    """Histograms, image scores and labels, lesions, and counts per subject.

    threshold: the bin at and above which a pixel is called anomalous, if there is one.
    """

    curve: LocalizationCurve
    threshold: int | None
    image_share: float
    subjects: SubjectCurves = field(init=False)
    lesions: LesionDetection = field(default_factory=LesionDetection)
    scores: list[float] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    outside: int = 0

    def __post_init__(self) -> None:
        self.subjects = SubjectCurves(full_bits=self.curve.bits)

    def update(self, batch: Batch, subject: int, path: Path) -> None:
        """Count the foreground of a file's planes; those without any are left out. Raises DataError naming `path`."""
        scores, mask, foreground = batch
        seen = foreground.flatten(1).any(1)
        try:
            image_scores = top_k_mean(scores[seen], foreground[seen], self.image_share)
        except ValueError as error:  # there is foreground and no NaN, so this is left
            said = f"has both +inf and -inf among the highest {self.image_share:.3g} of an image's scores"
            raise DataError(f"{path}: {said}, which have no mean; clip the map to finite scores") from error
        weight = region_weight(mask)
        self.curve.update(scores, mask, foreground, weight)
        ids = torch.full((len(scores),), subject)
        self.subjects.update(scores, mask, foreground, ids, float(self.curve.pivot), self.threshold, weight)
        if self.threshold is not None:
            called = torch.zeros_like(mask)
            called[foreground] = self.curve.keys(scores[foreground]) >= self.threshold
            self.lesions.update(called, find_regions(mask).within(foreground))
        self.scores += image_scores.tolist()
        self.labels += (mask & foreground)[seen].flatten(1).any(1).tolist()
        self.outside += int((mask & ~foreground).sum())

    def metrics(self) -> dict[str, Certified | None]:
        """Every metric of what was counted, None where it is undefined."""
        exact = {
            "dice": None if self.threshold is None else self.curve.dice_at(self.threshold),
            "iou": None if self.threshold is None else self.curve.iou_at(self.threshold),
            "image_auroc": image_auroc(self.scores, self.labels),
            "image_ap": image_ap(self.scores, self.labels),
            "image_f1_oracle": image_f1_oracle(self.scores, self.labels),
        }
        certain = {name: None if value is None else Certified(value, value, value) for name, value in exact.items()}
        return self.curve.compute() | certain
