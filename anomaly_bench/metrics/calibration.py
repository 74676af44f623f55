"""Where a score stands among those of normal pixels, beyond the highest of them as well."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import ndtri_exp
from torch import Tensor

from .bins import bin_edges, keys_of, mid_cdf, score_keys
from .curve import LocalizationCurve
from .formulas import Array

TAIL = 0.01  # the highest share of normal pixels, whose scores the tail is fitted to
FEWEST = 25  # pixels that it is fitted to, where there are as many
FINITE = np.finfo(np.float32).min, np.finfo(np.float32).max
NARROWEST = 1e-3  # of the scores' spread: a tail of nearly equal scores would make each next one infinitely surprising
SCALES: dict[str, Callable[[Array], Array]] = {"probit": lambda log_share: -ndtri_exp(log_share), "tail": np.negative}


class Tail(NamedTuple):
    """The share of normal pixels that score higher, from a score on: share · (1 + shape · (score − start) / width)^(−1/shape).

    A generalised Pareto distribution of the excesses (Pickands 1975, doi:10.1214/aos/1176343003); shape 0 is the exponential
    one. Scores are relative to the pivot.
    """

    start: float
    log_share: float
    width: float
    shape: float

    def __call__(self, scores: Array) -> Array:
        """The log of the share, finite for every finite score at `start` or above: falls strictly, never to −inf."""
        beyond = (scores - self.start) / self.width
        return self.log_share - (np.log1p(self.shape * beyond) / self.shape if self.shape else beyond)

    @classmethod
    def of(cls, scores: Array, pixels: Array, shares: Array, pivot: float) -> Tail:
        """Fitted by probability-weighted moments (Hosking & Wallis 1987, doi:10.2307/1269343) to the highest of scores (K,).

        scores: distinct, ascending. pixels, shares: how many normal pixels have each, and which share scores higher, ties
        counting half. A shape below 0, which knows of a highest possible score, becomes 0: no score of an anomaly is
        impossible. Where nothing exceeds the start, as of constant or saturated scores, the tail is as wide as the scores'
        mean distance from the highest.
        """
        total = pixels.sum()
        low = np.flatnonzero(shares <= min(max(TAIL, FEWEST / total), 0.5))
        first = int(low[0]) if len(low) else len(scores) - 1
        start, share = scores[first], shares[first]
        spread = float((pixels * (scores[-1] - scores)).sum() / total) or abs(pivot + float(scores[-1])) or 1.0
        excess, weight = scores[first + 1 :] - start, pixels[first + 1 :] / (total * share)
        if not len(excess):
            return cls(start, np.log(share), spread, 0.0)
        mean, moment = (weight * excess).sum(), (weight * excess * shares[first + 1 :] / share).sum()
        shape = 2 - mean / (mean - 2 * moment)
        width = mean if shape <= 0 else 2 * mean * moment / (mean - 2 * moment)
        return cls(start, np.log(share), max(width, NARROWEST * spread), max(shape, 0.0))


@dataclass(frozen=True)
class Calibration:
    """A distribution of scores over normal pixels, and with it the map of raw scores to a scale that all rows share.

    pivot and bits: of its histogram. filled, pixels: its bins that hold a pixel, ascending, and how many each holds,
    (K,) int64 both.
    """

    pivot: float
    bits: int
    filled: Tensor
    pixels: Tensor

    @classmethod
    def of(cls, curve: LocalizationCurve) -> Calibration:
        """The distribution of the normal pixels that a curve has counted; at 20 bits if the curve is exact.

        Raises:
            ValueError: it has counted none.
        """
        pivot, bits, normal = curve.normal_histogram()
        if not bool((filled := normal.nonzero().flatten()).numel()):
            raise ValueError("expected at least one normal foreground pixel, got none; update with normal images first")
        return cls(pivot, bits, filled, normal[filled])

    @cached_property
    def shares(self) -> Tensor:
        """For each bin the share of normal pixels that score lower, ties counting half: (2**bits,) float32."""
        normal = torch.zeros(2**self.bits, dtype=torch.int64, device=self.pixels.device)
        normal[self.filled] = self.pixels
        return mid_cdf(normal).float()

    def __call__(self, scores: Tensor, scale: str = "share") -> Tensor:
        """Each score on a scale that other rows share, float32, same shape; it never falls as the score grows.

        scale: share, of normal pixels that score lower: in [0, 1], 1 for all scores above those of normal pixels. probit, the
        standard normal quantile of that share, or tail, −log of the share that scores higher: both grow strictly where normal
        pixels end, as a `Tail` goes on from their highest scores, and are finite for finite scores; below, they are
        interpolated between the scores that normal pixels have, at the width of a bin.

        Raises:
            ValueError: a score is NaN.
        """
        if scores.device.type != "cpu":
            return self._there(scores, scale)
        keys = score_keys(scores, self.pivot, self.bits)
        if scale == "share":
            return self.shares[keys]
        tail, body = self._tail, self._body(scale)
        found = body[keys]
        relative = scores.float().double() - self.pivot
        far = relative >= tail.start
        if bool(far.any()):
            found[far] = torch.from_numpy(SCALES[scale](tail(relative[far].cpu().numpy()))).to(found)
        return found

    def _there(self, scores: Tensor, scale: str) -> Tensor:
        """The same on a device, which nobody waits for; a NaN stays one. In the tail to about a millionth of the CPU's."""
        body = self._table(scale, scores.device)
        found = body[keys_of(scores, self.pivot, self.bits)].masked_fill(scores.isnan(), torch.nan)
        if scale == "share":
            return found
        tail = self._tail
        relative = scores.float().double() - self.pivot
        beyond = (relative.clamp(min=tail.start) - tail.start) / tail.width
        log_share = tail.log_share - (torch.log1p(tail.shape * beyond) / tail.shape if tail.shape else beyond)
        high = -log_share if scale == "tail" else probit_of(log_share)
        return torch.where(relative >= tail.start, high.float(), found)

    def _table(self, scale: str, device: torch.device) -> Tensor:
        """What each bin is on a scale, on a device; copied once."""
        if (scale, device) not in self._tables:
            table = self.shares if scale == "share" else self._body(scale)
            self._tables[scale, device] = table.to(device)
        return self._tables[scale, device]

    @cached_property
    def _tables(self) -> dict[tuple[str, torch.device], Tensor]:
        return {}

    @cached_property
    def _known(self) -> tuple[Array, Array, Array]:
        """The scores that normal pixels have, relative to the pivot, how many pixels, and the share above; (K,) each."""
        pixels = self.pixels.cpu().numpy().astype(np.float64)
        scores = bin_edges(self.filled.cpu().numpy(), self.bits).clip(*FINITE)
        return scores, pixels, ((pixels[::-1].cumsum() - pixels[::-1] / 2) / pixels.sum())[::-1]

    @cached_property
    def _tail(self) -> Tail:
        return Tail.of(*self._known, self.pivot)

    @cached_property
    def _bodies(self) -> dict[str, Tensor]:
        return {}

    def _body(self, scale: str) -> Tensor:
        """What each bin below the tail is on a scale, (2**bits,) float32; computed once."""
        if scale not in self._bodies:
            scores, _, shares = self._known
            edges = bin_edges(np.arange(2**self.bits), self.bits)
            table = SCALES[scale](np.interp(edges, scores, np.log(shares)))
            self._bodies[scale] = torch.from_numpy(table.astype(np.float32)).to(self.pixels.device)
        return self._bodies[scale]


def probit_of(log_share: Tensor) -> Tensor:
    """−Φ⁻¹ of shares given by their logarithms, float64, same shape: to a relative 1e-6 as `-ndtri_exp`, on any device.

    Beyond what a float64 holds it is the x whose asymptotic tail, log Φ(−x) ≈ −x²/2 − log(x √2π) − 1/x², is that.
    """
    x = far = (-2 * log_share.clamp(max=-1.0)).sqrt()
    for _ in range(4):
        x = (far.square() - 2 * (x.log() + 0.5 * math.log(2 * math.pi) + 1 / x.square())).clamp(min=1.0).sqrt()
    return torch.where(log_share < -600, x, -torch.special.ndtri(log_share.clamp(min=-700).exp()))
