"""Ensembles of maps that live on different scales (Zhou et al. 2020, arXiv 2005.10686)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from anomaly_bench.base.errors import ConfigError

from .base import one_of, register

Calibrate = Callable[[str, Tensor], Tensor]
TimedMap = tuple[Tensor, float]

WAYS = ("mean", "product", "max")


def combine(calibrated: Sequence[Tensor], how: str) -> Tensor:
    """Mean, product (as geometric mean, which ranks as the product) or maximum of maps of one shape, calibrated to [0, 1]."""
    stacked = torch.stack(list(calibrated))
    if how == "mean":
        return stacked.mean(dim=0)
    return rooted(stacked.prod(dim=0), len(stacked)) if how == "product" else stacked.amax(dim=0)


def rooted(product: Tensor, factors: int) -> Tensor:
    """The geometric mean of that many factors: products crowd near 0, where a curve's bins would be too wide for them."""
    return product.pow(1 / factors)


@register("ensemble")
@dataclass(frozen=True)
class Ensemble:
    """Mean, product or maximum of its members' maps, each calibrated on normal validation pixels.

    A calibrated score is the share of normal validation pixels that score lower, in [0, 1].

    mean: good where members err in different places. product (its n-th root, which ranks the same): demands that all
    agree; a single one that is blind to an anomaly loses it. max: one is enough, so it finds the most kinds of anomalies
    and collects all false alarms. Bad when most members are bad: see `SubsetSearch`.
    """

    members: Sequence[str] = field(default_factory=list)
    how: str = "mean"

    def __post_init__(self) -> None:
        one_of("how", self.how, WAYS)
        if len(self.members) < 2:
            raise ConfigError(f"members={list(self.members)}: an ensemble needs at least two")

    def combine(self, calibrated: Sequence[Tensor]) -> Tensor:
        """One map (B, 1, H, W) from the members' calibrated maps."""
        return combine(calibrated, self.how)


@dataclass(frozen=True)
class SeedEnsemble:
    """The same predictors with several models: maps of runs of one setting that differ in the seed alone.

    how: mean, product or max of the models' maps, each calibrated on normal validation pixels *with its own model*, as another
    seed's scores live on another scale (deep ensembles: Lakshminarayanan et al. 2017, arXiv 1612.01474). Steadier than one
    seed; says nothing more about what all seeds miss.
    """

    how: str = "mean"

    def __post_init__(self) -> None:
        one_of("how", self.how, WAYS)

    def maps(self, models: Iterable[Mapping[str, TimedMap]]) -> dict[str, TimedMap]:
        """The ensemble's map (B, 1, H, W) of each predictor, in [0, 1], with its seconds: all models' together.

        models: of each, its calibrated maps of the same images by predictor; only one model's are held at a time. Raises
        ValueError unless there are at least two, of the same predictors.
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
        if self.how == "mean":
            return total / models
        return rooted(total, models) if self.how == "product" else total
