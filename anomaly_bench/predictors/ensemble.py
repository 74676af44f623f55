"""Ensembles of maps that live on different scales (Zhou et al. 2020, arXiv 2005.10686)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from anomaly_bench.base.errors import ConfigError

from .base import one_of, register
from .stopwatch import Seconds

Calibrate = Callable[[str, Tensor, str], Tensor]  # of a member's name, its map and the scale
TimedMap = tuple[Tensor, Seconds]

SCALES = {"probit": "probit", "mean": "share", "product": "share", "max": "share", "tail": "tail"}  # of each way
PIVOTS = {"probit": 0.0, "share": 1.0, "tail": 0.0}  # where the bins of a curve have to be finest, on each scale
WAYS = tuple(SCALES)


def combine(calibrated: Sequence[Tensor], how: str) -> Tensor:
    """One map from maps of one shape, on the scale of this way; product is the geometric mean, which ranks as it."""
    stacked = torch.stack(list(calibrated))
    if how == "max":
        return stacked.amax(dim=0)
    return rooted(stacked.prod(dim=0), len(stacked)) if how == "product" else stacked.mean(dim=0)


def rooted(product: Tensor, factors: int) -> Tensor:
    """The geometric mean of that many factors: products crowd near 0, where a curve's bins would be too wide for them."""
    return product.pow(1 / factors)


class Combining:
    """What every ensemble has in common: how it combines maps of one shape, each calibrated on normal validation pixels.

    how: probit, the mean of the standard normal quantiles of calibrated shares (Stouffer et al. 1949); tail, the mean of −log
    of the share of normal pixels that score higher (Fisher 1932); mean, product (its n-th root, which ranks the same) or max of
    the shares of normal pixels that score lower, in [0, 1].
    """

    how: str

    @property
    def scale(self) -> str:
        """The scale that maps have to be on: share, probit or tail; see `Calibration`."""
        return SCALES[self.how]

    @property
    def pivot(self) -> float:
        """Around which score the bins of the combined map's curve have to be finest."""
        return PIVOTS[self.scale]


@register("ensemble")
@dataclass(frozen=True)
class Ensemble(Combining):
    """Its members' maps combined, each calibrated on normal validation pixels.

    how: see Combining. probit: evidence adds up, as shares of .99 and .9999 stay far apart. tail: the same, but the strongest
    member counts for more. mean (of shares): good where members err in different places; all that is rarer than one normal
    pixel in a hundred counts about the same, so that members blind to an anomaly drown the others. product: demands that all
    agree; a single one that is blind to an anomaly loses it. max: one is enough, so it finds the most kinds of anomalies and
    collects all false alarms. Bad when most members are bad: see `SubsetSearch`.
    """

    members: Sequence[str] = field(default_factory=list)
    how: str = "probit"

    def __post_init__(self) -> None:
        one_of("how", self.how, WAYS)
        if len(self.members) < 2:
            raise ConfigError(f"members={list(self.members)}: an ensemble needs at least two")

    def combine(self, calibrated: Sequence[Tensor]) -> Tensor:
        """One map (B, 1, H, W) from the members' maps on the ensemble's scale."""
        return combine(calibrated, self.how)


@dataclass(frozen=True)
class SeedEnsemble(Combining):
    """The same predictors with several models: maps of runs of one setting that differ in the seed alone.

    how: see Combining. Each map is calibrated on normal validation pixels *with its own model*, as another seed's scores live
    on another scale (deep ensembles: Lakshminarayanan et al. 2017, arXiv 1612.01474). Steadier than one seed; says nothing
    more about what all seeds miss.
    """

    how: str = "probit"

    def __post_init__(self) -> None:
        one_of("how", self.how, WAYS)

    def maps(self, models: Iterable[Mapping[str, TimedMap]]) -> dict[str, TimedMap]:
        """The ensemble's map (B, 1, H, W) of each predictor with its seconds: all models' together.

        models: of each, its maps of the same images on the ensemble's scale, by predictor; only one model's are held at a
        time. Raises ValueError unless there are at least two, of the same predictors.
        """
        total: dict[str, TimedMap] = {}
        count = 0
        for count, maps in enumerate(models, 1):
            if count > 1 and maps.keys() != total.keys():
                raise ValueError(f"expected maps of {', '.join(total)} from every model, got {', '.join(maps)}")
            total = {
                name: (self._joined(total[name][0], score), total[name][1] + seconds) if count > 1 else (score, seconds)
                for name, (score, seconds) in maps.items()
            }
        if count < 2:
            raise ValueError(f"expected at least two models, got {count}")
        return {name: (self._finished(score, count), seconds) for name, (score, seconds) in total.items()}

    def _joined(self, score: Tensor, other: Tensor) -> Tensor:
        if self.how == "max":
            return torch.maximum(score, other)
        return score * other if self.how == "product" else score + other

    def _finished(self, total: Tensor, models: int) -> Tensor:
        if self.how == "max":
            return total
        return rooted(total, models) if self.how == "product" else total / models
