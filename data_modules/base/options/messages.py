"""What Hydra and OmegaConf refuse, in words that name the key and the closest valid one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from data_modules.base.errors import did_you_mean

from .folders import options_of

TYPES = {  # how OmegaConf says that a value is none of a type
    r"Value '(.*)' of type '\w+' could not be converted to Integer": "an integer",
    r"Value '(.*)' of type '\w+' could not be converted to Float": "a number",
    r"Value '(.*)' is not a valid bool": "true or false",
    r"Cannot convert '\w+' to string: '(.*)'": "a text",
}


def explain(error: OmegaConfBaseException, unknown: Callable[[str], str]) -> str:
    """One line on what was refused; unknown: what is said of a key that there is none of."""
    key = str(getattr(error, "full_key", "") or "")
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and key:
        return unknown(key)
    more = f"`anomaly-bench config {key.partition('[')[0]}` tells what it takes"
    if "not a ListConfig" in str(error):
        return f"{key}: expected a list, {key}=[a,b]"
    if re.search("is not a subclass of|Cannot assign .* to Dict|Cannot merge DictConfig", str(error)):
        return f"{key}: expected keys of its own, {key}.KEY=VALUE"
    if "missing mandatory value" in str(error):
        return f"{key}: is given no value; set it; {more}"
    if "is not Optional" in str(error):
        return f"{key}=null: expected a value; {more}"
    for pattern, expected in TYPES.items():
        typed = re.match(pattern, first_line(error))
        if typed:
            return f"{key}={typed.group(1)}: expected {expected}; {more}"
    return f"{key}: {first_line(error)}"


def unknown_key(key: str, config: DictConfig, more: Sequence[str] = (), otherwise: str = "") -> str:
    """One line on a key that is neither in the config nor one of `more`; otherwise: as of did_you_mean."""
    valid = [*_flat_keys(OmegaConf.to_container(config)), *more]
    word = next((name for name in valid if name.endswith(f".{key}")), key)
    return f"{key}: no such key; {did_you_mean(word, valid, otherwise)}"


def unknown_option(message: str) -> str:
    """One line on an option that a group has not, from Hydra's message."""
    wanted = re.search(r"'([\w/]+)/([^'/]+)'", message)
    if wanted is None:
        return message.splitlines()[0]
    group, option = wanted.groups()
    return no_such_option(group, option, f"{group}={option}")


def no_such_option(group: str, option: str, written: str) -> str:
    """One line on an option that a group has not; written: the option as the user wrote it."""
    verb = "are" if group.endswith("s") else "is"
    return f"{written}: there {verb} no such {group}; {did_you_mean(option, options_of(group))}"


def first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _flat_keys(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    return [key for name, value in node.items() for key in (f"{prefix}{name}", *_flat_keys(value, f"{prefix}{name}."))]
