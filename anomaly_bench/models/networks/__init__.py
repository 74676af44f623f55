"""Encoders and decoders: the families that `model.network` names.

A family is a function from a `NetworkSpec` to an encoder and a decoder. The encoder takes images (B, C, H, W) to the mean
and the log variance of the posterior, two tensors of the same shape (B, latent…); the decoder takes latents of that shape
to (B, outputs, H, W), unbounded. Those of VOLUMES take volumes (B, C, D, H, W), and give such.

Features are normalised by groups of channels, image by image, or not at all: training and evaluation compute the same, so
that the validation ELBO follows the training's, and no image's map depends on its batch.
"""

from .base import Network, NetworkSpec, SelfAttention
from .convnext import convnext
from .convolutions import bergmann, conv, dcgan, residual
from .graph import graph
from .hierarchical import hierarchical
from .vit import vit
from .volumes import conv3d

__all__ = ["NETWORKS", "VOLUMES", "Network", "NetworkSpec", "SelfAttention"]

NETWORKS: dict[str, Network] = {
    "conv": conv,
    "bergmann": bergmann,
    "dcgan": dcgan,
    "residual": residual,
    "convnext": convnext,
    "vit": vit,
    "graph": graph,
    "hierarchical": hierarchical,
    "conv3d": conv3d,
}
VOLUMES = ("conv3d",)
