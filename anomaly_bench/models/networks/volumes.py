"""Convolutions of volumes: slices of a subject that are encoded and reconstructed together."""

from __future__ import annotations

import itertools
from typing import Any

from torch import nn

from anomaly_bench.base.errors import ConfigError

from .base import Decoder, Encoder, NetworkSpec, attention, group_norm, halved_size, start

SLOPE = 0.2  # of the leaky ReLU, as in `conv`


def conv3d(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
    """The layers of `conv` in three dimensions: a convolution per entry of channels, group normalisation, leaky ReLU 0.2.

    Each halves rows and columns with a kernel of 4; it halves the depth as well where that is even, and else keeps it, with a
    kernel of 3 along it.
    Raises ConfigError for images without a depth.
    """
    if len(spec.shape) != 4:
        raise ConfigError(
            "model.network=conv3d: it is of volumes, and the images are single slices or pictures; for a dataset of volumes "
            "set dataset.depth=8 or another number of slices, or take another network"
        )
    channels, depth = spec.channels or (16, 32, 64, 64), spec.shape[1]
    body: list[nn.Module] = []
    outward: list[nn.Module] = []
    for before, after in itertools.pairwise((spec.shape[0], *channels)):
        halved = depth % 2 == 0
        depth = depth // 2 if halved else depth
        geometry: Any = ((4, 4, 4), (2, 2, 2), 1) if halved else ((3, 4, 4), (1, 2, 2), 1)  # kernel, stride, padding
        body += [nn.Conv3d(before, after, *geometry), group_norm(after), nn.LeakyReLU(SLOPE)]
        back = [group_norm(before), nn.LeakyReLU(SLOPE)] if outward else []
        outward = [nn.ConvTranspose3d(after, before if outward else spec.outputs, *geometry), *back, *outward]
    inner = (channels[-1], depth, *halved_size(spec.shape[2:], len(channels)))
    attended = attention(inner[0], spec.attention), attention(inner[0], spec.attention)
    return Encoder([*body, *attended[0]], inner, spec), Decoder([*start(inner, spec), *attended[1], *outward])
