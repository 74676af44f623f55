"""Networks of convolutions that halve the image from layer to layer, and of their transposes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from anomaly_bench.base.errors import ConfigError

from .base import Decoder, Encoder, NetworkSpec, attention, group_norm, halved_size, start


class Layer(NamedTuple):
    """A convolution of the encoder and its mirror image in the decoder."""

    channels: int
    kernel: int
    stride: int


class Style(NamedTuple):
    """What stands around the convolutions: group normalisation or none, the leaky ReLU's slope, biases.

    activated: whether the decoder's first layer is followed by normalisation and activation, as the others are.
    """

    normalised: bool
    slope: float
    bias: bool
    activated: bool

    def around(self, channels: int) -> list[nn.Module]:
        """The layers after a convolution."""
        return [*([group_norm(channels)] if self.normalised else []), nn.LeakyReLU(self.slope)]


def conv(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
    """One 4×4 convolution of stride 2 per entry of channels, group normalisation, leaky ReLU 0.2.

    The layers of the DCGAN (Radford et al. 2016, arXiv 1511.06434) with group instead of batch normalisation.
    """
    channels = spec.channels or (16, 32, 64, 64)
    return mirrored(spec, [Layer(c, 4, 2) for c in channels], Style(True, 0.2, bias=True, activated=False))


def dcgan(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
    """The network of Zimmerer et al. 2019 (arXiv 1907.02796) for 64 px brain MRI, as in the authors' public code.

    One 4×4 convolution of stride 2 per entry of channels, then one as large as what is left of the image; transposed in
    the decoder. Leaky ReLU 0.01, no biases, no normalisation.
    """
    channels = spec.channels or (16, 32, 64, 256)
    return mirrored(spec, [Layer(c, 4, 2) for c in channels], Style(False, 0.01, bias=False, activated=True))


def bergmann(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
    """Table 1 of Bergmann et al. 2018 (arXiv 1807.02011), which Dehaene et al. 2020 use on MVTec AD.

    Nine convolutions, the last as large as the 8×8 feature map, leaky ReLU 0.2, no normalisation, and the reverse of it as
    decoder. Images of 256 px go through one more 4×4 convolution of stride 2 first.
    Raises ConfigError for other sizes than 128×128 and 256×256 and other than 8 channels.
    """
    kernels, size = (4, 4, 3, 4, 3, 4, 3, 3), spec.shape[1:]
    channels = spec.channels or (32, 32, 32, 64, 64, 128, 64, 32)
    if size not in ((128, 128), (256, 256)):
        raise ConfigError(
            f"dataset.size={list(size)}: model.network=bergmann is for 128×128 and 256×256 pixels; "
            "set dataset.size=[128,128] or another model.network"
        )
    if len(channels) != len(kernels):
        raise ConfigError(
            f"model.channels={list(channels)}: model.network=bergmann has {len(kernels)} layers of them; "
            "set model.channels=null for the published ones"
        )
    table = [Layer(c, kernel, 2 if kernel == 4 else 1) for c, kernel in zip(channels, kernels, strict=True)]
    if size == (256, 256):
        table = [table[0], *table]
    return mirrored(spec, table, Style(False, 0.2, bias=True, activated=True))


def residual(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
    """One residual block (He et al. 2016, arXiv 1512.03385) of stride 2 per entry of channels: for images above 128 px.

    MONAI's UnetResBlock with group normalisation and leaky ReLU 0.01; the decoder doubles the feature map by repeating its
    values before each block.
    """
    from monai.networks.blocks.dynunet_block import UnetResBlock

    def block(before: int, after: int, stride: int) -> nn.Module:
        return UnetResBlock(2, before, after, 3, stride, ("group", {"num_groups": math.gcd(8, after)}))

    channels = spec.channels or (16, 32, 64, 128, 128)
    inner = (channels[-1], *halved_size(spec.shape[1:], len(channels)))
    body = [block(before, after, 2) for before, after in itertools.pairwise([spec.shape[0], *channels])]
    encoder = Encoder([*body, *attention(inner[0], spec.attention)], inner, spec)
    layers = [*start(inner, spec), *attention(inner[0], spec.attention)]
    for before, after in itertools.pairwise([*reversed(channels), channels[0]]):
        layers += [nn.Upsample(scale_factor=2), block(before, after, 1)]
    return encoder, Decoder([*layers, nn.Conv2d(channels[0], spec.outputs, 3, padding=1)])


def mirrored(spec: NetworkSpec, table: Sequence[Layer], style: Style) -> tuple[nn.Module, nn.Module]:
    """An encoder of the table's convolutions and a decoder of their transposes in reverse order."""
    channels = [spec.shape[0], *(layer.channels for layer in table)]
    inner = (channels[-1], *halved_size(spec.shape[1:], sum(layer.stride == 2 for layer in table)))
    body: list[nn.Module] = []
    for before, layer in zip(channels, table, strict=False):
        padding = (layer.kernel - 1) // 2
        body.append(nn.Conv2d(before, layer.channels, layer.kernel, layer.stride, padding, bias=style.bias))
        body += style.around(layer.channels)
    encoder = Encoder([*body, *attention(inner[0], spec.attention)], inner, spec, style.bias)
    layers = start(inner, spec, style.bias)
    layers += [*(style.around(inner[0]) if style.activated else []), *attention(inner[0], spec.attention)]
    outward = [spec.outputs, *channels[1:]]
    for index, layer in reversed(list(enumerate(table))):
        padding, after = (layer.kernel - 1) // 2, outward[index]
        layers.append(nn.ConvTranspose2d(layer.channels, after, layer.kernel, layer.stride, padding, bias=style.bias))
        layers += style.around(after) if index else []
    return encoder, Decoder(layers)
