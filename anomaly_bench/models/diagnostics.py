"""What there is to see of a model in training: which latents it uses, what it reconstructs and what it imagines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .vae import VAE

ACTIVE = 0.01  # Burda et al. 2016


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

    def compute(self) -> int:
        """The number of active units over all images taken in; 0 without any."""
        images = max(self.images, 1)
        return int((self.squares / images - (self.total / images).square() > ACTIVE).sum())


@torch.no_grad()
def pictures(model: VAE, image: Tensor, samples: int = 8) -> dict[str, Tensor]:
    """What a logger may draw: `reconstruction` of images (B, C, H, W), and `prior`, decoded samples of the prior.

    Always the same samples, without a draw from the run's random numbers; none from a model without a prior.
    """
    training = model.training
    model.eval()
    shown = {"reconstruction": model.decode(model.encode(image)[0])}
    if model.variational:
        latent = torch.randn(samples, *model.latent_shape, generator=torch.Generator().manual_seed(0))
        shown["prior"] = model.decode(latent.to(image))
    model.train(training)
    return shown
