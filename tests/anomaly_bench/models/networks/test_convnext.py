"""ConvNeXt's block by hand, and that a shifted image gives a shifted code."""

import torch
import torch.nn.functional as F
from torch import nn

from anomaly_bench.models import VAE
from anomaly_bench.models.networks.convnext import Block


def test_a_block_is_that_of_the_paper_with_group_normalisation():
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
    centred = mixed - mixed.mean(dim=(1, 2, 3), keepdim=True)  # three channels are one group
    normal = (
        centred / (centred.square().mean(dim=(1, 2, 3), keepdim=True) + norm.eps).sqrt() * norm.weight.view(3, 1, 1)
    )
    hidden = F.gelu(torch.einsum("oc,bchw->bohw", up.weight[:, :, 0, 0], normal) + up.bias.view(-1, 1, 1))
    branch = torch.einsum("oc,bchw->bohw", down.weight[:, :, 0, 0], hidden) + down.bias.view(-1, 1, 1)
    assert up.out_channels == 4 * 3
    assert torch.allclose(block(features), features + block.scale * branch)


def test_an_image_shifted_by_a_step_gives_a_shifted_code_away_from_the_rim():
    model = VAE((1, 96, 16), latent=2, channels=(4, 4), network="convnext", spatial=True).eval()
    for module in [one for one in model.encoder.modules() if isinstance(one, nn.Sequential)]:
        for name, layer in module.named_children():
            if isinstance(layer, nn.GroupNorm):  # whose statistics are of the whole image, with its rim
                setattr(module, name, nn.Identity())
    image = torch.rand(1, 1, 96, 16)
    code, shifted = (model.encode(x)[0][0] for x in (image, image.roll(4, 2)))
    assert code.shape == (2, 24, 4)
    reach = 5  # of 3 and 2 · 3 pixels of each block, in steps of the code, and what is rolled around
    assert torch.allclose(shifted[:, reach + 1 : -reach], code[:, reach : -reach - 1], atol=1e-6)
    assert not torch.allclose(shifted[:, reach:-reach], code[:, reach:-reach], atol=1e-3)
