"""Graph convolutions on a grid: Kipf & Welling's propagation, and the grid's symmetries."""

import itertools

import pytest
import torch

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.models import VAE
from anomaly_bench.models.networks.graph import GraphConvolution, propagate

SYMMETRIES = {
    "flipped up and down": lambda nodes: nodes.flip(2),
    "flipped left and right": lambda nodes: nodes.flip(3),
    "turned by a quarter": lambda nodes: nodes.rot90(1, (2, 3)),
    "transposed": lambda nodes: nodes.transpose(2, 3),
}


def adjacency(rows: int, columns: int) -> torch.Tensor:
    """Of every node of a grid with the up to 8 around it, by a loop over all pairs."""
    nodes = list(itertools.product(range(rows), range(columns)))
    edges = [[float(max(abs(a - c), abs(b - d)) == 1) for c, d in nodes] for a, b in nodes]
    return torch.tensor(edges, dtype=torch.float64)


def test_propagation_is_that_of_kipf_and_welling():
    nodes = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    linked = adjacency(4, 5) + torch.eye(20, dtype=torch.float64)
    degrees = linked.sum(dim=1)
    assert set(degrees.tolist()) == {4.0, 6.0, 9.0}
    normalised = degrees.rsqrt().diag() @ linked @ degrees.rsqrt().diag()
    expected = (normalised @ nodes.flatten(2).transpose(1, 2)).transpose(1, 2).view(nodes.shape)
    assert torch.allclose(propagate(nodes), expected)


def test_the_square_root_of_the_degrees_is_left_as_it_is():
    """The eigenvector of the greatest eigenvalue, 1: propagation neither grows nor dies out (Kipf & Welling 2017)."""
    degrees = (adjacency(3, 6).sum(dim=1) + 1).sqrt().view(1, 1, 3, 6)
    assert torch.allclose(propagate(degrees), degrees)
    matrix = torch.autograd.functional.jacobian(propagate, degrees).view(18, 18)
    assert torch.linalg.eigvalsh(matrix)[-1].item() == pytest.approx(1.0)


@pytest.mark.parametrize("name", SYMMETRIES)
def test_a_graph_convolution_commutes_with_the_symmetries_of_the_grid(name):
    module, nodes, moved = GraphConvolution(4).double(), torch.randn(2, 4, 5, 5, dtype=torch.float64), SYMMETRIES[name]
    assert torch.allclose(module(moved(nodes)), moved(module(nodes)))
    assert not torch.allclose(module(nodes), moved(module(nodes)), atol=1e-3)


def test_a_pixel_reaches_as_far_as_there_are_convolutions():
    propagated = nodes = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    nodes[..., 4, 4] = 1.0
    for steps in (1, 2):
        propagated = propagate(propagated)
        reached = propagated[0, 0] > 0
        assert reached.sum() == (2 * steps + 1) ** 2
        assert reached[4 - steps : 5 + steps, 4 - steps : 5 + steps].all()


def test_pixels_can_be_nodes():
    model = VAE((2, 6, 4), latent=3, channels=(4, 8), network="graph", patch=1, spatial=True).eval()
    assert model.latent_shape == (3, 3, 2)
    assert model(torch.rand(2, 2, 6, 4)).shape == (2, 2, 6, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {},
            r"dataset\.size=\[20, 16\] is not divisible into patches of 4 pixels that are pooled 1 times.* by 8, such as",
        ),
        ({"channels": (4,), "patch": 8}, r"patches of 8 pixels: use sides divisible by 8, .* or another model\.patch"),
        ({"patch": 2, "attention": 3}, r"model\.attention=3: .* the 4 innermost channels"),
    ],
)
def test_what_does_not_fit_says_what_to_do(arguments, message):
    with pytest.raises(ConfigError, match=message):
        VAE((1, 20, 16), network="graph", **{"channels": (4, 4), **arguments})
