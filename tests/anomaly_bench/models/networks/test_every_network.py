import re

import pytest
import pytorch_lightning as pl
import torch
from checkout import ROOT
from torch import nn

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.load import load_config
from anomaly_bench.models import NETWORKS, VAE, NetworkSpec, build_model
from anomaly_bench.models.networks import SelfAttention
from data_modules.base.options.folders import config_dir

pytestmark = pytest.mark.slow

MODELS = sorted(path.stem for path in (config_dir() / "model").glob("*.yaml"))
SIZES = {"bergmann": (128, 256), "residual": (128, 256)}
DEPTH = {"conv3d": 8}
CASES = [(name, size) for name in MODELS for size in SIZES.get(name, (64,))]
SMALL = {"latent": 5, "channels": (4, 8)}


def layers(module: nn.Module) -> list[tuple[int, int, int, int, int]]:
    """(channels in, channels out, kernel, stride, padding) of every convolution in order."""
    found = [one for one in module.modules() if isinstance(one, nn.Conv2d | nn.ConvTranspose2d)]
    return [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0], int(c.padding[0])) for c in found]


def others(module: nn.Module) -> list[nn.Module]:
    containers = (nn.Sequential, nn.Conv2d, nn.ConvTranspose2d, nn.Flatten, nn.Unflatten)
    return [one for one in module.modules() if not list(one.children()) and not isinstance(one, containers)]


# Bergmann et al. 2018 (arXiv 1807.02011), table 1, rows Conv1 to Conv8; Conv9 has kernel 8, stride 1, padding 0.
TABLE_1 = [
    (3, 32, 4, 2, 1),
    (32, 32, 4, 2, 1),
    (32, 32, 3, 1, 1),
    (32, 64, 4, 2, 1),
    (64, 64, 3, 1, 1),
    (64, 128, 4, 2, 1),
    (128, 64, 3, 1, 1),
    (64, 32, 3, 1, 1),
]


@pytest.mark.parametrize("size", [128, 256])
def test_the_bergmann_network_is_table_1_and_its_reverse(size):
    encoder, decoder = NETWORKS["bergmann"](NetworkSpec((3, size, size), 3, latent=100))
    expected = [(3, 32, 4, 2, 1), (32, 32, 4, 2, 1), *TABLE_1[1:]] if size == 256 else TABLE_1
    assert layers(encoder) == expected
    assert layers(decoder) == [(after, before, *rest) for before, after, *rest in reversed(expected)]
    assert encoder.posterior.weight.shape == (
        2 * 100,
        32 * 8 * 8,
    )  # Conv9: as large as the feature map, for mean and variance
    activations = [one for one in (*others(encoder), *others(decoder)) if not isinstance(one, nn.Linear)]
    assert {type(one) for one in activations} == {nn.LeakyReLU}
    assert {one.negative_slope for one in activations} == {0.2}
    assert len(others(encoder)) == len(expected) + 1
    assert len(others(decoder)) == len(expected) + 1  # after Conv9's transpose and all but the last


def test_the_dcgan_network_is_that_of_zimmerers_public_code():
    """h_size=(16, 32, 64, 256), z_dim=256 at 64×64: models/enc_dec.py and brats_script.py of vae-anomaly-experiments."""
    encoder, decoder = NETWORKS["dcgan"](NetworkSpec((1, 64, 64), 1, latent=256))
    assert layers(encoder) == [(1, 16, 4, 2, 1), (16, 32, 4, 2, 1), (32, 64, 4, 2, 1), (64, 256, 4, 2, 1)]
    assert layers(decoder) == [(256, 64, 4, 2, 1), (64, 32, 4, 2, 1), (32, 16, 4, 2, 1), (16, 1, 4, 2, 1)]
    assert encoder.posterior.weight.shape == (2 * 256, 256 * 4 * 4)
    assert not [name for name, _ in (*encoder.named_parameters(), *decoder.named_parameters()) if "bias" in name]
    activations = [one for one in (*others(encoder), *others(decoder)) if not isinstance(one, nn.Linear)]
    assert {type(one) for one in activations} == {nn.LeakyReLU}
    assert {one.negative_slope for one in activations} == {0.01}
    assert len(activations) == 4 + 4


