"""Everything that a curve tells, read off its descending histograms or, at a threshold, off two counts."""

from __future__ import annotations

from abc import ABC, abstractmethod

from anomaly_bench.metrics import curves, operating
from anomaly_bench.metrics.curves import Array, Certified

SPECIFICITIES = (0.9, 0.95, 0.99)
CURVE_METRICS = (
    "auroc",
    "ap",
    "dice_oracle",
    "iou_oracle",
    "aupro",
    "aupro_05",
    "fpr95",
    "sensitivity_90",
    "sensitivity_95",
    "sensitivity_99",
)


def read_all(normal: Array, anomalous: Array, region: Array, tied: Array) -> dict[str, Certified | None]:
    """All of CURVE_METRICS, in that order, of descending histograms."""
    best = curves.dice_oracle(normal, anomalous, tied)
    values = (
        curves.auroc(normal, anomalous, tied),
        curves.average_precision(normal, anomalous, tied),
        best and best[0],
        curves.iou_of(best and best[0]),
        curves.aupro(normal, region, tied),
        curves.aupro(normal, region, tied, 0.05),
        operating.fpr_at_tpr(normal, anomalous, tied),
        *(operating.sensitivity_at(normal, anomalous, tied, share) for share in SPECIFICITIES),
    )
    return dict(zip(CURVE_METRICS, values, strict=True))


class ReadOffs(ABC):
    """The metrics of a curve; each is None where a class that it needs is missing, and says which."""

    @abstractmethod
    def descending(self) -> tuple[Array, Array, Array, Array]:
        """Normal, anomalous, region and tied of the filled bins, highest score first: what `curves` takes."""

    @abstractmethod
    def called_at(self, threshold_bin: int) -> tuple[int, int, int]:
        """Anomalous and normal pixels with `keys(scores) >= threshold_bin`, and all anomalous pixels."""

    @abstractmethod
    def _lowest_score(self, position: int) -> float:
        """The least score of the bin at a position of `descending`."""

    def aupro(self, limit: float = 0.3) -> Certified | None:
        """AUPRO up to another false-positive rate; see `curves.aupro`."""
        normal, _, region, tied = self.descending()
        return curves.aupro(normal, region, tied, limit)

    def fpr_at_tpr(self, tpr: float = 0.95) -> Certified | None:
        """The false-positive rate at another recall; see `operating.fpr_at_tpr`."""
        normal, anomalous, _, tied = self.descending()
        return operating.fpr_at_tpr(normal, anomalous, tied, tpr)

    def sensitivity_at(self, specificity: float) -> Certified | None:
        """The recall at another specificity; see `operating.sensitivity_at`."""
        normal, anomalous, _, tied = self.descending()
        return operating.sensitivity_at(normal, anomalous, tied, specificity)

    def dice_oracle_threshold(self) -> float | None:
        """The score at and above which calling pixels anomalous gives `dice_oracle`; None without an anomalous pixel."""
        normal, anomalous, _, tied = self.descending()
        best = curves.dice_oracle(normal, anomalous, tied)
        return best and self._lowest_score(best[1])

    def dice_at(self, threshold_bin: int) -> float | None:
        """Exact Dice of `keys(scores) >= threshold_bin`; None without an anomalous pixel."""
        hits, false, total = self.called_at(threshold_bin)
        return 2 * hits / (hits + false + total) if total else None

    def iou_at(self, threshold_bin: int) -> float | None:
        """Exact intersection over union of `keys(scores) >= threshold_bin`; None without an anomalous pixel."""
        hits, false, total = self.called_at(threshold_bin)
        return hits / (false + total) if total else None
