"""Per-subject histograms counted from maps, instead of stored scores."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from anomaly_bench.metrics.accelerate import loops_for
from anomaly_bench.metrics.curves import Array
from anomaly_bench.metrics.histogram import EMPTY, Histograms, score_keys
from anomaly_bench.metrics.kernel import CpuPlanes, Planes, checked, on_cpu
from anomaly_bench.metrics.pooled import BIN, SubjectHistograms


class SubjectCurves(SubjectHistograms):
    """SubjectHistograms that are counted from batches of maps."""

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
        """Count the foreground pixels of a batch.

        Args:
            scores, mask, foreground, region_weight: (B, 1, H, W) or (B, H, W), as `LocalizationCurve.update` takes them.
            subject: (B,) int64.
            pivot, threshold_bin: of the curve that set the threshold; the same in every call. Without a threshold
                (None) there is no `dice`.

        Raises:
            ValueError: a score is NaN, shapes do not fit, or pivot or threshold changed.
        """
        if self._rule not in (None, (pivot, threshold_bin)):
            raise ValueError(f"expected pivot and threshold {self._rule} as before, got {(pivot, threshold_bin)}")
        if subject.shape != scores.shape[:1]:
            raise ValueError(f"expected subject of shape {tuple(scores.shape[:1])}, got {tuple(subject.shape)}")
        planes = checked(scores, mask, foreground, region_weight)
        self._rule = (pivot, threshold_bin)
        ids, local, images = torch.unique(subject.cpu(), return_inverse=True, return_counts=True)
        owner = local.repeat_interleave(len(planes.scores) // len(subject)) if len(subject) else local
        if on_cpu(planes.scores):
            whole, owners, loops = CpuPlanes.of(planes), owner.numpy(), loops_for(planes.scores.numel())
            chosen = (np.flatnonzero(owners == k) for k in range(len(ids)))
            rows = [self._count_one(loops, whole, own, int(name)) for own, name in zip(chosen, ids, strict=True)]
            totals = np.array(rows)
        else:
            totals = self._count_in_torch(planes, owner, ids)
        for name, count, own in zip(ids.tolist(), images.tolist(), totals, strict=True):
            self._totals[name] = self._totals.get(name, 0) + np.array([count, *own])

    def _count_one(self, loops: ModuleType, planes: CpuPlanes, chosen: Array, name: int) -> Array:
        """Count the chosen planes, one subject's; its pixels, anomalous pixels, hits and called pixels."""
        pivot, threshold = self._rule or (0.0, None)
        limit = 1 << self.full_bits if threshold is None else threshold
        histograms = [part.numpy() for part in Histograms.empty(1 << self.bits)]
        totals = np.zeros(4, dtype=np.int64)
        for index in chosen.tolist():
            scores, mask, foreground, weight, sparse = planes.part(index, index + 1).flat(loops)
            loops.count(scores, mask, foreground, weight, sparse, np.float32(pivot), self.bits, *histograms)
            totals += loops.called(scores, mask, foreground, np.float32(pivot), self.full_bits, limit)
        self._keep(histograms, np.flatnonzero(histograms[3] != EMPTY), name)
        return totals

    def _count_in_torch(self, planes: Planes, owner: Tensor, ids: Tensor) -> Array:
        """Count all planes; per subject its pixels, anomalous pixels, hits and called pixels."""
        pivot, threshold = self._rule or (0.0, None)
        limit = 1 << self.full_bits if threshold is None else threshold
        device = planes.scores.device
        histograms = Histograms.empty(len(ids) << self.bits, device)
        totals = torch.zeros(4, len(ids), dtype=torch.int64, device=device)
        for scores, mask, weight, own in planes.pixels(device, owner):
            bins, low = score_keys(scores, pivot, self.bits)
            histograms.add((own << self.bits) + bins, low, mask, weight)
            called = score_keys(scores, pivot, self.full_bits)[0] >= limit
            for row, kind in enumerate((own, own[mask], own[mask & called], own[called])):
                totals[row] += torch.bincount(kind, minlength=len(ids))
        columns = [part.cpu().numpy() for part in histograms]
        filled = np.flatnonzero(columns[3] != EMPTY)
        self._keep(columns, filled, ids.numpy()[filled >> self.bits])
        return totals.T.cpu().numpy()

    def _keep(self, histograms: list[Array], filled: Array, subject: Array | int) -> None:
        """Append the filled bins of a subject, or of several whose histograms follow each other."""
        block = np.empty(len(filled), dtype=BIN)
        block["subject"], block["bin"] = subject, filled & ((1 << self.bits) - 1)
        for name, part in zip(("normal", "anomalous", "region", "tie"), histograms, strict=True):
            block[name] = part[filled]
        self._append(block)