def test_the_conv_network_halves_with_group_norm():
    encoder, decoder = NETWORKS["conv"](NetworkSpec((1, 64, 64), 1, latent=8))
    assert layers(encoder) == [(1, 16, 4, 2, 1), (16, 32, 4, 2, 1), (32, 64, 4, 2, 1), (64, 64, 4, 2, 1)]
    assert layers(decoder) == [(64, 64, 4, 2, 1), (64, 32, 4, 2, 1), (32, 16, 4, 2, 1), (16, 1, 4, 2, 1)]
    assert sum(isinstance(one, nn.GroupNorm) for one in others(encoder)) == 4
    assert sum(isinstance(one, nn.GroupNorm) for one in others(decoder)) == 3


def test_the_residual_network_has_a_block_per_level_and_shortcuts_that_count():
    from monai.networks.blocks.dynunet_block import UnetResBlock

    encoder, decoder = NETWORKS["residual"](NetworkSpec((1, 64, 64), 1, latent=8, channels=(8, 16), attention=2))
    for network in (encoder, decoder):
        assert sum(isinstance(one, UnetResBlock) for one in network.modules()) == 2
        assert sum(isinstance(one, SelfAttention) for one in network.modules()) == 1
    block = encoder.features[0]
    with torch.no_grad():
        block.norm2.weight.zero_()
        image = torch.randn(2, 1, 64, 64)
        assert torch.allclose(block(image), block.lrelu(block.norm3(block.conv3(image))))


@pytest.mark.parametrize(("name", "size"), CASES)
def test_every_model_trains_a_step_and_has_finite_gradients(name, size):
    torch.manual_seed(0)
    shape = (3, *filter(None, [DEPTH.get(name)]), size, size)
    model = build_model(load_config([f"model={name}"]).model, shape)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    batch = {"image": torch.rand(2, *shape)}
    loader = torch.utils.data.DataLoader([batch], batch_size=None)
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    pl.Trainer(max_epochs=1, enable_model_summary=False, deterministic=True, **settings).fit(model, loader, loader)
    moved = [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    assert sum(moved) > 0.9 * len(moved)  # a bias that attention's softmax cancels need not
    leaf = batch["image"].clone().requires_grad_(True)
    for term in model.eval().terms(leaf, sample=False):
        (gradient,) = torch.autograd.grad(term.sum(), leaf, retain_graph=True)
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 0 or name == "ae"


def test_the_parameter_counts_in_the_docs_are_true():
    text = (ROOT / "docs" / "models.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|.*\| (?:\d+×)?(\d+)×\d+×(\d) \| ([\d,]+) \|", text, re.MULTILINE)
    stated = {(name, int(size), int(channels)): int(count.replace(",", "")) for name, size, channels, count in rows}
    assert {(name, size) for name, size, _ in stated} == set(CASES)
    for (name, size, channels), count in stated.items():
        shape = (channels, *filter(None, [DEPTH.get(name)]), size, size)
        model = build_model(load_config([f"model={name}"]).model, shape)
        assert sum(parameter.numel() for parameter in model.parameters()) == count, name


@pytest.mark.parametrize(("channels", "shape"), [((4, 8), (1, 16, 16)), ((4,), (3, 10, 12)), ((4, 8, 8), (2, 64, 32))])
@pytest.mark.parametrize("network", ["conv", "dcgan", "residual"])
def test_any_channel_count_and_any_size_divisible_by_the_stride(network, channels, shape):
    model = VAE(shape, latent=3, channels=channels, network=network).eval()
    image = torch.rand(2, *shape)
    mean, logvar = model.encode(image)
    assert mean.shape == logvar.shape == (2, 3)
    assert model.decode(mean).shape == image.shape


@pytest.mark.parametrize("network", ["conv", "dcgan", "residual"])
@pytest.mark.parametrize("attention", [0, 2])
def test_spatial_latents_keep_their_places(network, attention):
    model = VAE((1, 32, 32), network=network, spatial=True, attention=attention, **SMALL).eval()
    assert model.latent_shape == (5, 8, 8)
    assert model.latent == 5 * 8 * 8
    image = torch.rand(2, 1, 32, 32)
    rec, kl = model.terms(image, sample=False)
    assert rec.shape == kl.shape == (2,)
    latent = torch.zeros(1, 5, 8, 8)
    moved = latent.clone()
    moved[..., 0, 0] = 1.0
    change = (model.decode(moved) - model.decode(latent)).abs()[0, 0]
    assert change[:8, :8].mean() > 2 * change[16:, 16:].mean()


def test_attention_sees_across_the_image_by_hand():
    module = SelfAttention(4, 2).double()
    features = torch.randn(3, 4, 2, 5, dtype=torch.float64)
    attention = module.attention
    positions = module.norm(features).flatten(2).transpose(1, 2)
    query, key, value = (positions @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, dim=2)
    heads = []
    for head in (slice(0, 2), slice(2, 4)):
        weights = (query[..., head] @ key[..., head].transpose(1, 2) / 2**0.5).softmax(dim=2)
        heads.append(weights @ value[..., head])
    expected = features + attention.out_proj(torch.cat(heads, 2)).transpose(1, 2).reshape(features.shape)
    assert torch.allclose(module(features), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": (4, 4, 4)}, r"dataset\.size=\[20, 16\] cannot be halved 3 times.*divisible by 8"),
        ({"channels": (4, 4, 4), "network": "residual"}, r"cannot be halved 3 times"),
        ({"channels": (4, 6), "attention": 4}, r"model\.attention=4: .* divides the 6 innermost channels"),
        ({"channels": (4, 6), "attention": -1}, r"model\.attention=-1"),
        ({"channels": None, "network": "bergmann"}, r"dataset\.size=\[20, 16\]: .*set dataset\.size=\[128,128\]"),
    ],
)
def test_what_does_not_fit_says_what_to_do(arguments, message):
    with pytest.raises(ConfigError, match=message):
        VAE((1, 20, 16), **arguments)


