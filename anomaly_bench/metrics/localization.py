"""Pixel-level localization of one predictor, in one pass over the maps and in bounded memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from anomaly_bench.metrics import curves, thresholds
from anomaly_bench.metrics.curves import Certified
from anomaly_bench.metrics.histogram import Histograms, bin_lower_edge, default_pivot, foreground_pixels, score_keys


def _common_pivot(pivots: Tensor) -> Tensor:
    """The one pivot that all curves share, of (curves,); NaN marks a curve that has counted nothing yet."""
    known = pivots[~pivots.isnan()]
    if not len(known):
        return pivots[0]
    if bool((known != known[0]).any()):
        raise ValueError(
            f"expected curves of one pivot, got {known.tolist()}; give all the same LocalizationCurve(pivot=...)"
        )
    return known[0]


class LocalizationCurve(Metric):
    """Histograms of normal and anomalous foreground pixels, from which every localization metric is read.

    Counts are exact, and merge exactly over batches, processes and machines (32 bytes a bin: 34 MB at 20 bits). The
    pivot is fixed once, at construction or by the first update (the median of its scores), and outlives `reset`.
    Processes of a distributed run need a given pivot: syncing or merging different ones raises ValueError. `compute`
    syncs by itself; around the other methods use `with curve.sync_context():`. Keep the curve on the CPU when a device
    has no float64.

    Args:
        bits: 2**bits bins; each 2 bits fewer widen the certified intervals about fourfold.
        pivot: finite score around which bins are finest, kept as float32.
    """

    full_state_update = False
    is_differentiable = False
    pivot: Tensor
    normal: Tensor
    anomalous: Tensor
    region: Tensor
    low_min: Tensor
    low_max: Tensor

    def __init__(self, bits: int = 20, pivot: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 2 <= bits <= 24:
            raise ValueError(f"expected bits in 2..24, got {bits}")
        fixed = torch.tensor(torch.nan if pivot is None else pivot, dtype=torch.float32)
        if pivot is not None and not bool(fixed.isfinite()):
            raise ValueError(f"expected a pivot that is finite in float32, got {pivot}")
        self.bits = bits
        empty = Histograms.empty(2**bits)
        # First, so that a merge of different pivots stops before any count has changed.
        self.add_state("pivot", fixed, dist_reduce_fx=_common_pivot)
        self.add_state("normal", empty.normal, dist_reduce_fx="sum")
        self.add_state("anomalous", empty.anomalous, dist_reduce_fx="sum")
        self.add_state("region", torch.zeros(2**bits, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("low_min", empty.low_min, dist_reduce_fx="min")
        self.add_state("low_max", empty.low_max, dist_reduce_fx="max")
        # A default is one number: without this, torchmetrics keeps a second copy of every histogram for `reset`.
        defaults = {name: value for name, value in self._defaults.items() if isinstance(value, Tensor)}
        self._defaults = {name: value.flatten()[0].clone().expand(value.shape) for name, value in defaults.items()}

    def update(self, scores: Tensor, mask: Tensor, foreground: Tensor, region_weight: Tensor) -> None:
        """Count the foreground pixels of a batch; every argument is (B, 1, H, W).

        Args:
            scores: floating, higher = more anomalous, cast to float32; ±inf allowed.
            mask: bool, the anomalous pixels.
            foreground: bool, the pixels that count; the others may hold anything, even NaN.
            region_weight: float32, 1/size of the anomalous region of a pixel, 0 elsewhere.

        Raises:
            ValueError: a foreground score is NaN, or shapes or types do not fit.
        """
        chosen, anomalous, weight = foreground_pixels(foreground, scores=scores, mask=mask, region_weight=region_weight)
        pivot = default_pivot(chosen) if bool(self.pivot.isnan()) else self.pivot
        bins, low = score_keys(chosen, pivot, self.bits)
        if not len(bins):
            return
        self.pivot = pivot
        self._histograms().add(bins, low, anomalous)
        # float64 holds these sums of float32 weights without rounding, so their order does not show.
        self.region.index_add_(0, bins[anomalous], weight[anomalous].double())

    def compute(self) -> dict[str, Certified | None]:
        """`auroc`, `ap`, `dice_oracle` and `aupro` (limit 0.3), each with its bounds, or None where it is undefined."""
        normal, anomalous, region, tied = self.descending()
        best = curves.dice_oracle(normal, anomalous, tied)
        return {
            "auroc": curves.auroc(normal, anomalous, tied),
            "ap": curves.average_precision(normal, anomalous, tied),
            "dice_oracle": best and best[0],
            "aupro": curves.aupro(normal, region, tied),
        }

    def descending(self) -> tuple[curves.Array, curves.Array, curves.Array, curves.Array]:
        """Normal, anomalous, region and tied of the filled bins, highest score first: what `curves` takes."""
        histograms = self._histograms()
        filled = (self.normal + self.anomalous).nonzero().squeeze(1).flip(0)
        columns = (self.normal, self.anomalous, self.region, histograms.tied())
        normal, anomalous, region, tied = (column[filled].cpu().numpy() for column in columns)
        return normal, anomalous, region, tied

    def aupro(self, limit: float = 0.3) -> Certified | None:
        """AUPRO up to another false-positive rate; see `curves.aupro`."""
        normal, _, region, tied = self.descending()
        return curves.aupro(normal, region, tied, limit)

    def threshold_at_fpr(self, fpr: float) -> int:
        """The bin at and above which at most the share `fpr` of normal pixels lies; see `thresholds`."""
        return thresholds.threshold_at_fpr(self.normal, fpr)

    def dice_at(self, threshold_bin: int) -> float | None:
        """Exact Dice of `keys(scores) >= threshold_bin`; None without an anomalous pixel."""
        return thresholds.dice_at(self.normal, self.anomalous, threshold_bin)

    def calibrate(self, scores: Tensor) -> Tensor:
        """Each score's share of normal pixels that score lower, ties counting half; float32 in [0, 1], same shape."""
        return thresholds.mid_cdf(self.normal)[self.keys(scores)].float()

    def keys(self, scores: Tensor) -> Tensor:
        """The bin of each score, int64, same shape.

        Raises:
            ValueError: a score is NaN, or the pivot is not set yet.
        """
        return score_keys(scores, self._known_pivot(), self.bits)[0]

    def score_of(self, threshold_bin: int) -> float:
        """The least score of a bin, for people to read; decide with `keys`, which no rounding touches."""
        return bin_lower_edge(threshold_bin, float(self._known_pivot()), self.bits)

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the counts of another curve of the same bits and pivot; ValueError for any other."""
        if isinstance(incoming_state, LocalizationCurve) and incoming_state.bits != self.bits:
            raise ValueError(f"expected a curve of {self.bits} bits, got {incoming_state.bits}")
        super().merge_state(incoming_state)
        self._computed = None  # torchmetrics 1.9 would answer with the result from before the merge
        self._update_count += incoming_state.update_count if isinstance(incoming_state, Metric) else 1

    def reset(self) -> None:
        """Forget all counts; keep the pivot, so that the bins of all epochs agree."""
        pivot = self.pivot
        super().reset()
        self.pivot = pivot

    def _histograms(self) -> Histograms:
        return Histograms(self.normal, self.anomalous, self.low_min, self.low_max)

    def _known_pivot(self) -> Tensor:
        if bool(self.pivot.isnan()):
            raise ValueError("expected a curve with a pivot; call update first, or give LocalizationCurve(pivot=...)")
        return self.pivot
