"""The terms of the ELBO, as functions of tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

PROBABILITY = 1e-7  # how close to 0 or 1 a Bernoulli probability may come


def at_least_single(values: Tensor) -> Tensor:
    """Half precision to single: sums over thousands of values, and 1 − 1e-7, do not exist in it."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def kl_standard_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) ‖ N(0, I)) in nats, summed over the latents: (B, latent…) twice to (B,).

    Kingma & Welling 2014, appendix B.
    """
    mean, logvar = at_least_single(mean), at_least_single(logvar)
    return 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).flatten(1).sum(dim=1)


def gaussian_nll(image: Tensor, reconstruction: Tensor, log_sigma: Tensor) -> Tensor:
    """−log N(image; reconstruction, sigma²) in nats, summed over channels and pixels: (B, C, H, W) twice to (B,).

    log_sigma: a single one, or one per pixel (B, C, H, W).
    """
    reconstruction = at_least_single(reconstruction)
    squared = ((image - reconstruction) / log_sigma.exp()).square()
    return (0.5 * squared + log_sigma + 0.5 * math.log(2 * math.pi)).flatten(1).sum(dim=1)


def laplace_nll(image: Tensor, reconstruction: Tensor, log_sigma: Tensor) -> Tensor:
    """−log Laplace(image; reconstruction, b = exp(log_sigma)) in nats, summed like `gaussian_nll`; the variance is 2b²."""
    reconstruction = at_least_single(reconstruction)
    absolute = (image - reconstruction).abs() / log_sigma.exp()
    return (absolute + log_sigma + math.log(2)).flatten(1).sum(dim=1)


def bernoulli_nll(image: Tensor, probability: Tensor, log_sigma: Tensor) -> Tensor:
    """−x log p − (1 − x) log(1 − p) in nats, summed like `gaussian_nll`; log_sigma has no part in it.

    For x in {0, 1} this is −log Bernoulli(x; p). Between 0 and 1 it is the usual cross-entropy of grey values, which is no
    normalised density (Loaiza-Ganem & Cunningham 2019, arXiv 1907.06845).
    """
    probability = at_least_single(probability).clamp(PROBABILITY, 1 - PROBABILITY)
    return -(image * probability.log() + (1 - image) * (-probability).log1p()).flatten(1).sum(dim=1)
