"""Two levels of latents, the lower one's prior given by the upper one (Sønderby et al. 2016; Vahdat & Kautz 2020)."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from anomaly_bench.base.errors import ConfigError

from .base import Encoder, NetworkSpec, attention, group_norm, halved_size, start

SLOPE = 0.2  # of the leaky ReLU
LARGEST = 5.0  # of the log of a prior's standard deviation, as in NVAE's public code


def hierarchical(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
    """A small NVAE (Vahdat & Kautz 2020, arXiv 2007.03898) of the layers of `conv`, with two levels of latents.

    z₂ is of the innermost features, z₁ of those one layer further out, with p(z₂) = N(0, I), p(z₁|z₂) = N(m, s²) and
    q(z₁|x, z₂) = N(m + s · d, (s · e)²): the decoder says m and s of z₂, the encoder d and e of x, so that z₁'s posterior is
    relative to its prior, which the ladder of Sønderby et al. 2016 (arXiv 1602.02282) wants it to be as well.

    The latent is (z₁ − m) / s and then z₂. Its prior is N(0, I) and its posterior N(d, e²): the KL of each level is in closed
    form, no sample of z₂ is needed for it, and their sum is KL(q(z₁, z₂|x) ‖ p(z₁, z₂)). NVAE has more levels, and an encoder
    that sees the sampled z₂.
    Raises ConfigError for fewer than two channels.
    """
    channels = spec.channels or (16, 32, 64, 64)
    if len(channels) < 2:
        raise ConfigError(
            f"model.channels={list(channels)}: model.network=hierarchical has a level of latents at each of the two innermost "
            "entries; give at least two, or set model.channels=null"
        )
    height, width = halved_size(spec.shape[1:], len(channels))
    upper, lower = (channels[-1], height, width), (channels[-2], 2 * height, 2 * width)
    body = [layer for pair in itertools.pairwise([spec.shape[0], *channels[:-1]]) for layer in halved(*pair)]
    inward = [*halved(lower[0], upper[0]), *attention(upper[0], spec.attention)]
    encoder = TwoLevelEncoder(nn.Sequential(*body), Encoder([], lower, spec), Encoder(inward, upper, spec))
    outward = [*start(upper, spec), *attention(upper[0], spec.attention), *doubled(upper[0], lower[0])]
    inject = start(lower, spec)
    for parameter in inject[0].parameters():  # else z₁'s noise drowns the features, and the posterior collapses
        nn.init.zeros_(parameter)
    layers = [layer for pair in itertools.pairwise(channels[-2::-1]) for layer in doubled(*pair)]
    layers.append(nn.ConvTranspose2d(channels[0], spec.outputs, 4, 2, 1))
    shapes = ((spec.latent, *lower[1:]), (spec.latent, *upper[1:])) if spec.spatial else ((spec.latent,),) * 2
    prior = Encoder([], lower, spec)
    return encoder, TwoLevelDecoder(
        shapes, nn.Sequential(*outward), prior, nn.Sequential(*inject), nn.Sequential(*layers)
    )


def halved(before: int, after: int) -> list[nn.Module]:
    """A layer of `conv` that halves the feature map."""
    return [nn.Conv2d(before, after, 4, 2, 1), group_norm(after), nn.LeakyReLU(SLOPE)]


def doubled(before: int, after: int) -> list[nn.Module]:
    """A layer of `conv` that doubles the feature map."""
    return [nn.ConvTranspose2d(before, after, 4, 2, 1), group_norm(after), nn.LeakyReLU(SLOPE)]


class TwoLevelEncoder(nn.Module):
    """Images (B, C, H, W) to mean and log variance of both levels' latents, the lower one's first: (B, latents) each."""

    def __init__(self, body: nn.Module, lower: Encoder, upper: Encoder) -> None:
        super().__init__()
        self.body, self.lower, self.upper = body, lower, upper

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(image)
        mean, logvar = (
            torch.cat([part.flatten(1) for part in parts], dim=1)
            for parts in zip(self.lower(features), self.upper(features), strict=True)
        )
        return mean, logvar


class TwoLevelDecoder(nn.Module):
    """Latents (B, latents) of both levels to (B, outputs, H, W), unbounded.

    level_shapes: of the latents of the lower level and of the upper one. outward: z₂ to features; prior: these to mean and log
    variance of p(z₁|z₂); inject: z₁ to what is added to the features; layers: the rest.
    """

    def __init__(
        self,
        level_shapes: tuple[tuple[int, ...], ...],
        outward: nn.Module,
        prior: nn.Module,
        inject: nn.Module,
        layers: nn.Module,
    ) -> None:
        super().__init__()
        self.level_shapes = level_shapes
        self.outward, self.prior, self.inject, self.layers = outward, prior, inject, layers

    def forward(self, latent: Tensor) -> Tensor:
        relative, upper = self.split(latent)
        features = self.outward(upper)
        mean, log_sigma = self.prior_of_lower(features)
        output: Tensor = self.layers(features + self.inject(mean + log_sigma.exp() * relative))
        return output

    def split(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """The latents of the lower level, relative to their prior, and of the upper one, each in its shape."""
        lower, upper = latent.split([math.prod(shape) for shape in self.level_shapes], dim=1)
        return lower.unflatten(1, self.level_shapes[0]), upper.unflatten(1, self.level_shapes[1])

    def prior_of_lower(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of p(z₁|z₂), of the features that z₂ gives; the latter within ±5."""
        mean, log_sigma = self.prior(features)
        return mean, LARGEST * torch.tanh(log_sigma / LARGEST)
