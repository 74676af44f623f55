"""The terms of the ELBO, as functions of tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def kl_standard_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) ‖ N(0, I)) in nats, summed over the latents: (B, latent) twice to (B,).

    Kingma & Welling 2014, appendix B.
    """
    return 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).sum(dim=1)


def gaussian_nll(image: Tensor, reconstruction: Tensor, log_sigma: Tensor) -> Tensor:
    """−log N(image; reconstruction, sigma²) in nats, summed over channels and pixels: (B, C, H, W) twice to (B,)."""
    squared = ((image - reconstruction) / log_sigma.exp()).square()
    return (0.5 * squared + log_sigma + 0.5 * math.log(2 * math.pi)).flatten(1).sum(dim=1)


class GaussianLikelihood(nn.Module):
    """p(x|z) with one standard deviation for all pixels, fixed or learned (Rybkin et al. 2021, arXiv 2006.13202)."""

    log_sigma: Tensor

    def __init__(self, sigma: float, learned: bool) -> None:
        super().__init__()
        log_sigma = torch.tensor(math.log(sigma))
        if learned:
            self.log_sigma = nn.Parameter(log_sigma)
        else:
            self.register_buffer("log_sigma", log_sigma)

    def nll(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        """−log p(x|z) per image (B,), in nats."""
        return gaussian_nll(image, reconstruction, self.log_sigma)
