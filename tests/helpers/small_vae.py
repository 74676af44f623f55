"""A small model that has seen smooth images, and such images, for tests of what is computed from a model."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from anomaly_bench.models import VAE, BetaVAE
from anomaly_bench.predictors.evidence import Evidence, frozen

SHAPE = (2, 32, 32)


def images(count: int) -> Tensor:
    """Ramps of random slopes with a little noise, (count, 2, 32, 32)."""
    ramp = torch.linspace(0, 1, 32)
    slopes = torch.rand(count, 2, 1, 1)
    return 0.2 + 0.5 * slopes * ramp[None, None, :, None] + 0.02 * torch.randn(count, *SHAPE)


def blobs(normal: Tensor, height: float = 0.6) -> Tensor:
    """The images with a brighter square of 6×6 pixels at [12:18, 12:18]."""
    broken = normal.clone()
    broken[:, :, 12:18, 12:18] += height
    return broken


@cache
def trained() -> BetaVAE:
    """A model that says something sensible about `images`; shared, so leave it as it is."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BetaVAE(SHAPE, latent=8, channels=(8, 8), beta=1.0, lr=3e-3, sigma=0.1, variance="fixed")
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(150):
            rec, kl = model.terms(images(16), sample=True)
            optimizer.zero_grad()
            (rec + kl).mean().backward()
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        model.eval()
        with torch.no_grad():
            model.rec_levels.copy_(model.terms(images(64), sample=False)[0].quantile(torch.linspace(0, 1, 101)))
    return model


def evidence_of(model: nn.Module, image: Tensor) -> Evidence:
    """Evidence on images that are foreground throughout."""
    return Evidence(model, image, torch.ones_like(image[:, :1], dtype=torch.bool))


def maps(model: nn.Module, image: Tensor, predictor) -> Tensor:
    with frozen(model):
        return predictor(evidence_of(model, image))


def slice_by_slice(flat: VAE, depth: int) -> VAE:
    """A model with conv3d that does to each slice what one with conv does to an image.

    In neither is anything normalised from now on. depth: odd.
    """
    same = {key: flat.hparams[key] for key in ("latent", "channels", "spatial", "sigma", "variance")}
    model = VAE((flat.shape[0], depth, *flat.shape[1:]), network="conv3d", **same)
    for target, source in ((model.encoder, flat.encoder), (model.decoder, flat.decoder)):
        for (path, layer), (_, plain) in zip(target.named_modules(), source.named_modules(), strict=True):
            if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
                middle = layer.kernel_size[0] // 2
                with torch.no_grad():
                    layer.weight.zero_()[:, :, middle] = plain.weight
                    layer.bias.copy_(plain.bias)
            if isinstance(layer, nn.GroupNorm):  # whose statistics are of all slices together
                for whole in (target, source):
                    parent, _, name = path.rpartition(".")
                    setattr(whole.get_submodule(parent), name, nn.Identity())
    return model.eval()
