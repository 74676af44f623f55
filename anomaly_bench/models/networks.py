"""Convolutional encoder and decoder with a dense latent.

Features are normalised by groups of channels, image by image: training and evaluation compute the same, so that the
validation ELBO follows the training's, and no image's map depends on its batch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from ..errors import ConfigError


def halved_size(size: tuple[int, int], halvings: int) -> tuple[int, int]:
    """(H, W) of the innermost feature map. Raises ConfigError if a side cannot be halved that often."""
    step = 2**halvings
    if size[0] % step or size[1] % step or min(size) < step:
        near = [max(round(side / step), 1) * step for side in size]
        raise ConfigError(
            f"dataset.size={list(size)} cannot be halved {halvings} times, once per entry of model.channels: "
            f"use sides divisible by {step}, such as dataset.size={near}, or fewer entries"
        )
    return size[0] // step, size[1] // step


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation (Wu & He 2018) in up to 8 groups."""
    return nn.GroupNorm(math.gcd(8, channels), channels)


class Encoder(nn.Module):
    """Images (B, C, H, W) to the mean and the log variance of the posterior, (B, latent) each."""

    def __init__(self, shape: tuple[int, int, int], channels: Sequence[int], latent: int) -> None:
        super().__init__()
        height, width = halved_size(shape[1:], len(channels))
        layers: list[nn.Module] = []
        for before, after in zip([shape[0], *channels], channels, strict=False):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), group_norm(after), nn.LeakyReLU(0.2)]
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.posterior = nn.Linear(channels[-1] * height * width, 2 * latent)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.posterior(self.features(image)).chunk(2, dim=1)
        return mean, logvar


class Decoder(nn.Module):
    """Latents (B, latent) to reconstructions (B, C, H, W), unbounded."""

    def __init__(self, shape: tuple[int, int, int], channels: Sequence[int], latent: int) -> None:
        super().__init__()
        height, width = halved_size(shape[1:], len(channels))
        inner = channels[-1]
        layers: list[nn.Module] = [nn.Linear(latent, inner * height * width), nn.Unflatten(1, (inner, height, width))]
        outward = list(reversed(channels))
        for before, after in itertools.pairwise(outward):
            layers += [
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1),
                group_norm(after),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(outward[-1], shape[0], 4, stride=2, padding=1))

    def forward(self, latent: Tensor) -> Tensor:
        reconstruction: Tensor = self.layers(latent)
        return reconstruction
