"""What is counted of one predictor in one pass over a set of images."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from data_modules.batch import AnomalyBatch
from leaderboard.record import Measure, PredictorResult, SubjectRow

from ..metrics import LocalizationCurve, SubjectCurves, image_ap, image_auroc, top_k_mean
from ..metrics.curves import Certified
from ..metrics.histogram import score_keys
from ..metrics.thresholds import mid_cdf


class NotANumberError(ValueError):
    """A predictor's map holds NaN; the message names predictor, subject and slice."""


@dataclass(frozen=True)
class Calibration:
    """A predictor's distribution of scores over normal validation pixels.

    pivot and bits: of the histogram; shares (2**bits,) float32: for each bin, the share of normal pixels that score lower.
    """

    pivot: float
    bits: int
    shares: Tensor

    @classmethod
    def of(cls, curve: LocalizationCurve) -> Calibration:
        """The distribution of the normal pixels that a curve has counted."""
        return cls(float(curve.pivot), curve.bits, mid_cdf(curve.normal).float())

    def __call__(self, score: Tensor) -> Tensor:
        """Each score's share of normal pixels that score lower, ties counting half: in [0, 1], same shape."""
        return self.shares[score_keys(score, self.pivot, self.bits)[0]]


@dataclass
class Tally:
    """One predictor's pixel histograms, image scores and, if asked for, per-subject counts.

    threshold: the bin at and above which a pixel is called anomalous, if it is known already.
    """

    name: str
    curve: LocalizationCurve
    image_share: float
    threshold: int | None = None
    per_subject: bool = False
    seconds: float = 0.0
    scores: list[float] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    subjects: SubjectCurves = field(init=False)

    def __post_init__(self) -> None:
        self.subjects = SubjectCurves(full_bits=self.curve.bits)

    def update(self, score: Tensor, seconds: float, batch: AnomalyBatch) -> None:
        """Count a batch's map (B, 1, H, W). Raises NotANumberError."""
        if torch.isnan(score).any():
            bad = int(torch.isnan(score).flatten(1).any(1).nonzero()[0])
            raise NotANumberError(
                f"predictor {self.name}: its map of subject {int(batch['subject'][bad])}, "
                f"slice {int(batch['slice'][bad])} holds NaN"
            )
        self.curve.update(score, batch["mask"], batch["foreground"], batch["region_weight"])
        if self.per_subject and self.threshold is not None:
            self.subjects.update(
                score, batch["mask"], batch["foreground"], batch["subject"], float(self.curve.pivot), self.threshold
            )
        self.scores += top_k_mean(score, batch["foreground"], self.image_share).tolist()
        self.labels += batch["mask"].flatten(1).any(1).tolist()
        self.seconds += seconds

    def measures(self) -> dict[str, Measure]:
        """Every metric of the images counted so far; an undefined one has no value."""
        dice = None if self.threshold is None else self.curve.dice_at(self.threshold)
        return {
            **{name: _measure(certified) for name, certified in self.curve.compute().items()},
            "dice": _exact(dice),
            "image_auroc": _exact(image_auroc(self.scores, self.labels)),
            "image_ap": _exact(image_ap(self.scores, self.labels)),
        }

    def result(self, validation: dict[str, Measure], names: list[str]) -> PredictorResult:
        """The record of this predictor, given its validation measures and the subjects' names by id."""
        rows = [SubjectRow(**{**row, "subject": names[int(row["subject"] or 0)]}) for row in self.subjects.rows()]  # type: ignore[arg-type]
        seconds = self.seconds / max(len(self.scores), 1)
        return PredictorResult(test=self.measures(), validation=validation, subjects=rows, seconds_per_image=seconds)


def _measure(certified: Certified | None) -> Measure:
    if certified is None:
        return _exact(None)
    return Measure(value=certified.value, low=certified.low, high=certified.high)


def _exact(value: float | None) -> Measure:
    return Measure(value=value, low=value, high=value)
