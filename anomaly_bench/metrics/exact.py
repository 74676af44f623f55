"""Curves of stored scores, sorted: no bins, no uncertainty, 4 bytes per pixel."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .bins import default_pivot, score_keys
from .counting import CpuPlanes, Planes, on_cpu
from .curve import LocalizationCurve
from .formulas import Array
from .loops import loops_for

BITS, PIVOT = 32, 0.0  # keys of whole float32 scores
COARSE = 20  # bits of the histogram that stands for the scores where one is asked for


class ExactCurve(LocalizationCurve):
    """A LocalizationCurve that stores every score: no bins, zero width, and the same methods.

    A threshold is a 32-bit key of a whole float32 score. Memory: 4 bytes per pixel, 8 of float64 maps, and as much again
    while the scores of a new update are put in order.
    """

    normal_scores: list[Tensor]
    anomalous_scores: list[Tensor]
    weights: list[Tensor]

    def __init__(self) -> None:
        super().__init__(pivot=PIVOT)
        self.bits = BITS

    def _add_states(self) -> None:
        for name in ("normal_scores", "anomalous_scores", "weights"):
            self.add_state(name, [], dist_reduce_fx="cat")

    @property
    def _later(self) -> bool:
        """Scores are kept by class, which takes a look at them wherever they are."""
        return False

    def brought(self) -> ExactCurve:
        return self

    def _count(self, planes: Planes) -> None:
        for normal, anomalous, weight in _split(planes, self.device):
            self.normal_scores.append(normal)
            self.anomalous_scores.append(anomalous)
            self.weights.append(weight)

    def descending(self) -> tuple[Array, Array, Array, Array]:
        return self._groups()[:4]

    def called_at(self, threshold_bin: int) -> tuple[int, int, int]:
        normal, (anomalous, _) = self._normal(), self._anomalous()
        hits = at_or_above(np.sort(anomalous), threshold_bin)
        return hits, at_or_above(normal, threshold_bin), len(anomalous)

    def threshold_at_fpr(self, fpr: float) -> int:
        return threshold_at_fpr(self._normal(), fpr)

    def normal_histogram(self) -> tuple[float, int, Tensor]:
        scores = torch.from_numpy(self._normal())
        pivot = float(default_pivot(scores))
        return pivot, COARSE, score_keys(scores, pivot, COARSE).bincount(minlength=2**COARSE)

    def _normal(self) -> Array:
        """Scores of the normal pixels, ascending; kept that way."""
        ordered = in_order(joined(self.normal_scores))
        self.normal_scores = [ordered.to(self.device)]
        return ordered.cpu().numpy()

    def _anomalous(self) -> tuple[Array, Array]:
        scores, weights = (joined(part).cpu().numpy() for part in (self.anomalous_scores, self.weights))
        return scores, weights

    def _groups(self) -> tuple[Array, Array, Array, Array, Array]:
        return tie_groups(self._normal(), *self._anomalous())

    def _lowest_score(self, position: int) -> float:
        return float(self._groups()[4][position])


def joined(parts: list[Tensor]) -> Tensor:
    """One tensor of a state's parts."""
    return parts[0] if len(parts) == 1 else torch.cat(parts) if parts else torch.empty(0)


def in_order(scores: Tensor) -> Tensor:
    """Scores (N,), ascending; in main memory they are put in order where they are."""
    if scores.device.type != "cpu":
        return scores.sort().values
    values = scores.numpy()
    # A quick look: read-offs come in a row, and the scores are in order after the first.
    if (values[1:] < values[:-1]).any():
        values.sort()  # many times as quick as sorting in torch
    return scores


def _split(planes: Planes, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Scores of the normal and of the anomalous foreground pixels, and the weights of these, in pieces."""
    if not on_cpu(planes.scores, torch.empty(0, device=device)):
        for scores, mask, weight in planes.pixels(device):
            scores = (scores if scores.dtype == torch.float64 else scores.float()) + 0.0
            yield scores[~mask], scores[mask], weight[mask]
        return
    loops = loops_for(planes.scores.numel())
    for group in CpuPlanes.of(planes).groups():
        normal, anomalous, weights = (torch.from_numpy(part) for part in group.flat(loops).by_class())
        yield normal, anomalous, weights


def tie_groups(normal: Array, anomalous: Array, weight: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Descending groups as `formulas` takes them: normal, anomalous, region, tied, and the lowest score of each.

    Every distinct anomalous score is one group, and the normal pixels between two of these are another: their order
    changes no metric.

    Args:
        normal: (N,) float32 or float64, ascending.
        anomalous, weight: (P,) scores and region weights of the anomalous pixels, in any common order.
    """
    order = np.argsort(anomalous)
    values, starts = np.unique(anomalous[order], return_index=True)
    positives = np.diff(starts, append=len(anomalous))
    regions = np.add.reduceat(weight[order].astype(np.float64), starts) if len(starts) else np.zeros(0)
    first, after = (np.searchsorted(normal, values, side) for side in ("left", "right"))
    edges = np.stack([first, after], axis=1).ravel()
    negatives = np.diff(edges, prepend=0, append=len(normal))
    counts, weights, lowest = np.zeros(len(negatives), np.int64), np.zeros(len(negatives)), np.zeros(len(negatives))
    counts[1::2], weights[1::2], lowest[1::2] = positives, regions, values
    # The normal pixels below the first value, and between two, begin where the last value's ties end.
    begins = np.append(0, after)
    lowest[::2] = normal[np.minimum(begins, len(normal) - 1)] if len(normal) else 0.0
    filled = np.flatnonzero(negatives + counts)[::-1]
    return negatives[filled], counts[filled], weights[filled], np.ones(len(filled), dtype=bool), lowest[filled]


def threshold_at_fpr(normal: Array, fpr: float) -> int:
    """As `bins.threshold_at_fpr`, for (N,) ascending scores: a 32-bit key."""
    if not 0 <= fpr <= 1:
        raise ValueError(f"expected a false-positive rate in [0, 1], got {fpr}")
    if not len(normal):
        raise ValueError("expected at least one normal foreground pixel, got none; update with normal images first")
    allowed = bisect_left(range(len(normal) + 1), True, key=lambda k: k / len(normal) > fpr) - 1
    return 0 if allowed == len(normal) else _key(normal[len(normal) - 1 - allowed]) + 1


def at_or_above(scores: Array, threshold: int) -> int:
    """How many of (N,) ascending scores have a 32-bit key of at least `threshold`."""
    return len(scores) - bisect_left(scores, threshold, key=_key)


def _key(score: float) -> int:
    return int(score_keys(torch.tensor(float(score)), PIVOT, BITS))
