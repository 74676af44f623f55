"""Which test images the pictures show: those that a predictor localizes best and worst, and some spread over the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from anomaly_bench.metrics.images import image_ap
from leaderboard.record import Rank

from .panels import Sample


class Cases:
    """Chooses `count` of the anomalous test images while they pass by.

    A third are those where the map that decides has the highest average precision, a third those where it has the lowest; the
    others are spread evenly over the set. No more than twice `count` are held at a time.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._anomalous, self._step = 0, 1  # images seen; every which of them is kept as one of the spread ones
        self._spread: list[int] = []
        self._precision: dict[int, float] = {}
        self._samples: dict[int, Sample] = {}

    def wanted(self, score: Tensor, mask: Tensor, foreground: Tensor, first: int) -> list[int]:
        """Which of a batch's images may be shown in the end, from the map that decides; others are forgotten.

        score, mask, foreground: (B, 1, H, W) on the CPU. first: position of the batch's first image in the set.
        """
        self._spread_over(mask.flatten(1).any(1), first)
        parts = (part.numpy() for part in (score, mask, foreground))
        for index, (values, hit, inside) in enumerate(zip(*parts, strict=True), start=first):
            precision = image_ap(values[inside], hit[inside]) if self.count and hit.any() else None
            if precision is not None:
                self._precision[index] = precision
        kept = {*self._spread, *(index for part in self._extremes() for index in part)}
        self._precision = {index: ap for index, ap in self._precision.items() if index in kept}
        self._samples = {index: sample for index, sample in self._samples.items() if index in kept}
        return sorted(index - first for index in kept if first <= index < first + len(score))

    def add(self, first: int, indices: Sequence[int], samples: Sequence[Sample]) -> None:
        """The samples of the wanted images."""
        self._samples |= {first + index: sample for index, sample in zip(indices, samples, strict=True)}

    def samples(self) -> list[Sample]:
        """Those to be shown with their rank and AP: the best first, the worst last, those without any AP behind them."""
        worst, best = self._extremes()
        others = [index for index in self._spread if index in self._samples and index not in (*worst, *best)]
        between = evenly(others, max(0, self.count - len(worst) - len(best)))
        parts: dict[Rank, list[int]] = {"best": best, "between": between, "worst": worst}
        shown = [
            replace(self._samples[index], rank=rank, ap=self._precision.get(index))
            for rank, part in parts.items()
            for index in part
        ]
        return sorted(shown, key=lambda sample: -1.0 if sample.ap is None else sample.ap, reverse=True)

    def _spread_over(self, anomalous: Tensor, first: int) -> None:
        for index in anomalous.nonzero().flatten().tolist() if self.count else ():
            if self._anomalous % self._step == 0:
                self._spread.append(first + index)
            self._anomalous += 1
            if len(self._spread) > self.count:
                self._spread, self._step = self._spread[::2], 2 * self._step

    def _extremes(self) -> tuple[list[int], list[int]]:
        """The images with the lowest and with the highest AP of those seen, a third of `count` each, or a half of few."""
        order = sorted(self._precision, key=self._precision.__getitem__)
        each = min(self.count // 3, len(order) // 2)
        return order[:each], order[len(order) - each :]


def evenly(items: Sequence[int], count: int) -> list[int]:
    """`count` of the items, or all, evenly spread, with the first and the last one."""
    spread = torch.linspace(0, len(items) - 1, min(count, len(items))).round().long()
    return [items[index] for index in spread.tolist()]
