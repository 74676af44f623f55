"""Per-subject histograms counted from maps, instead of stored scores."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
from torch import Tensor

from anomaly_bench.metrics.bins import BIN, RAW
from anomaly_bench.metrics.counting import CpuPlanes, Flat, Planes, checked, planes_each
from anomaly_bench.metrics.formulas import Array
from anomaly_bench.metrics.loops import loops_for, numpy_loops

from .histograms import LIMIT, SubjectHistograms
from .on_device import Block, reduced
from .sparse_bins import bins_of

CHUNK = 1 << 22  # pixels on a device that wait to be put in order
SPREAD = 2  # bins per pixel that are quicker to look through than a pixel is to sort


class SubjectCurves(SubjectHistograms):
    """SubjectHistograms that are counted from batches of maps."""

    def __init__(self, full_bits: int = 20, limit: int = LIMIT) -> None:
        super().__init__(full_bits, limit)
        self._there: list[Block] = []

    def update_there(self, block: Block, pivot: float, threshold_bin: int | None) -> None:
        """`update` on the device of the maps, which is waited for once in CHUNK pixels; `flush` counts the last of them.

        Nothing is checked here; a NaN counts nowhere.
        """
        self._rule = (pivot, threshold_bin)
        self._there.append(block)
        if sum(block.scores.numel() for block in self._there) >= CHUNK:
            self.flush()

    def flush(self) -> None:
        """Count what has waited on a device."""
        if not self._there:
            return
        pivot, threshold = self._rule or (0.0, None)
        totals, bins, bits = reduced(self._there, pivot, self.full_bits, threshold, self._bits, self.limit)
        self._there = []
        self._coarsen(bits)
        for name, count in totals.items():
            self._totals[name] = self._totals.get(name, 0) + count
            self._append(name, bins[name])

    def update(
        self,
        scores: Tensor,
        mask: Tensor,
        foreground: Tensor | None,
        subject: Tensor,
        pivot: float,
        threshold_bin: int | None,
        region_weight: Tensor | None = None,
    ) -> None:
        """Count the foreground pixels of a batch, and the images that have any.

        Args:
            scores, mask, foreground, region_weight: (B, 1, H, W) or (B, H, W), as `LocalizationCurve.update` takes them.
            subject: (B,) int64.
            pivot, threshold_bin: of the curve that set the threshold; the same in every call. Without a threshold
                (None) there is no `dice`.

        Raises:
            ValueError: a score is NaN, shapes do not fit, the pivot is not finite, or pivot or threshold changed.
        """
        if self._rule not in (None, (pivot, threshold_bin)):
            raise ValueError(f"expected pivot and threshold {self._rule} as before, got {(pivot, threshold_bin)}")
        if subject.shape != scores.shape[:1]:
            raise ValueError(f"expected subject of shape {tuple(scores.shape[:1])}, got {tuple(subject.shape)}")
        if not math.isfinite(pivot):
            raise ValueError(f"expected a finite pivot, got {pivot}; update the curve first, then pass its pivot")
        planes = checked(scores, mask, foreground, region_weight)
        self._rule = (pivot, threshold_bin)
        on_cpu = CpuPlanes.of(Planes(*(None if part is None else part.cpu() for part in planes)))  # type: ignore[arg-type]
        loops = loops_for(on_cpu.scores.size)
        ids, local = np.unique(subject.cpu().numpy(), return_inverse=True)
        seen = None if foreground is None else foreground.flatten(1).any(1).cpu().numpy()
        images = np.bincount(local, seen, len(ids)).astype(np.int64)
        owner = local.repeat(len(on_cpu.scores) // len(local)) if len(local) else local
        for index, (name, count) in enumerate(zip(ids.tolist(), images.tolist(), strict=True)):
            totals = self._count_one(loops, on_cpu, np.flatnonzero(owner == index), name)
            self._totals[name] = self._totals.get(name, 0) + np.array([count, *totals])

    def _count_one(self, loops: ModuleType, planes: CpuPlanes, chosen: Array, name: int) -> Array:
        """Count the chosen planes, one subject's; its pixels, anomalous pixels, hits and called pixels."""
        pivot, threshold = self._rule or (0.0, None)
        limit = 1 << self.full_bits if threshold is None else threshold
        totals, each = np.zeros(4, dtype=np.int64), planes_each(planes.scores)
        for start in range(0, len(chosen), each):
            flat = planes.chosen(chosen[start : start + each]).flat(loops)
            counts = loops.called(flat.scores, flat.mask, flat.foreground, np.float32(pivot), self.full_bits, limit)
            totals += counts
            self._append(name, self._bins_of(loops, flat, SPREAD * int(counts[0])))
        return totals

    def _bins_of(self, loops: ModuleType, flat: Flat, most: int) -> Array:
        """The bins of pixels, in any order: without sorting where it is quicker to look through so many bins."""
        if loops is not numpy_loops:
            bins = np.zeros(most, dtype=BIN)
            if (used := loops.count_bins(flat.scores, flat.mask, flat.foreground, flat.weight, self._bits, bins)) >= 0:
                filled = bins["normal"][:used] + bins["anomalous"][:used] > 0
                return bins.view(RAW)[:used][filled].view(BIN)
        return bins_of(*flat.by_class(), self._bits)
