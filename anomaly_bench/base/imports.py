"""A user's own classes, by the name under which Python imports them."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import ConfigError


def load(key: str, path: str) -> Any:
    """What `package.module.Name` names. Raises ConfigError naming the key that holds the path."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{key}={path}: {error or 'no module in it'}; expected package.module.Name, which Python can import here: "
            "install the package (pip install -e FOLDER) or put its folder on PYTHONPATH"
        ) from error
    except Exception as error:  # a module of somebody's own
        raise ConfigError(
            f"{key}={path}: {module} cannot be imported, {type(error).__name__}: {error}; mend it"
        ) from error


def import_path(thing: Any) -> str:
    """`package.module.Name` of a class or function; what is defined inside a function has one that cannot be imported."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"
