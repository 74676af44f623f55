"""Configuration: Hydra composes the YAML groups, a schema of dataclasses refuses what it does not know."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from data_modules.config import SCHEMAS

from .errors import ConfigError
from .schema import MODEL_SCHEMAS, RunConfig


def config_dir() -> Path:
    """The shipped configs: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def load_config(overrides: Sequence[str]) -> RunConfig:
    """Compose one run's config from `group=option` and `key=value` overrides (Hydra's grammar).

    Raises ConfigError for unknown keys, options and wrong types; the message names the key and the closest valid one.
    """
    parsed = _parse(overrides)
    composed = _compose([override for override in parsed if override.key_or_group in _groups()])
    schemas = RunConfig(
        dataset=_schema(SCHEMAS, composed, "dataset")(), model=_schema(MODEL_SCHEMAS, composed, "model")()
    )
    merged = OmegaConf.structured(schemas)
    try:
        OmegaConf.set_struct(composed, None)  # the schema says what is allowed
        merged = OmegaConf.merge(merged, composed)
        for override in parsed:
            if override.key_or_group not in _groups():
                OmegaConf.update(merged, override.key_or_group, override.value())
        config: RunConfig = OmegaConf.to_object(merged)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise ConfigError(_explain(error, merged)) from error
    _check_values(config)
    return config


def to_yaml(config: RunConfig) -> str:
    """The composed config as YAML."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The composed config as plain dictionaries and lists."""
    plain = OmegaConf.to_container(OmegaConf.structured(config))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """The grid that overrides such as `model.beta=1,4 seed=range(3)` span: one list of overrides for each run."""
    return [list(combination) for combination in product(*(list(_values(override)) for override in _parse(overrides)))]


def _parse(overrides: Sequence[str]) -> list[Override]:
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        remedy = "write key=value, several values as key=a,b and lists as key=[a,b]"
        raise ConfigError(f"{_first_line(error)}; {remedy}") from error
    for override in parsed:
        if override.is_delete():
            raise ConfigError(f"{override.input_line}: a key cannot be deleted; set it to another value")
    return parsed


def _values(override: Override) -> Iterator[str]:
    if override.is_sweep_override():
        for value in override.sweep_string_iterator():
            yield f"{override.get_key_element()}={value}"
    else:
        yield str(override.input_line)


def _compose(choices: list[Override]) -> DictConfig:
    try:
        with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
            return compose("config", [str(choice.input_line) for choice in choices])
    except MissingConfigException as error:
        raise ConfigError(_unknown_option(str(error))) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_first_line(error)) from error


def _schema(schemas: dict[str, Any], composed: DictConfig, group: str) -> Any:
    kind = OmegaConf.select(composed, f"{group}.kind")
    if kind not in schemas:
        raise ConfigError(f"{group}.kind={kind}: expected one of {', '.join(schemas)}")
    return schemas[kind]


def _check_values(config: RunConfig) -> None:
    positive = {
        "trainer.max_epochs": config.trainer.max_epochs,
        "trainer.patience": config.trainer.patience,
        "trainer.batch_size": config.trainer.batch_size,
        "localization.monitor_images": config.localization.monitor_images,
        "localization.level_images": config.localization.level_images,
        "model.lr": config.model.lr,
    }
    for key, value in positive.items():
        if value <= 0:
            raise ConfigError(f"{key}={value}: expected a number greater than 0")
    shares = {"localization.fpr": config.localization.fpr, "localization.image_share": config.localization.image_share}
    for key, share in shares.items():
        if not 0 < share < 1:
            raise ConfigError(f"{key}={share}: expected a share between 0 and 1")
    if config.seed < 0:
        raise ConfigError(f"seed={config.seed}: expected 0 or a positive integer")
    if not 8 <= config.localization.bits <= 24:
        raise ConfigError(f"localization.bits={config.localization.bits}: expected 8 to 24")
    if config.logger not in ("csv", "wandb"):
        raise ConfigError(f"logger={config.logger}: expected csv or wandb")


def _explain(error: OmegaConfBaseException, config: DictConfig) -> str:
    key = str(getattr(error, "full_key", "") or "")
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and key:
        return _unknown_key(key, config)
    return f"{key}: {_first_line(error)}"


def _flat_keys(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    return [key for name, value in node.items() for key in (f"{prefix}{name}", *_flat_keys(value, f"{prefix}{name}."))]


@cache
def _groups() -> list[str]:
    return sorted(path.name for path in config_dir().iterdir() if path.is_dir())


def _unknown_key(key: str, config: DictConfig) -> str:
    group, _, name = key.partition(".")
    for kind, schema in MODEL_SCHEMAS.items():
        if group == "model" and name in schema.__dataclass_fields__:
            return f"{key}: no such key with model={config.model.kind}; model={kind} has it"
    valid = _flat_keys(OmegaConf.to_container(config)) + _groups()
    close = difflib.get_close_matches(key, valid, 1, 0.6)
    return f"{key}: no such key" + (f"; did you mean {close[0]}?" if close else "; --cfg prints every key")


def _unknown_option(message: str) -> str:
    wanted = re.search(r"'([\w/]+)/([^'/]+)'", message)
    if wanted is None:
        return message.splitlines()[0]
    group, option = wanted.groups()
    there = sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))
    close = difflib.get_close_matches(option, there, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{group}={option}: there is no such {group}{hint} There are: {', '.join(there)}"


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
