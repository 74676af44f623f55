"""Dice and average precision per subject, from sparse histograms instead of stored scores."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from anomaly_bench.metrics import curves
from anomaly_bench.metrics.histogram import Histograms, foreground_pixels, score_keys

# Rows of a sparse block, (6, filled bins) int64, one column per filled bin of a subject.
SUBJECT, BIN, NORMAL, ANOMALOUS, LOW_MIN, LOW_MAX = range(6)


class SubjectCurves:
    """One predictor's reduced histograms and exact confusion counts, by subject id (any int64).

    Memory: 48 bytes per filled bin of a subject, typically below 1,000 of the 2**bits.

    Args:
        bits: resolution of the histograms behind `ap`.
        full_bits: resolution of the threshold, the `bits` of the curve that set it.
    """

    def __init__(self, bits: int = 14, full_bits: int = 20) -> None:
        self.bits, self.full_bits = bits, full_bits
        self._totals: dict[int, curves.Array] = {}
        self._merged = np.empty((6, 0), dtype=np.int64)
        self._pending: list[curves.Array] = []
        self._rule: tuple[float, int] | None = None

    def update(
        self, scores: Tensor, mask: Tensor, foreground: Tensor, subject: Tensor, pivot: float, threshold_bin: int
    ) -> None:
        """Count the foreground pixels of a batch.

        Args:
            scores, mask, foreground: (B, 1, H, W), as `LocalizationCurve.update` takes them.
            subject: (B,) int64.
            pivot, threshold_bin: of the curve that set the threshold; the same in every call.

        Raises:
            ValueError: a score is NaN, shapes do not fit, or pivot or threshold changed.
        """
        if self._rule not in (None, (pivot, threshold_bin)):
            raise ValueError(f"expected pivot and threshold {self._rule} as before, got {(pivot, threshold_bin)}")
        if subject.shape != foreground.shape[:1]:
            raise ValueError(f"expected subject of shape {tuple(foreground.shape[:1])}, got {tuple(subject.shape)}")
        ids, local = torch.unique(subject, return_inverse=True)
        owners = local.view(-1, 1, 1, 1).expand_as(foreground)
        chosen, anomalous, owner = foreground_pixels(foreground, scores=scores, mask=mask, owner=owners)
        bins, low = score_keys(chosen, pivot, self.bits)
        called = score_keys(chosen, pivot, self.full_bits)[0] >= threshold_bin
        self._rule = (pivot, threshold_bin)
        kinds = (local, owner, owner[anomalous], owner[anomalous & called], owner[called])
        counts = torch.stack([torch.bincount(kind, minlength=len(ids)) for kind in kinds], dim=1)
        for name, count in zip(ids.tolist(), counts.cpu().numpy(), strict=True):
            self._totals[name] = self._totals.get(name, 0) + count
        histograms = Histograms.empty(len(ids) << self.bits, scores.device)
        histograms.add((owner << self.bits) + bins, low, anomalous)
        self._append(self._block(histograms, ids))

    def merge(self, other: SubjectCurves) -> None:
        """Add what another process or batch counted.

        Raises:
            ValueError: its bits, pivot or threshold differ.
        """
        mine, theirs = (self.bits, self.full_bits, self._rule), (other.bits, other.full_bits, other._rule)
        if mine[:2] != theirs[:2] or (None not in (self._rule, other._rule) and mine != theirs):
            raise ValueError(f"expected bits, full bits and (pivot, threshold) {mine}, got {theirs}")
        self._rule = self._rule or other._rule
        for name, count in other._totals.items():
            self._totals[name] = self._totals.get(name, 0) + count
        self._append(other._consolidated())

    def rows(self) -> list[dict[str, int | float | None]]:
        """One row per subject, by id: subject, images, pixels, anomalous_pixels, dice, ap.

        Pixels are those of the foreground. `dice` is exact at the threshold; `ap` is the estimate at the reduced
        resolution. Both are None for a subject without an anomalous pixel.
        """
        bins = self._consolidated()
        rows: list[dict[str, int | float | None]] = []
        for name in sorted(self._totals):
            images, pixels, positives, hits, called = (int(count) for count in self._totals[name])
            first, last = np.searchsorted(bins[SUBJECT], [name, name + 1])
            own = bins[:, first:last][:, ::-1]
            ap = curves.average_precision(own[NORMAL], own[ANOMALOUS], own[LOW_MIN] == own[LOW_MAX])
            dice = 2 * hits / (called + positives) if positives else None
            rows.append(
                {"subject": name, "images": images, "pixels": pixels, "anomalous_pixels": positives}
                | {"dice": dice, "ap": ap.value if ap else None}
            )
        return rows

    def _block(self, histograms: Histograms, ids: Tensor) -> curves.Array:
        """The filled bins of a batch, (6, filled)."""
        filled = (histograms.normal + histograms.anomalous).nonzero().squeeze(1)
        columns = [ids[filled >> self.bits], filled & (2**self.bits - 1), *(part[filled] for part in histograms)]
        return torch.stack([column.long() for column in columns]).cpu().numpy()

    def _append(self, block: curves.Array) -> None:
        """Keep a block; consolidate when the pending ones outgrow the rest, so the work stays linear in the blocks."""
        self._pending.append(block)
        if sum(part.shape[1] for part in self._pending) > max(self._merged.shape[1], 2**18):
            self._consolidated()

    def _consolidated(self) -> curves.Array:
        """All blocks as one, sorted by subject and bin, each pair once."""
        blocks = np.concatenate([self._merged, *self._pending], axis=1)
        blocks = blocks[:, np.lexsort((blocks[BIN], blocks[SUBJECT]))]
        new = np.diff(blocks[: BIN + 1], axis=1, prepend=-1).any(axis=0)
        starts = np.flatnonzero(new)
        if len(starts) < blocks.shape[1]:
            merge = [np.maximum] * 2 + [np.add] * 2 + [np.minimum, np.maximum]
            blocks = np.stack([how.reduceat(row, starts) for how, row in zip(merge, blocks, strict=True)])
        self._merged, self._pending = blocks, []
        return blocks
