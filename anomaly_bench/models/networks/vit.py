"""Transformers over the patches of an image (Vaswani et al. 2017; Dosovitskiy et al. 2021)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from anomaly_bench.base.errors import ConfigError

from .base import Decoder, Encoder, NetworkSpec, patches, start

POSITIONS = ("learned", "sinusoidal")
HEADS = 4  # unless model.attention says how many; fewer where a width does not divide
LONGEST = 10000.0  # wavelength / 2π of sinusoidal positions; the shortest is 1 (Vaswani et al. 2017, section 3.5)


def vit(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
    """A vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929) as encoder, and one as decoder.

    Patches are embedded linearly, positions are added, then comes one transformer block per entry of channels, of that
    width; the decoder is the reverse, and its last layer gives each patch its pixels, as in He et al. 2022 (arXiv 2111.06377).
    spec.attention: heads of every block, 0 for 4.
    Raises ConfigError if patches do not tile the image, for widths that heads or positions do not suit, and unknown positions.
    """
    if spec.positions not in POSITIONS:
        raise ConfigError(f"model.positions={spec.positions}: expected one of {', '.join(POSITIONS)}")
    channels = spec.channels or (64, 64, 64, 64)
    patch = spec.patch or 8
    grid = patches(spec.shape[1:], patch)
    inner = (channels[-1], *grid)
    embedding = nn.Conv2d(spec.shape[0], channels[0], patch, patch)
    encoder = Encoder([embedding, Transformer(channels, grid, spec)], inner, spec)
    pixels = nn.ConvTranspose2d(channels[0], spec.outputs, patch, patch)
    return encoder, Decoder([*start(inner, spec), Transformer(channels[::-1], grid, spec), pixels])


class Transformer(nn.Module):
    """Features of patches (B, channels, h, w) plus their positions, through a block of each width, and normalised."""

    def __init__(self, widths: Sequence[int], grid: tuple[int, int], spec: NetworkSpec) -> None:
        super().__init__()
        self.grid = grid
        if spec.positions == "learned":
            self.positions = nn.Parameter(0.02 * torch.randn(grid[0] * grid[1], widths[0]))
        else:
            self.register_buffer("positions", sinusoidal(grid, widths[0]), persistent=False)
        layers: list[nn.Module] = []
        for before, width in itertools.pairwise([widths[0], *widths]):
            layers += [] if before == width else [nn.Linear(before, width)]
            layers.append(Block(width, heads_of(width, spec.attention)))
        self.layers = nn.Sequential(*layers, nn.LayerNorm(widths[-1]))

    def forward(self, features: Tensor) -> Tensor:
        tokens = self.layers(features.flatten(2).transpose(1, 2) + self.positions)
        return tokens.transpose(1, 2).unflatten(2, self.grid)


class Block(nn.Module):
    """Attention among tokens (B, N, width), then a perceptron of four times the width for each; both are added.

    Layer normalisation comes before each of them (Xiong et al. 2020, arXiv 2002.04745), GELU inside of the perceptron.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.projections, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.norm(tokens))
        return tokens + self.perceptron(tokens)

    def attention(self, tokens: Tensor) -> Tensor:
        """Multi-head scaled dot-product attention of tokens (B, N, width) among themselves."""
        projected = self.projections(tokens).unflatten(2, (3, self.heads, -1))
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # (B, heads, N, width / heads) each
        with sdpa_kernel(SDPBackend.MATH):  # on GPUs the fused kernels add up gradients in any order
            mixed = F.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).flatten(2))


def heads_of(width: int, heads: int) -> int:
    """How many heads a block of this width has. Raises ConfigError if so many do not divide it."""
    if heads < 0 or (heads and width % heads):
        raise ConfigError(
            f"model.attention={heads}: expected 0, or a number of heads that divides each of model.channels, here {width}"
        )
    return heads or math.gcd(HEADS, width)


def sinusoidal(grid: tuple[int, int], width: int) -> Tensor:
    """Sine and cosine of the row in the first half of the width and of the column in the second: (h · w, width).

    Vaswani et al. 2017 (arXiv 1706.03762) for each of the two axes. Raises ConfigError unless 4 divides the width.
    """
    if width % 4:
        raise ConfigError(
            f"model.channels=[{width}, …]: model.positions=sinusoidal needs a first width divisible by 4, "
            f"such as {4 * math.ceil(width / 4)}"
        )
    rates = LONGEST ** -(torch.arange(width // 4) / (width // 4))
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    angles = [axis.flatten()[:, None] * rates for axis in (rows, columns)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1)