def test_the_bergmann_network_wants_its_eight_layers():
    with pytest.raises(ConfigError, match=r"model\.channels=\[16, 32\]: .* 8 layers .* model\.channels=null"):
        VAE((1, 128, 128), channels=(16, 32), network="bergmann")
    assert VAE((1, 128, 128), channels=(2, 2, 2, 4, 4, 8, 4, 2), latent=3, network="bergmann").latent == 3


@pytest.mark.parametrize("network", [name for name in NETWORKS if name not in SIZES or name == "residual"])
def test_channels_last_changes_no_number_beyond_rounding(network):
    pair, last = [], torch.channels_last_3d if network in DEPTH else torch.channels_last
    shape = (3, *filter(None, [DEPTH.get(network)]), 32, 32)
    for channels_last in (False, True):
        torch.manual_seed(0)
        pair.append(VAE(shape, latent=5, channels=(8, 16), network=network, channels_last=channels_last).eval())
    convolution = next(one for one in pair[1].encoder.modules() if isinstance(one, nn.Conv2d | nn.Conv3d))
    image = torch.rand(1, *shape).contiguous(memory_format=last)
    assert convolution(image).is_contiguous(memory_format=last)
    leaf = torch.rand(4, *shape).requires_grad_(True)
    plain, other = (
        [rec, kl, *torch.autograd.grad((rec + kl).sum(), leaf)] for rec, kl in (m.terms(leaf, False) for m in pair)
    )
    for a, b in zip(plain, other, strict=True):
        assert (a - b).abs().max() <= 1e-4 * a.abs().max()


def test_half_precision_trains_close_to_full_precision_and_leaves_maps_in_full():
    seen = []

    class Look(pl.Callback):
        def on_validation_batch_end(self, trainer, model, outputs, batch, *_):
            seen.append(model.decode(model.encode(batch["image"])[0]).dtype)

    image = torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    loader = torch.utils.data.DataLoader([{"image": image}], batch_size=None)
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    logged = []
    for precision in ("32-true", "bf16-mixed"):
        pl.seed_everything(0, verbose=False)
        trainer = pl.Trainer(
            max_epochs=1, precision=precision, callbacks=[Look()], enable_model_summary=False, **settings
        )
        trainer.fit(VAE((1, 32, 32), **SMALL), loader, loader)
        logged.append(
            {name: float(value) for name, value in trainer.callback_metrics.items() if name != "val/active_units"}
        )
    for name, value in logged[0].items():
        assert logged[1][name] == pytest.approx(value, rel=0.1 if name.endswith("kl") else 0.02), name
    assert logged[1] != logged[0]
    assert set(seen) == {torch.float32}
