"""VAEs, and how a config becomes one of them."""

from __future__ import annotations

from dataclasses import asdict

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.imports import load
from anomaly_bench.config.schema import ModelConfig

from .likelihoods import Likelihood
from .networks import NETWORKS, NetworkSpec
from .vae import VAE, input_size
from .variants import AE, CEVAE, BetaVAE

__all__ = ["AE", "CEVAE", "NETWORKS", "VAE", "BetaVAE", "Likelihood", "NetworkSpec", "build_model", "input_size"]

CLASSES: dict[str, type[VAE]] = {"vae": VAE, "beta_vae": BetaVAE, "ce_vae": CEVAE, "ae": AE}


def build_model(config: ModelConfig, shape: tuple[int, ...], context: int = 0) -> VAE:
    """The model that the config describes, for images (C, H, W), with so many neighbours on either side, or (C, D, H, W).

    Raises ConfigError if it cannot be built.
    """
    arguments = {key: value for key, value in asdict(config).items() if key not in ("name", "kind", "use", "options")}
    arguments |= {"context": context} if context else {}
    cls = CLASSES[config.kind] if config.use is None else load("model.use", config.use)
    if not (isinstance(cls, type) and issubclass(cls, VAE)):
        raise ConfigError(f"model.use={config.use}: expected a subclass of anomaly_bench.models.VAE")
    try:
        return cls(shape, **arguments, **config.options)
    except TypeError as error:
        raise ConfigError(
            f"model.options={config.options}: {error}; model.kind={config.kind} gives the rest"
        ) from error
