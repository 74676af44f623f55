"""What all networks share: what one is to be, its two ends, and how features are normalised."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from torch import Tensor, nn

from anomaly_bench.base.errors import ConfigError


class NetworkSpec(NamedTuple):
    """What a network is to be.

    shape: (C, H, W) of an image, (C, D, H, W) of a volume; outputs: channels that the decoder gives; latent: size of the
    latent, or channels of the latent map if it is spatial; channels: feature maps of each layer or level, None for the family's
    own; attention: heads of self-attention on the innermost feature map, 0 for none; patch: side of the patches of a network
    that has some, in pixels, None for the family's own; positions: how a transformer tells them apart, learned or sinusoidal.
    """

    shape: tuple[int, ...]
    outputs: int
    latent: int
    channels: tuple[int, ...] | None = None
    spatial: bool = False
    attention: int = 0
    patch: int | None = None
    positions: str = "learned"


Network = Callable[[NetworkSpec], tuple[nn.Module, nn.Module]]


class Encoder(nn.Module):
    """Images (B, C, H, W) to the mean and the log variance of the posterior: (B, latent) each, or (B, latent, h, w).

    inner: the shape of the innermost features, (channels, h, w), of volumes (channels, d, h, w).
    """

    def __init__(self, body: Iterable[nn.Module], inner: tuple[int, ...], spec: NetworkSpec, bias: bool = True) -> None:
        super().__init__()
        self.features = nn.Sequential(*body, *([] if spec.spatial else [nn.Flatten()]))
        self.posterior = (
            place_by_place(inner)(inner[0], 2 * spec.latent, 1, bias=bias)
            if spec.spatial
            else nn.Linear(math.prod(inner), 2 * spec.latent, bias=bias)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.posterior(self.features(image)).chunk(2, dim=1)
        return mean, logvar


class Decoder(nn.Module):
    """Latents (B, latent) or (B, latent, h, w) to (B, outputs, H, W), unbounded."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, latent: Tensor) -> Tensor:
        output: Tensor = self.layers(latent)
        return output


class SelfAttention(nn.Module):
    """Multi-head attention among the positions of a feature map (B, channels, h, w) or (B, channels, d, h, w), added to it.

    Vaswani et al. 2017 (arXiv 1706.03762), after group normalisation, as in the bottleneck of Rombach et al. 2022.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, features: Tensor) -> Tensor:
        positions = self.norm(features).flatten(2).transpose(1, 2)
        # need_weights: the fused kernels that it rules out have no deterministic backward pass on GPUs
        mixed, _ = self.attention(positions, positions, positions, need_weights=True)
        return features + mixed.transpose(1, 2).reshape(features.shape)


def start(inner: tuple[int, ...], spec: NetworkSpec, bias: bool = True) -> list[nn.Module]:
    """The decoder's first layers: from the latent to the innermost feature map (channels, height, width)."""
    if spec.spatial:
        return [place_by_place(inner)(spec.latent, inner[0], 1, bias=bias)]
    return [nn.Linear(spec.latent, math.prod(inner), bias=bias), nn.Unflatten(1, inner)]


def place_by_place(inner: tuple[int, ...]) -> type[nn.Conv2d] | type[nn.Conv3d]:
    """The convolution for features of this shape, (channels, h, w) or (channels, d, h, w)."""
    return nn.Conv2d if len(inner) == 3 else nn.Conv3d


def attention(channels: int, heads: int) -> list[nn.Module]:
    """The self-attention that a feature map goes through; nothing for 0 heads."""
    if heads == 0:
        return []
    if heads < 0 or channels % heads:
        raise ConfigError(
            f"model.attention={heads}: expected 0, or a number of heads that divides the {channels} innermost channels"
        )
    return [SelfAttention(channels, heads)]


def halved_size(size: tuple[int, ...], halvings: int) -> tuple[int, int]:
    """(H, W) of the innermost feature map. Raises ConfigError if a side cannot be halved that often."""
    step = 2**halvings
    if size[0] % step or size[1] % step or min(size) < step:
        near = [max(round(side / step), 1) * step for side in size]
        raise ConfigError(
            f"dataset.size={list(size)} cannot be halved {halvings} times, once per entry of model.channels: "
            f"use sides divisible by {step}, such as dataset.size={near}, or fewer entries"
        )
    return size[0] // step, size[1] // step


def patches(size: tuple[int, ...], patch: int, poolings: int = 0) -> tuple[int, int]:
    """(rows, columns) of the patches of an image of size (H, W). Raises ConfigError unless they tile it and can be pooled.

    poolings: how often four neighbouring patches become one.
    """
    if patch < 1:
        raise ConfigError(f"model.patch={patch}: expected a side in pixels, at least 1, or null for the network's own")
    step = patch * 2**poolings
    if size[0] % step or size[1] % step:
        near = [max(round(side / step), 1) * step for side in size]
        pooled = f" that are pooled {poolings} times, once between two entries of model.channels" if poolings else ""
        raise ConfigError(
            f"dataset.size={list(size)} is not divisible into patches of {patch} pixels{pooled}: use sides divisible by "
            f"{step}, such as dataset.size={near}, or another model.patch"
        )
    return size[0] // patch, size[1] // patch


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation (Wu & He 2018) in up to 8 groups."""
    return nn.GroupNorm(math.gcd(8, channels), channels)
