"""What a logger may draw of a model."""

from __future__ import annotations

import torch
from torch import Tensor

from anomaly_bench.models import VAE
from anomaly_bench.models.slices import slices_of


@torch.no_grad()
def model_pictures(model: VAE, image: Tensor, samples: int = 8) -> dict[str, Tensor]:
    """What a logger may draw: `reconstruction` of images (B, C, H, W), and `prior`, decoded samples of the prior.

    Always the same samples, without a draw from the run's random numbers; none from a model without a prior.
    """
    training = model.training
    model.eval()
    shown = {"reconstruction": model.decode(model.encode(image)[0])} | prior_pictures(model, samples)
    model.train(training)
    return shown


@torch.no_grad()
def prior_pictures(model: VAE, samples: int) -> dict[str, Tensor]:
    """The `prior` of `model_pictures`: images, or the slices in the middle of volumes."""
    if not model.variational:
        return {}
    latent = torch.randn(samples, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    training = model.training
    decoded = model.eval().decode(latent.to(next(model.parameters())))
    model.train(training)
    return {"prior": slices_of(decoded)[model.depth // 2 :: model.depth]}
