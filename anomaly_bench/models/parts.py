"""A model's encoder and decoder: of one of the families, or of a network of a user's own, tried on an image of zeros."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.imports import import_path, load
from anomaly_bench.config.messages import first_line

from .networks import NETWORKS, VOLUMES, Network, NetworkSpec

EXPECTED = f"expected a function of a NetworkSpec ({', '.join(NetworkSpec._fields)}) that gives encoder and decoder"

MOST_CHANNELS = 4  # of pictures, which have them last where they are read


def build_parts(given: str | Network, spec: NetworkSpec) -> tuple[nn.Module, nn.Module, torch.Size]:
    """Encoder, decoder and the shape of an image's latent, of one of NETWORKS or of a user's own function or its import path.

    Raises ConfigError naming the network for an unknown one, and for one that does not keep to what `networks` says.
    """
    name = f"model.network={path_of(given)}"
    network = find_network(given, spec.shape) if isinstance(given, str) else given
    try:
        parts = _called(f"{name}: {EXPECTED}, got", network, spec)
    except ConfigError as error:
        first, *_, last = spec.shape
        if last > MOST_CHANNELS or first <= MOST_CHANNELS:
            raise
        meant = f"expected (C, H, W), channels first; did you mean {(last, *spec.shape[:-1])}?"
        raise ConfigError(f"shape={spec.shape}: {meant} ({error})") from error
    if not (isinstance(parts, tuple | list) and len(parts) == 2 and all(isinstance(part, nn.Module) for part in parts)):
        got = (
            ", ".join(type(part).__name__ for part in parts)
            if isinstance(parts, tuple | list)
            else type(parts).__name__
        )
        raise ConfigError(f"{name}: {EXPECTED}, two torch.nn.Module, got {got or 'nothing'}")
    encoder, decoder = parts
    return encoder, decoder, _latent_shape(encoder, decoder, spec, name)


def path_of(given: str | Network) -> str:
    """The import path of a network; of an object without a name, such as a functools.partial, one that is none."""
    if isinstance(given, str):
        return given
    return import_path(given) if hasattr(given, "__qualname__") else f"<{type(given).__qualname__}>"


def find_network(path: str, shape: tuple[int, ...]) -> Network:
    """One of the families, or a user's own by its import path, for images of a shape. Raises ConfigError."""
    if path in NETWORKS:
        if len(shape) == 4 and path not in VOLUMES:
            remedy = f"set model.network={VOLUMES[0]}, or dataset.depth=null"
            raise ConfigError(f"dataset.depth={shape[1]}: model.network={path} is of single slices; {remedy}")
        return NETWORKS[path]
    if "<" in path:  # of a function within another one, a lambda or an object
        remedy = "give it again, load_from_checkpoint(…, network=…)"
        raise ConfigError(f"model.network={path}: no name that Python can import, as a checkpoint needs it; {remedy}")
    if "." not in path:
        raise ConfigError(f"model.network={path}: expected one of {', '.join(NETWORKS)}, or package.module.Name")
    network: Network = load("model.network", path)
    return network


@torch.no_grad()
def _latent_shape(encoder: nn.Module, decoder: nn.Module, spec: NetworkSpec, name: str) -> torch.Size:
    """The shape of an image's latent, found by trying. Raises ConfigError if encoder and decoder do not fit together."""
    posterior = _called(
        f"{name}: the encoder, given an image {[1, *spec.shape]},", encoder.eval(), torch.zeros(1, *spec.shape)
    )
    shapes = [_shape(part) for part in posterior] if isinstance(posterior, tuple) else []
    if len(shapes) != 2 or shapes[0] != shapes[1] or len(shapes[0]) < 2:
        got = f"{shapes} of one image" if shapes else type(posterior).__name__
        raise ConfigError(
            f"{name}: the encoder has to give mean and log variance, of the same shape (B, latent…), as a tuple, got {got}"
        )
    latent: Tensor = posterior[0]
    decoded = _called(f"{name}: the decoder, given the encoder's latent {list(latent.shape)},", decoder.eval(), latent)
    encoder.train()
    decoder.train()
    if _shape(decoded) != [1, spec.outputs, *spec.shape[1:]]:
        shown = _shape(decoded)[1:] or type(decoded).__name__
        expected = [spec.outputs, *spec.shape[1:]]
        raise ConfigError(f"{name}: the decoder gives {shown} of an image of {list(spec.shape)}, expected {expected}")
    return latent.shape[1:]


def _shape(value: Any) -> list[int]:
    """Empty of what is no tensor."""
    return list(value.shape) if isinstance(value, Tensor) else []


def _called(what: str, part: Callable[[Any], Any], argument: Any) -> Any:
    """part(argument). Raises ConfigError, which begins with what is called, for whatever a user's code raises."""
    try:
        return part(argument)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{what} {type(error).__name__}: {first_line(error)}") from error
