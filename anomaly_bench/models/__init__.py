"""VAE and beta-VAE, and how a config becomes one of them."""

from __future__ import annotations

from dataclasses import asdict

from ..schema import ModelConfig
from .vae import VAE, BetaVAE, input_size

__all__ = ["VAE", "BetaVAE", "build_model", "input_size"]

CLASSES: dict[str, type[VAE]] = {"vae": VAE, "beta_vae": BetaVAE}


def build_model(config: ModelConfig, shape: tuple[int, int, int]) -> VAE:
    """The model that the config describes, for images of shape (C, H, W). Raises ConfigError if it cannot be built."""
    arguments = {key: value for key, value in asdict(config).items() if key not in ("name", "kind")}
    return CLASSES[config.kind](shape, **arguments)
