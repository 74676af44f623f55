"""Ensembles of maps that live on different scales (Zhou et al. 2020, arXiv 2005.10686)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import ConfigError
from ..evidence import Evidence
from .base import Predictor, one_of, register

Calibrate = Callable[[str, Tensor], Tensor]

WAYS = ("mean", "product", "max")


def combine(calibrated: Sequence[Tensor], how: str) -> Tensor:
    """Mean, product or maximum of maps of one shape, calibrated to [0, 1]."""
    stacked = torch.stack(list(calibrated))
    if how == "mean":
        return stacked.mean(dim=0)
    return stacked.prod(dim=0) if how == "product" else stacked.amax(dim=0)


@register("ensemble")
@dataclass(frozen=True)
class Ensemble:
    """Mean, product or maximum of its members' maps, each calibrated on normal validation pixels.

    A calibrated score is the share of normal validation pixels that score lower, in [0, 1].

    mean: good where members err in different places. product: demands that all agree; a single one that is blind to an
    anomaly loses it. max: one is enough, so it finds the most kinds of anomalies and collects all false alarms. Bad
    when most members are bad: see `best_subset`.
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

    def maps(
        self,
        predictors: Mapping[str, Predictor],
        evidence: Sequence[Evidence],
        calibrate: Sequence[Calibrate],
    ) -> dict[str, tuple[Tensor, float]]:
        """The ensemble's map (B, 1, H, W) of each predictor, in [0, 1], with its seconds: all models' together.

        evidence: one per model, all on the same images, each model `frozen`; calibrate: each model's own, in the same order.
        Raises ValueError unless there are at least two models and a calibration for each.
        """
        if len(evidence) < 2 or len(calibrate) != len(evidence):
            raise ValueError(
                f"expected at least two models and a calibration for each, got {len(evidence)} and {len(calibrate)}"
            )
        out = {}
        for name, predictor in predictors.items():
            timed = [one.timed(predictor) for one in evidence]
            scores = [own(name, score) for own, (score, _) in zip(calibrate, timed, strict=True)]
            out[name] = combine(scores, self.how), sum(seconds for _, seconds in timed)
        return out
