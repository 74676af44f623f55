"""Which members make the ensemble: searched on validation, to be scored on test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import NamedTuple

import torch
from torch import Tensor

from anomaly_bench.base.errors import ConfigError

from .base import one_of, register
from .ensemble import SCALES, WAYS, Calibrate, combine

EXHAUSTIVE = 12  # members: beyond, 2^n subsets take too long
SEARCHED = ("probit", "mean", "product", "max")


@register("subset_search")
@dataclass(frozen=True)
class SubsetSearch:
    """An ensemble whose members and way of combining are searched on validation images (Zhou et al. 2020, arXiv 2005.10686).

    Every subset of at least two `members` in every way of `how` is tried (see `best_subset`), on at most `pixels` normal and
    as many anomalous pixels, and the one of the highest average precision is then an ordinary `Ensemble`: its threshold
    comes from normal validation pixels and test images have no part in it.

    Good where some members are bad for this dataset or this model, as it leaves them out. Bad where validation has few
    anomalies or of other kinds than test: it uses labels, which no single predictor does, and it overfits them.
    """

    members: Sequence[str] = field(default_factory=list)
    how: Sequence[str] = SEARCHED
    pixels: int = 100_000

    def __post_init__(self) -> None:
        for way in self.how:
            one_of("how", way, WAYS)
        if not self.how:
            raise ConfigError(f"how=[]: expected at least one of {', '.join(WAYS)}")
        if len(set(self.members)) < 2:
            raise ConfigError(f"members={list(self.members)}: a search needs at least two to choose from")
        if self.pixels < 1:
            raise ConfigError(f"pixels={self.pixels}: expected at least 1")


class PixelSample:
    """A uniform random sample of pixels with the scores of every member there, in bounded memory: 4 · size · members bytes.

    Normal and anomalous pixels are sampled apart, at most `size` of each, as anomalous ones are rare; `weights` undoes that.
    The same pixels are kept for all members, the same ones for the same seed and order of batches.
    """

    def __init__(self, size: int = 100_000, seed: int = 0) -> None:
        if size < 1:
            raise ValueError(f"expected a sample of at least one pixel, got {size}")
        self.size = size
        self.names: tuple[str, ...] = ()
        self._generator = torch.Generator().manual_seed(seed)
        self._counted = [0, 0]
        self._keys = [torch.empty(0), torch.empty(0)]
        self._scores = [torch.empty(0, 0), torch.empty(0, 0)]

    def update(self, maps: Mapping[str, Tensor], mask: Tensor, foreground: Tensor) -> None:
        """Sample from a batch: maps (B, 1, H, W) by member, mask and foreground likewise, bool.

        Raises ValueError if the members are not those of the batches before.
        """
        if not self.names:
            self.names = tuple(maps)
            self._scores = [torch.empty(0, len(self.names)) for _ in range(2)]
        if set(maps) != set(self.names):
            raise ValueError(f"expected maps of {', '.join(self.names)}, got {', '.join(maps)}")
        for label, chosen in enumerate((foreground & ~mask, foreground & mask)):
            count = int(chosen.sum())
            keys = torch.rand(count, generator=self._generator)
            best = keys.topk(min(self.size, count)).indices
            scores = torch.stack([maps[name][chosen].cpu().float()[best] for name in self.names], dim=1)
            keys, scores = torch.cat([self._keys[label], keys[best]]), torch.cat([self._scores[label], scores])
            best = keys.topk(min(self.size, len(keys))).indices
            self._keys[label], self._scores[label] = keys[best], scores[best]
            self._counted[label] += count

    def pixels(self) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (N, members), whether anomalous (N,) bool, and how many pixels each one stands for (N,) float64."""
        sizes = [len(keys) for keys in self._keys]
        share = [counted / max(size, 1) for counted, size in zip(self._counted, sizes, strict=True)]
        weights = torch.cat([torch.full((size,), each).double() for size, each in zip(sizes, share, strict=True)])
        labels = torch.cat([torch.zeros(sizes[0]), torch.ones(sizes[1])]).bool()
        return torch.cat(self._scores), labels, weights


class Choice(NamedTuple):
    """Members of an ensemble, how they are combined, the average precision they reach on the sample, and of how many tried."""

    members: tuple[str, ...]
    how: str
    ap: float
    tried: int = 1


def best_subset(
    sample: PixelSample,
    calibrate: Calibrate,
    ways: Sequence[str] = SEARCHED,
    exhaustive: int = EXHAUSTIVE,
) -> Choice:
    """The ensemble of at least two members with the highest average precision over sampled *validation* pixels.

    All subsets are tried in all ways up to `exhaustive` members, 2^n − n − 1 of them; with more, greedily from the best pair,
    one member at a time as long as it helps (Caruana et al. 2004). The first of equals wins, so fewer members do. It is
    chosen with labels, so that its value there is optimistic: score it on test.

    calibrate: what puts a member's sampled scores on the scale of a way.

    Raises:
        ValueError: fewer than two members, or no normal or no anomalous pixel.
    """
    scores, labels, weights = sample.pixels()
    if len(sample.names) < 2:
        raise ValueError(f"expected at least two members to choose from, got {len(sample.names)}")
    if not labels.any() or labels.all():
        raise ValueError("expected normal and anomalous validation pixels; there are none of one kind")

    columns = {
        scale: [calibrate(name, scores[:, column], scale) for column, name in enumerate(sample.names)]
        for scale in {SCALES[how] for how in ways}
    }

    def reached(subset: Sequence[int], how: str) -> Choice:
        combined = combine([columns[SCALES[how]][column] for column in subset], how)
        names = tuple(sample.names[column] for column in subset)
        return Choice(names, how, average_precision(combined, labels, weights))

    search = _all_subsets if len(sample.names) <= exhaustive else _greedy_subsets
    choices = [search(len(sample.names), partial(reached, how=how)) for how in ways]
    return max(choices, key=attrgetter("ap"))._replace(tried=sum(choice.tried for choice in choices))


def average_precision(scores: Tensor, labels: Tensor, weights: Tensor) -> float:
    """Σ (recall step) · precision over the distinct scores, descending; ties count together. All are (N,)."""
    order = scores.argsort(descending=True)
    ranked, hits = scores[order], (weights * labels)[order].cumsum(0)
    last = torch.cat([ranked[1:] != ranked[:-1], torch.ones(1, dtype=torch.bool)])
    hits, called = hits[last], weights[order].cumsum(0)[last]
    steps = hits.diff(prepend=hits.new_zeros(1))
    return float((steps * hits / called).sum() / hits[-1])


def _all_subsets(count: int, reached: Callable[[Sequence[int]], Choice]) -> Choice:
    subsets = (subset for size in range(2, count + 1) for subset in itertools.combinations(range(count), size))
    return max(map(reached, subsets), key=attrgetter("ap"))._replace(tried=2**count - count - 1)


def _greedy_subsets(count: int, reached: Callable[[Sequence[int]], Choice]) -> Choice:
    tried: dict[tuple[int, ...], Choice] = {
        subset: reached(subset) for subset in itertools.combinations(range(count), 2)
    }
    best = chosen = max(tried, key=lambda subset: tried[subset].ap)
    while len(chosen) < count:
        longer = {(*chosen, member): reached((*chosen, member)) for member in range(count) if member not in chosen}
        chosen = max(longer, key=lambda subset: longer[subset].ap)
        tried |= longer
        if tried[chosen].ap <= tried[best].ap:
            break
        best = chosen
    return tried[best]._replace(tried=len(tried))
