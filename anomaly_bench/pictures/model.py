"""What a logger may draw of a model."""

from __future__ import annotations

import torch
from torch import Tensor

from anomaly_bench.models import VAE


@torch.no_grad()
def model_pictures(model: VAE, image: Tensor, samples: int = 8) -> dict[str, Tensor]:
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
