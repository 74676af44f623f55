"""ConvNeXt's residual blocks (Liu et al. 2022), level by level."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from .base import Decoder, Encoder, NetworkSpec, attention, group_norm, halved_size, start

SCALE = 1e-1  # at which a block's branch starts; the paper's 1e-6 is for networks of tens of blocks


def convnext(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
    """A level of a halving and a ConvNeXt block (Liu et al. 2022, arXiv 2201.03545) per entry of channels.

    A level halves by a 2×2 convolution of stride 2 after normalisation, as in the paper; the decoder doubles by its transpose.
    The paper's first layer is 4×4 of stride 4: here no level is left out, as the decoder needs each of them. It normalises the
    channels of each position alone, which takes an image's contrast away: with groups over all positions the ELBO is higher.
    """
    channels = spec.channels or (16, 32, 64, 64)
    inner = (channels[-1], *halved_size(spec.shape[1:], len(channels)))
    body: list[nn.Module] = []
    for before, after in itertools.pairwise([spec.shape[0], *channels]):
        body += [*([group_norm(before)] if body else []), nn.Conv2d(before, after, 2, 2), Block(after)]
    encoder = Encoder([*body, *attention(inner[0], spec.attention), group_norm(inner[0])], inner, spec)
    layers = [*start(inner, spec), *attention(inner[0], spec.attention)]
    for before, after in itertools.pairwise([*reversed(channels), spec.outputs]):
        layers += [Block(before), group_norm(before), nn.ConvTranspose2d(before, after, 2, 2)]
    return encoder, Decoder(layers)


class Block(nn.Module):
    """A depthwise 7×7 convolution, group normalisation, a perceptron per position of four times the width; added, scaled.

    Features (B, channels, h, w) to features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            group_norm(channels),
            nn.Conv2d(channels, 4 * channels, 1),
            nn.GELU(),
            nn.Conv2d(4 * channels, channels, 1),
        )
        self.scale = nn.Parameter(torch.full((channels, 1, 1), SCALE))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.scale * self.branch(features)
