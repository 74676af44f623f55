"""Graph convolutions over the patches of an image (Kipf & Welling 2017)."""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from .base import Decoder, Encoder, NetworkSpec, attention, group_norm, patches, start

CONVOLUTIONS = 2  # in a row, of each entry of channels


def graph(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
    """Graph convolutions (Kipf & Welling 2017, arXiv 1609.02907) on the grid of an image's patches, with pooling.

    A node is a patch, its edges are those to the patches around it, up to 8. Per entry of channels there are two residual
    graph convolutions of that width; between entries four nodes become one, by a linear map of the four, and in the
    decoder one node becomes four. spec.patch=1 makes every pixel a node.
    Raises ConfigError if patches do not tile the image, or nodes cannot be pooled.
    """
    channels = spec.channels or (32, 64, 64)
    patch, poolings = spec.patch or 4, len(channels) - 1
    rows, columns = patches(spec.shape[1:], patch, poolings)
    inner = (channels[-1], rows // 2**poolings, columns // 2**poolings)
    body: list[nn.Module] = [nn.Conv2d(spec.shape[0], channels[0], patch, patch)]
    for before, after in itertools.pairwise(channels):
        body += [*convolutions(before), nn.Conv2d(before, after, 2, 2)]
    body += [*convolutions(inner[0]), *attention(inner[0], spec.attention)]
    layers = [*start(inner, spec), *attention(inner[0], spec.attention)]
    for before, after in itertools.pairwise(channels[::-1]):
        layers += [*convolutions(before), nn.ConvTranspose2d(before, after, 2, 2)]
    layers += [*convolutions(channels[0]), nn.ConvTranspose2d(channels[0], spec.outputs, patch, patch)]
    return Encoder(body, inner, spec), Decoder(layers)


class GraphConvolution(nn.Module):
    """H + ReLU(Â H W), with H normalised in groups, for nodes on a grid: (B, channels, rows, columns) to the same.

    Kipf & Welling 2017, equation 2, with the residual connection of their equation 14. Â: see `propagate`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.weight = group_norm(channels), nn.Conv2d(channels, channels, 1)

    def forward(self, nodes: Tensor) -> Tensor:
        return nodes + F.relu(self.weight(propagate(self.norm(nodes))))


def propagate(nodes: Tensor) -> Tensor:
    """Â H of the features H of nodes on a grid, (B, channels, rows, columns): what each gets from its neighbours and itself.

    Â = D^(−1/2) (A + I) D^(−1/2), A the adjacency of each node with those around it, up to 8, D the degrees of A + I (Kipf &
    Welling 2017, arXiv 1609.02907, the renormalisation trick). On a grid, (A + I) is the sum over a 3×3 window, so that
    nothing has to be gathered by index.
    """
    share = neighbours(nodes.new_ones(1, 1, *nodes.shape[2:])).rsqrt()
    return share * neighbours(share * nodes)


def neighbours(nodes: Tensor) -> Tensor:
    """(A + I) H: each node's sum over itself and those around it; beyond the grid there is nothing."""
    return 9 * F.avg_pool2d(nodes, 3, 1, 1)


def convolutions(channels: int) -> list[nn.Module]:
    """The graph convolutions of one entry of channels."""
    return [GraphConvolution(channels) for _ in range(CONVOLUTIONS)]
