"""A model of volumes that treats each slice by itself, as one of images does."""

from __future__ import annotations

import torch
from torch import nn

from anomaly_bench.models import VAE


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
