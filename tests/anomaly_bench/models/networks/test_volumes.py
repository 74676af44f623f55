"""The 3D network: its layers, what it is on single slices, and the KL of its latents."""

import pytest
import torch
from small_vae import slice_by_slice
from torch import nn
from torch.distributions import Normal, kl_divergence

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.models import NETWORKS, VAE, NetworkSpec


@pytest.mark.parametrize(
    ("depth", "halved"), [(8, [True, True, True, False]), (6, [True] + [False] * 3), (5, [False] * 4)]
)
def test_each_layer_halves_rows_and_columns_and_a_depth_that_is_even(depth, halved):
    encoder, decoder = NETWORKS["conv3d"](NetworkSpec((2, depth, 64, 32), 2, latent=3))
    expected = [((4, 4, 4), (2, 2, 2)) if one else ((3, 4, 4), (1, 2, 2)) for one in halved]
    found = [
        [(one.kernel_size, one.stride) for one in part.modules() if isinstance(one, nn.Conv3d | nn.ConvTranspose3d)]
        for part in (encoder, decoder)
    ]
    assert found == [expected, expected[::-1]]
    mean, logvar = encoder(torch.rand(2, 2, depth, 64, 32))
    assert mean.shape == logvar.shape == (2, 3)
    assert decoder(mean).shape == (2, 2, depth, 64, 32)


def test_with_kernels_of_a_single_slice_it_is_conv_on_every_slice():
    torch.manual_seed(0)
    flat = VAE((2, 16, 16), latent=3, channels=(4, 8), spatial=True).eval()
    model, volumes = slice_by_slice(flat, 3), torch.rand(2, 2, 3, 16, 16)
    codes = torch.stack([flat.encode(volumes[:, :, place])[0] for place in range(3)], dim=2)
    images = torch.stack([flat(volumes[:, :, place]) for place in range(3)], dim=2)
    torch.testing.assert_close(model.encode(volumes)[0], codes)
    torch.testing.assert_close(model(volumes), images)


def test_a_slice_is_seen_and_reconstructed_with_those_around_it():
    torch.manual_seed(0)
    model, volume = VAE((1, 4, 16, 16), latent=3, channels=(4, 4), network="conv3d").eval(), torch.rand(1, 1, 4, 16, 16)
    changed = volume.clone()
    changed[:, :, 0] = 1 - volume[:, :, 0]
    assert ((model(changed) - model(volume))[:, :, 3].abs() > 0).any()


def test_the_kl_is_the_sum_over_all_places_of_the_latent_and_rec_over_all_slices():
    torch.manual_seed(0)
    arguments = {
        "latent": 3,
        "channels": (4, 4),
        "network": "conv3d",
        "spatial": True,
        "sigma": 0.3,
        "variance": "fixed",
    }
    model, volumes = VAE((2, 4, 16, 16), **arguments).eval(), torch.rand(2, 2, 4, 16, 16)
    mean, logvar = model.encode(volumes)
    rec, kl = model.terms(volumes, sample=False)
    assert mean.shape == (2, 3, 1, 4, 4)
    expected = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)).flatten(1).sum(1)
    torch.testing.assert_close(kl, expected)
    torch.testing.assert_close(rec, -Normal(model(volumes), 0.3).log_prob(volumes).flatten(1).sum(1))


def test_networks_of_slices_take_no_volumes_and_that_of_volumes_no_slices():
    for name in set(NETWORKS) - {"conv3d"}:
        with pytest.raises(
            ConfigError, match=rf"dataset\.depth=4: model\.network={name} is of .*network=conv3d, or dat"
        ):
            VAE((1, 4, 16, 16), network=name)
    with pytest.raises(ConfigError, match=r"model\.network=conv3d: .* single slices or pictures; .* dataset\.depth=8"):
        VAE((1, 16, 16), network="conv3d", channels=(4, 4))
    with pytest.raises(ConfigError, match=r"dataset\.size=\[20, 16\] cannot be halved 3 times"):
        VAE((1, 4, 20, 16), network="conv3d", channels=(4, 4, 4))
    with pytest.raises(ValueError, match=r"expected images \['B', 1, 4, 16, 16\]"):
        VAE((1, 4, 16, 16), network="conv3d", channels=(4,))(torch.rand(2, 1, 16, 16))
