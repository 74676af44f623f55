"""Curves: histograms of the scores of normal and of anomalous pixels, and every number that is read from them."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module
from torchmetrics import Metric

from . import formulas
from .bins import (
    EMPTY,
    MIXED,
    Histograms,
    bin_lower_edge,
    default_pivot,
    merged_ties,
    score_keys,
    threshold_at_fpr,
)
from .counting import Planes, checked, count, count_there
from .formulas import Array, Certified

MOST_BITS = 24
CERTIFIED = ("auroc", "ap", "dice_oracle", "aupro")  # whose bounds compute() looks at
WIDE = 0.005  # a half-width that would change what a table shows


class ReadOffs(ABC):
    """The metrics of a curve besides those of `compute`; each is None where a class that it needs is missing."""

    @abstractmethod
    def descending(self) -> tuple[Array, Array, Array, Array]:
        """Normal, anomalous, region and tied of the filled bins, highest score first: what `formulas` takes."""

    @abstractmethod
    def called_at(self, threshold_bin: int) -> tuple[int, int, int]:
        """Anomalous and normal pixels with `keys(scores) >= threshold_bin`, and all anomalous pixels."""

    @abstractmethod
    def _lowest_score(self, position: int) -> float:
        """The least score of the bin at a position of `descending`."""

    def aupro(self, limit: float = 0.3) -> Certified | None:
        """AUPRO up to another false-positive rate; see `formulas.aupro`."""
        normal, _, region, tied = self.descending()
        return formulas.aupro(normal, region, tied, limit)

    def fpr_at_tpr(self, tpr: float = 0.95) -> Certified | None:
        """The false-positive rate at another recall; see `formulas.fpr_at_tpr`."""
        normal, anomalous, _, tied = self.descending()
        return formulas.fpr_at_tpr(normal, anomalous, tied, tpr)

    def sensitivity_at(self, specificity: float) -> Certified | None:
        """The recall at another specificity; see `formulas.sensitivity_at`."""
        normal, anomalous, _, tied = self.descending()
        return formulas.sensitivity_at(normal, anomalous, tied, specificity)

    def dice_oracle_threshold(self) -> float | None:
        """The score at and above which calling pixels anomalous gives `dice_oracle`; None without an anomalous pixel."""
        normal, anomalous, _, tied = self.descending()
        best = formulas.dice_oracle(normal, anomalous, tied)
        return best and self._lowest_score(best[1])

    def dice_at(self, threshold_bin: int) -> float | None:
        """Exact Dice of `keys(scores) >= threshold_bin`; None without an anomalous pixel."""
        hits, false, total = self.called_at(threshold_bin)
        return 2 * hits / (hits + false + total) if total else None

    def iou_at(self, threshold_bin: int) -> float | None:
        """Exact intersection over union of `keys(scores) >= threshold_bin`; None without an anomalous pixel."""
        hits, false, total = self.called_at(threshold_bin)
        return hits / (false + total) if total else None


class LocalizationCurve(ReadOffs, Metric):
    """Histograms of normal and anomalous foreground pixels, from which every localization metric is read.

    A torchmetrics Metric whose states are sums, so it adds up exactly over batches and curves. It never talks to other
    processes: where several count, gather their curves and `merge_state` them. Memory: 32 bytes per bin, at most 32 MB
    at 20 bits, whatever is counted. The pivot is where the scores of the first batch crowd (`default_pivot`) unless
    given, outlives `reset`, and is always on the CPU. Keep the curve on the CPU when a device has no float64; maps come to the
    curve's device by themselves. On a GPU nothing waits for what has been counted until it is read, so that a NaN is only
    found then.

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
    tie: Tensor
    nan: Tensor  # foreground scores that could not be counted: () int64

    def __init__(self, bits: int = 20, pivot: float | None = None) -> None:
        super().__init__(sync_on_compute=False)
        if not 2 <= bits <= MOST_BITS:
            raise ValueError(f"expected bits in 2..{MOST_BITS}, got {bits}")
        fixed = torch.tensor(torch.nan if pivot is None else pivot, dtype=torch.float32)
        if pivot is not None and not bool(fixed.isfinite()):
            raise ValueError(f"expected a pivot that is finite in float32, got {pivot}")
        self.bits, self._warned = bits, False
        self.register_buffer("pivot", fixed)
        self._add_states()

    def _add_states(self) -> None:
        for name, empty in Histograms.empty(2**self.bits)._asdict().items():
            # torchmetrics keeps a copy of a default for `reset`: here it is one number that looks like a histogram.
            self.add_state(name, empty[:1].clone(), dist_reduce_fx=merged_ties if name == "tie" else "sum")
            self._defaults[name] = self._defaults[name].expand(empty.shape)  # type: ignore[union-attr]
            setattr(self, name, empty)
        self.add_state("nan", torch.tensor(0), dist_reduce_fx="sum")

    def _apply(self, fn: Any, *arguments: Any, **keywords: Any) -> Module:
        pivot = self.pivot  # stays on the CPU, so that reading it is no wait
        super()._apply(fn, *arguments, **keywords)
        self.pivot = pivot
        return self

    def update(
        self, scores: Tensor, mask: Tensor, foreground: Tensor | None = None, region_weight: Tensor | None = None
    ) -> None:
        """Count the foreground pixels of a batch; every argument is (B, 1, H, W), (B, H, W) or (H, W), all alike.

        Args:
            scores: higher = more anomalous; ±inf allowed. Bins are of float32; scores of float64 or integers that are
                one number there count as tied only if they were equal before.
            mask: bool, the anomalous pixels.
            foreground: bool, the pixels that count; the others may hold anything, even NaN. All count if not given.
            region_weight: float32, 1/size of the anomalous region of a pixel, 0 elsewhere. If not given, the
                8-connected regions of each image's mask are found here.

        Raises:
            ValueError: a foreground score is NaN, or shapes or types do not fit; nothing has been counted then. On a device
                a NaN is told of when the curve is read.
        """
        planes = checked(scores, mask, foreground, region_weight, look=not self._later)
        if not planes.scores.numel():
            return
        unknown = bool(self.pivot.isnan())
        if (unknown or not self._later) and planes.foreground is not None and not bool(planes.foreground.any()):
            return
        if unknown:
            self.pivot = default_pivot(planes.scores, planes.foreground)
        self._count(planes)

    @property
    def _later(self) -> bool:
        """Whether the histograms are on a device, which counts while the host goes on."""
        return self.device.type != "cpu"

    def _count(self, planes: Planes) -> None:
        if self._later:
            self.nan += count_there(self._histograms(), planes, float(self.pivot), self.bits)
        else:
            count(self._histograms(), planes, float(self.pivot), self.bits)

    def brought(self) -> LocalizationCurve:
        """The curve in main memory: itself, or a copy of what a device has counted. Raises ValueError for a NaN there."""
        if not self._later:
            return self
        copied, filled = LocalizationCurve(self.bits, float(self.pivot)), self._filled()
        if len(filled):
            index = torch.from_numpy(filled.copy())
            for own, part in zip(copied._histograms(), self._histograms(), strict=True):
                own[index] = part[index.to(part.device)].cpu()
        copied._update_count = self._update_count
        return copied

    def compute(self) -> dict[str, Certified | None]:
        """All of `formulas.CURVE_METRICS`, each with its bounds, or None where it is undefined.

        `auroc`, `ap`, `dice_oracle`, `iou_oracle`; `aupro` and `aupro_05`: AUPRO up to a false-positive rate of 0.3 and
        0.05; `fpr95`: the false-positive rate at a recall of 0.95, the only one where lower is better;
        `sensitivity_90`, `_95`, `_99`: the recall at that specificity in percent. Without an anomalous pixel all are
        None; without a normal one all but `ap`, `dice_oracle` and `iou_oracle`. Warns once if bounds are wide.
        """
        metrics = formulas.read_all(*self.descending())
        widths = {name: (known.high - known.low) / 2 for name in CERTIFIED if (known := metrics[name]) is not None}
        if not self._warned and (worst := max(widths, key=widths.__getitem__, default=None)) and widths[worst] > WIDE:
            self._warned = True
            warnings.warn(
                f"{worst} is known to ±{widths[worst]:.2g} only, as many scores share a bin; for narrower bounds take "
                f"bits={MOST_BITS} (localization.bits of a run), a pivot where the scores crowd, or ExactCurve()",
                stacklevel=3,  # of who called torchmetrics' `compute`
            )
        return metrics

    def descending(self) -> tuple[Array, Array, Array, Array]:
        filled = self._filled()
        normal, anomalous, region, tie = (column.cpu().numpy()[filled] for column in self._histograms())
        return normal, anomalous, region, tie != MIXED

    def called_at(self, threshold_bin: int) -> tuple[int, int, int]:
        hits, false = (int(part[threshold_bin:].sum()) for part in (self.anomalous, self.normal))
        return hits, false, int(self.anomalous.sum())

    def threshold_at_fpr(self, fpr: float) -> int:
        """The bin at and above which at most the share `fpr` of normal pixels lies; see `bins.threshold_at_fpr`."""
        return threshold_at_fpr(self.normal, fpr)

    def normal_histogram(self) -> tuple[float, int, Tensor]:
        """Pivot and bits of a histogram, and its normal pixels per bin, ascending in score: int64 (2**bits,)."""
        return float(self.pivot), self.bits, self.normal

    def keys(self, scores: Tensor) -> Tensor:
        """The bin of each score, int64, same shape.

        Raises:
            ValueError: a score is NaN, or the pivot is not set yet.
        """
        if bool(self.pivot.isnan()):
            raise ValueError("expected a curve with a pivot; call update first, or give LocalizationCurve(pivot=...)")
        return score_keys(scores, self.pivot, self.bits)

    def score_of(self, threshold_bin: int) -> float:
        """The least score of a bin: of float32 maps, `scores >= score_of(bin)` is `keys(scores) >= bin`."""
        return bin_lower_edge(threshold_bin, float(self.pivot), self.bits)

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the counts of another curve of the same bits and pivot; ValueError for anything else."""
        if not isinstance(incoming_state, LocalizationCurve):
            raise ValueError(f"expected a LocalizationCurve to merge, got {type(incoming_state).__name__}")
        if incoming_state.bits != self.bits:
            raise ValueError(f"expected a curve of {self.bits} bits, got {incoming_state.bits}")
        mine, theirs = float(self.pivot), float(incoming_state.pivot)
        if math.isnan(mine):  # nothing counted yet
            self.pivot = incoming_state.pivot.to(self.pivot.device)
        elif not math.isnan(theirs) and mine != theirs:
            raise ValueError(
                f"expected a curve of pivot {mine}, got {theirs}; give all the same LocalizationCurve(pivot=...)"
            )
        super().merge_state(incoming_state)
        self._computed = None  # torchmetrics 1.9 would answer with the result from before the merge
        self._update_count += incoming_state.update_count

    def _histograms(self) -> Histograms:
        return Histograms(self.normal, self.anomalous, self.region, self.tie)

    def _filled(self) -> Array:
        """Indices of the bins that hold a pixel, highest first. Raises ValueError if a device has met NaN."""
        if lost := int(self.nan):
            raise ValueError(
                f"expected scores without NaN, got {lost} NaN in the foreground; mend the maps before they rank"
            )
        if self._later:
            return (self.tie != EMPTY).nonzero().flatten().cpu().numpy()[::-1]
        return np.flatnonzero(self.tie.numpy() != EMPTY)[::-1]

    def _lowest_score(self, position: int) -> float:
        return self.score_of(int(self._filled()[position]))
