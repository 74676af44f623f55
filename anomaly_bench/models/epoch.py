"""What an epoch adds up over its batches: means over images, and which latent units are active."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

ACTIVE = 0.01  # Burda et al. 2016


class Means:
    """Means over images, from means over batches."""

    def __init__(self) -> None:
        self.images = 0
        self.totals: dict[str, Tensor] = {}

    def update(self, values: Mapping[str, Tensor], images: int) -> None:
        """Take in means, () each, over so many images."""
        self._add({name: value.detach() * images for name, value in values.items()}, images)

    def merge(self, other: Means) -> None:
        """Add what another process has taken in."""
        self._add(other.totals, other.images)

    def compute(self) -> dict[str, Tensor]:
        """The means, () each."""
        return {name: total / self.images for name, total in self.totals.items()}

    def _add(self, totals: Mapping[str, Tensor], images: int) -> None:
        self.images += images
        for name, total in totals.items():
            self.totals[name] = self.totals[name] + total.to(self.totals[name]) if name in self.totals else total


class ActiveUnits:
    """How many latent units depend on the image: Var_x(posterior mean) > 0.01 (Burda et al. 2016, arXiv 1509.00519)."""

    def __init__(self) -> None:
        self.images = 0
        self.total = self.squares = torch.zeros((), dtype=torch.float64)

    def update(self, mean: Tensor) -> None:
        """Take in the posterior means (B, latent…) of some images."""
        values = mean.detach().flatten(1).cpu().double()
        self.images += len(values)
        self.total = self.total + values.sum(dim=0)
        self.squares = self.squares + values.square().sum(dim=0)

    def merge(self, other: ActiveUnits) -> None:
        """Add what another process has taken in."""
        self.images += other.images
        self.total, self.squares = self.total + other.total, self.squares + other.squares

    def compute(self) -> int:
        """The number of active units over all images taken in; 0 without any."""
        images = max(self.images, 1)
        return int((self.squares / images - (self.total / images).square() > ACTIVE).sum())
