"""Transformers of patches: what attention and positions do to their order."""

import math

import pytest
import torch

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.models import VAE, NetworkSpec
from anomaly_bench.models.networks.vit import Block, Transformer, heads_of, sinusoidal


def transformer(positions="learned"):
    return Transformer((8, 8), (3, 4), NetworkSpec((1, 24, 32), 1, 2, attention=2, positions=positions)).double()


def test_a_block_is_attention_and_a_perceptron_by_hand():
    block, tokens = Block(6, 2).double(), torch.randn(3, 5, 6, dtype=torch.float64)
    query, key, value = (block.norm(tokens) @ block.projections.weight.T + block.projections.bias).chunk(3, dim=2)
    heads = []
    for head in (slice(0, 3), slice(3, 6)):
        weights = (query[..., head] @ key[..., head].transpose(1, 2) / math.sqrt(3)).softmax(dim=2)
        heads.append(weights @ value[..., head])
    attended = tokens + block.out(torch.cat(heads, dim=2))
    norm, up, _, down = block.perceptron
    expected = attended + down(torch.nn.functional.gelu(up(norm(attended))))
    assert torch.allclose(block(tokens), expected)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_patches_in_another_order_come_out_in_that_order_but_for_their_positions(positions):
    network, features = transformer(positions), torch.randn(2, 8, 3, 4, dtype=torch.float64)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))

    def permuted(values):
        return values.flatten(2)[..., order].view(values.shape)

    assert not torch.allclose(network(permuted(features)), permuted(network(features)), atol=1e-3)
    network.positions.detach().zero_()
    assert torch.allclose(network(permuted(features)), permuted(network(features)))


def test_positions_are_sines_and_cosines_of_rows_and_of_columns():
    found = sinusoidal((3, 5), 8).view(3, 5, 8)
    for row in range(3):
        for column in range(5):
            expected = []
            for place in (row, column):
                angles = [place / 10000 ** (number / 2) for number in range(2)]
                expected += [*map(math.sin, angles), *map(math.cos, angles)]
            assert found[row, column].tolist() == pytest.approx(expected)
    assert len({tuple(position.tolist()) for position in found.flatten(0, 1)}) == 15


def test_learned_positions_are_trained_and_sinusoidal_ones_are_of_no_checkpoint():
    assert "positions" in dict(transformer().named_parameters())
    assert "positions" not in transformer("sinusoidal").state_dict()


def test_a_spatial_latent_is_of_its_own_patch_where_nothing_is_attended_to():
    model = VAE((1, 16, 16), latent=2, channels=(4, 4), network="vit", patch=4, spatial=True).eval()
    for module in model.modules():
        if isinstance(module, Block):
            torch.nn.init.zeros_(module.out.weight)
    image = torch.rand(1, 1, 16, 16)
    changed = image.clone()
    changed[..., 4:8, 8:12] += 1.0
    moved = (model.encode(image)[0] != model.encode(changed)[0]).any(dim=1)[0].nonzero().tolist()
    assert moved == [[1, 2]]


def test_heads_are_four_or_as_many_as_divide_a_width():
    assert [heads_of(width, 0) for width in (64, 6, 5)] == [4, 2, 1]
    assert heads_of(6, 3) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {},
            r"dataset\.size=\[20, 16\] is not divisible into patches of 8 pixels: .* by 8, such as .*\[16, 16\], or .*patch",
        ),
        (
            {"patch": 3},
            r"patches of 3 pixels: use sides divisible by 3, such as dataset\.size=\[21, 15\], or another model\.p",
        ),
        ({"patch": -4}, r"model\.patch=-4: expected a side in pixels, at least 1, or null"),
        ({"patch": 4, "positions": "x"}, r"model\.positions=x: expected one of learned, sinusoidal$"),
        ({"patch": 4, "positions": "sinusoidal", "channels": (6,)}, r"model\.channels=\[6, …\]: .* such as 8"),
        (
            {"patch": 4, "channels": (4, 6), "attention": 4},
            r"model\.attention=4: .* divides each of model\.channels, here 6",
        ),
        ({"patch": 4, "attention": -1}, r"model\.attention=-1"),
    ],
)
def test_what_does_not_fit_says_what_to_do(arguments, message):
    with pytest.raises(ConfigError, match=message):
        VAE((1, 20, 16), network="vit", **{"channels": (4, 4), **arguments})
