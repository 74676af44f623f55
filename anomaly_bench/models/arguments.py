"""The types of a model's arguments, as its constructor's annotations give them."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from anomaly_bench.base.errors import ConfigError


def check_types(constructor: Callable[..., None], given: Mapping[str, Any]) -> None:
    """Raises ConfigError for the first argument that is of another type than its annotation; numbers of NumPy are numbers.

    given: the constructor's `locals()`, with `self` among them.
    """
    for name, adapter in _adapters(constructor).items():
        try:
            adapter.validate_python(_plain(given[name]), strict=True)
        except ValidationError as error:
            said = f"{type(given['self']).__name__}({name}={reprlib.repr(given[name])})"
            raise ConfigError(f"{said}: expected {constructor.__annotations__[name]}") from error


@cache
def _adapters(constructor: Callable[..., None]) -> dict[str, TypeAdapter[Any]]:
    return {name: TypeAdapter(kind) for name, kind in get_type_hints(constructor).items() if name != "return"}


def _plain(value: Any) -> Any:
    """Numbers and sequences, such as torch.Size, as Python's own ones."""
    if isinstance(value, np.generic):
        return value.item()
    return tuple(map(_plain, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value
