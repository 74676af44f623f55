"""ConvNeXt's block by hand, and that a shifted image gives a shifted code."""

import torch
import torch.nn.functional as F

from anomaly_bench.models import VAE
from anomaly_bench.models.networks.convnext import Block, LayerNorm


def test_a_block_is_that_of_the_paper():
    block, features = Block(3).double(), torch.randn(2, 3, 9, 8, dtype=torch.float64)
    depthwise, norm, up, _, down = block.branch
    with torch.no_grad():
        block.scale.copy_(torch.tensor([0.5, -1.0, 2.0]).view(3, 1, 1))
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
    single = [
        F.conv2d(features[:, c : c + 1], depthwise.weight[c : c + 1], depthwise.bias[c : c + 1], padding=3)
        for c in range(3)
    ]
    mixed = torch.cat(single, dim=1)
    centred = mixed - mixed.mean(dim=1, keepdim=True)
    normal = centred / (centred.square().mean(dim=1, keepdim=True) + norm.eps).sqrt() * norm.weight.view(3, 1, 1)
    hidden = F.gelu(torch.einsum("oc,bchw->bohw", up.weight[:, :, 0, 0], normal) + up.bias.view(-1, 1, 1))
    branch = torch.einsum("oc,bchw->bohw", down.weight[:, :, 0, 0], hidden) + down.bias.view(-1, 1, 1)
    assert up.out_channels == 4 * 3
    assert torch.allclose(block(features), features + block.scale * branch)


def test_layer_normalisation_is_of_each_position_alone():
    norm, features = LayerNorm(4), torch.randn(2, 4, 3, 3)
    assert torch.allclose(norm(features).mean(dim=1), torch.zeros(2, 3, 3), atol=1e-6)
    assert torch.allclose(norm(features)[..., :1, :2], norm(features[..., :1, :2]))


def test_an_image_shifted_by_a_step_gives_a_shifted_code_away_from_the_rim():
    model = VAE((1, 96, 16), latent=2, channels=(4, 4), network="convnext", spatial=True).eval()
    image = torch.rand(1, 1, 96, 16)
    code, shifted = (model.encode(x)[0][0] for x in (image, image.roll(4, 2)))
    assert code.shape == (2, 24, 4)
    reach = 5  # of 3 and 2 · 3 pixels of each block, in steps of the code, and what is rolled around
    assert torch.allclose(shifted[:, reach + 1 : -reach], code[:, reach : -reach - 1], atol=1e-6)
    assert not torch.allclose(shifted[:, reach:-reach], code[:, reach:-reach], atol=1e-3)
