"""What Hydra and OmegaConf refuse, in words that name the key and the closest valid one."""

from __future__ import annotations

import re
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from data_modules.base.errors import did_you_mean

from .folders import groups, options_of
from .schema import MODEL_SCHEMAS


def explain(error: OmegaConfBaseException, config: DictConfig) -> str:
    key = str(getattr(error, "full_key", "") or "")
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and key:
        return _unknown_key(key, config)
    if "not a ListConfig" in str(error):
        return f"{key}: expected a list, {key}=[a,b]"
    return f"{key}: {first_line(error)}"


def _flat_keys(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    return [key for name, value in node.items() for key in (f"{prefix}{name}", *_flat_keys(value, f"{prefix}{name}."))]


def _unknown_key(key: str, config: DictConfig) -> str:
    group, _, name = key.partition(".")
    for kind, schema in MODEL_SCHEMAS.items():
        if group == "model" and name in schema.__dataclass_fields__:
            return f"{key}: no such key with model={config.model.kind}; model={kind} has it"
    valid = _flat_keys(OmegaConf.to_container(config)) + groups()
    word = next((name for name in valid if name.endswith(f".{key}")), key)
    return f"{key}: no such key; {did_you_mean(word, valid, '--cfg prints every key')}"


def unknown_option(message: str) -> str:
    wanted = re.search(r"'([\w/]+)/([^'/]+)'", message)
    if wanted is None:
        return message.splitlines()[0]
    group, option = wanted.groups()
    return f"{group}={option}: there is no such {group}; {did_you_mean(option, options_of(group))}"


def first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
