"""What a predictor is, and the register of them."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from ..errors import ConfigError
from ..evidence import Evidence
from .filters import gaussian_smooth

REGISTER: dict[str, type[Any]] = {}
T = TypeVar("T")


@dataclass(frozen=True)
class Predictor(ABC):
    """A rule from Evidence to a map (B, 1, H, W), higher = more anomalous; raw, never normalised.

    smooth: standard deviation in pixels of the Gaussian that smooths the map; 0 for none.
    """

    iterative: ClassVar[bool] = False

    smooth: float = 0.0

    def __post_init__(self) -> None:
        if self.smooth < 0:
            raise ConfigError(f"smooth={self.smooth}: expected 0 or a standard deviation in pixels")

    def __call__(self, evidence: Evidence) -> Tensor:
        return gaussian_smooth(self.score(evidence), self.smooth)

    @abstractmethod
    def score(self, evidence: Evidence) -> Tensor:
        """The map before smoothing, (B, 1, H, W)."""


def register(name: str) -> Callable[[type[T]], type[T]]:
    """Make a predictor class available as `use: name` in a config."""

    def add(cls: type[T]) -> type[T]:
        if name in REGISTER:
            raise ValueError(f"predictor '{name}' is registered already, as {REGISTER[name].__name__}")
        REGISTER[name] = cls
        return cls

    return add


def build_predictor(name: str, settings: Mapping[str, Any]) -> Any:
    """The predictor that one entry of `predictors.members` describes. Raises ConfigError naming the key."""
    key = f"predictors.members.{name}"
    arguments = dict(settings)
    use = arguments.pop("use", None)
    if use not in REGISTER:
        raise ConfigError(
            f"{key}.use={use}: no such predictor{_closest(str(use), list(REGISTER))}; there are {', '.join(REGISTER)}"
        )
    known = [item.name for item in fields(REGISTER[use])]
    for argument in arguments:
        if argument not in known:
            raise ConfigError(
                f"{key}.{argument}: no such argument of '{use}'{_closest(argument, known)}; there are {', '.join(known)}"
            )
    types = get_type_hints(REGISTER[use])
    for argument, value in arguments.items():
        try:
            TypeAdapter(types[argument]).validate_python(value)
        except ValidationError as error:
            raise ConfigError(f"{key}.{argument}={value}: {error.errors()[0]['msg']}") from error
    try:
        return REGISTER[use](**arguments)
    except (TypeError, ConfigError) as error:
        raise ConfigError(f"{key}: {error}") from error


def one_of(argument: str, value: str, options: tuple[str, ...]) -> None:
    """Raises ConfigError unless the value is one of the options."""
    if value not in options:
        raise ConfigError(f"{argument}={value}: expected one of {', '.join(options)}")


def channel_mean(values: Tensor) -> Tensor:
    """(B, C, H, W) to (B, 1, H, W): how every map reduces channels."""
    return values.mean(dim=1, keepdim=True)


def _closest(word: str, options: list[str]) -> str:
    close = difflib.get_close_matches(word, options, 1)
    return f"; did you mean {close[0]}?" if close else ""
