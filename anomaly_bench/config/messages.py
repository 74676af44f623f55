"""What Hydra and OmegaConf refuse of a run's config, in words that name the key and the closest valid one."""

from __future__ import annotations

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from data_modules.base.options import messages
from data_modules.base.options.folders import groups
from data_modules.base.options.messages import first_line as first_line

from .schema import MODEL_SCHEMAS


def explain(error: OmegaConfBaseException, config: DictConfig) -> str:
    return messages.explain(error, lambda key: _unknown_key(key, config))


def _unknown_key(key: str, config: DictConfig) -> str:
    group, _, name = key.partition(".")
    for kind, schema in MODEL_SCHEMAS.items():
        if group == "model" and name in schema.__dataclass_fields__:
            return f"{key}: no such key with model={config.model.kind}; model={kind} has it"
    return messages.unknown_key(key, config, groups(), "--cfg prints every key")
