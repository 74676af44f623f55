"""Ensembles of predictors whose maps live on different scales (Zhou et al. 2020, arXiv 2005.10686)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import ConfigError
from .base import one_of, register


@register("ensemble")
@dataclass(frozen=True)
class Ensemble:
    """Mean, product or maximum of its members' maps, each calibrated on normal validation pixels.

    A calibrated score is the share of normal validation pixels that score lower, in [0, 1].
    """

    members: Sequence[str] = field(default_factory=list)
    how: str = "mean"

    def __post_init__(self) -> None:
        one_of("how", self.how, ("mean", "product", "max"))
        if len(self.members) < 2:
            raise ConfigError(f"members={list(self.members)}: an ensemble needs at least two")

    def combine(self, calibrated: Sequence[Tensor]) -> Tensor:
        """One map (B, 1, H, W) from the members' calibrated maps."""
        stacked = torch.stack(list(calibrated))
        if self.how == "mean":
            return stacked.mean(dim=0)
        return stacked.prod(dim=0) if self.how == "product" else stacked.amax(dim=0)
