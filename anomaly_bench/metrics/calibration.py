"""Where a score stands among the scores of normal pixels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from anomaly_bench.metrics.histogram import score_keys
from anomaly_bench.metrics.localization import LocalizationCurve
from anomaly_bench.metrics.thresholds import mid_cdf


@dataclass(frozen=True)
class Calibration:
    """A distribution of scores over normal pixels, and with it the map of raw scores to shares.

    pivot and bits: of its histogram. shares (2**bits,) float32: for each bin, the share of normal pixels that score
    lower, ties counting half.
    """

    pivot: float
    bits: int
    shares: Tensor

    @classmethod
    def of(cls, curve: LocalizationCurve) -> Calibration:
        """The distribution of the normal pixels that a curve has counted; at 20 bits if the curve is exact.

        Raises:
            ValueError: it has counted none.
        """
        pivot, bits, normal = curve.normal_histogram()
        return cls(pivot, bits, mid_cdf(normal).float())

    def __call__(self, scores: Tensor) -> Tensor:
        """Each score's share of normal pixels that score lower: in [0, 1], same shape.

        Raises:
            ValueError: a score is NaN.
        """
        return self.shares[score_keys(scores, self.pivot, self.bits)]
