"""Configuration: Hydra composes the YAML groups, a schema of dataclasses refuses what it does not know."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError  # type: ignore[import-untyped]

from data_modules.config import SCHEMAS, HealthyConfig, NiftiConfig, PictureConfig

from .errors import ConfigError
from .options import check_unique, config_dirs, groups, options_of
from .options import config_dir as config_dir
from .schema import MODEL_SCHEMAS, RunConfig


def load_config(overrides: Sequence[str]) -> RunConfig:
    """Compose one run's config from `group=option` and `key=value` overrides (Hydra's grammar).

    Raises ConfigError for unknown keys, options and wrong types; the message names the key and the closest valid one.
    """
    parsed = _parse(overrides)
    composed = _compose([override for override in parsed if override.key_or_group in groups()])
    schemas = RunConfig(
        dataset=_schema(SCHEMAS, composed, "dataset")(), model=_schema(MODEL_SCHEMAS, composed, "model")()
    )
    merged = OmegaConf.structured(schemas)
    try:
        OmegaConf.set_struct(composed, None)  # the schema says what is allowed
        _strip_healthy(composed)
        merged = OmegaConf.merge(merged, composed)
        for override in parsed:
            if override.key_or_group not in groups():
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
    parsed = [_parse_one(re.sub(r"=~(?=/|$)", f"={Path.home()}", text)) for text in overrides]
    for override in parsed:
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise ConfigError(f"{override.input_line}: a grid needs values, key=a,b or key=range(3)")
        if override.is_delete():
            raise ConfigError(f"{override.input_line}: a key cannot be deleted; set it to another value")
    return parsed


def _parse_one(text: str) -> Override:
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:
        key, equals, _ = text.partition("=")
        remedy = "write key=value, several values as key=a,b and lists as key=[a,b]"
        if equals:
            remedy += f"; a value with other signs, such as a pattern, needs two kinds of quotes: '{key}=\"…\"'"
        raise ConfigError(f"{text}: {_first_line(error).removeprefix(text).lstrip(': ')}; {remedy}") from error


def _values(override: Override) -> Iterator[str]:
    if override.is_sweep_override():
        for value in override.sweep_string_iterator():
            yield f"{override.get_key_element()}={value}"
    else:
        yield str(override.input_line)


def _compose(choices: list[Override]) -> DictConfig:
    try:
        shipped, *others = config_dirs()
        places = ",".join(f'"file://{_quoted(folder)}"' for folder in others)
        with initialize_config_dir(str(shipped), version_base="1.3"):
            lines = [*(str(choice.input_line) for choice in choices), f"hydra.searchpath=[{places}]"]
            composed = compose("config", lines, return_hydra_config=True)
        check_unique(composed.hydra.runtime.choices)
        with open_dict(composed):
            del composed["hydra"]
        for group in groups():
            if isinstance(composed.get(group), ListConfig | str):
                raise ConfigError(f"{group}: its YAML holds no keys; expected lines of the form key: value")
        return composed
    except MissingConfigException as error:
        raise ConfigError(_unknown_option(str(error))) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_first_line(error)) from error
    except MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        place = f"{where.name}, line {where.line + 1}" if where else "a config"
        raise ConfigError(f"{place}: is no YAML ({error.problem}); correct it") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"a config is no text in UTF-8 ({_first_line(error)}); save it so") from error


def _quoted(folder: Path) -> str:
    return str(folder).replace("\\", "\\\\").replace('"', '\\"')


def _schema(schemas: dict[str, Any], composed: DictConfig, group: str) -> Any:
    kind = OmegaConf.select(composed, f"{group}.kind")
    if kind not in schemas:
        raise ConfigError(f"{group}.kind={kind}: expected one of {', '.join(schemas)}")
    return schemas[kind]


def _strip_healthy(composed: DictConfig) -> None:
    """A dataset's YAML at dataset.healthy says more than where a cohort lies; the dataset itself decides the rest.

    Its split.group stays as dataset.healthy.group: who is one person is known of the healthy cohort alone.
    """
    healthy = composed.dataset.get("healthy")
    if healthy is not None:
        group = OmegaConf.select(healthy, "split.group")
        if group is not None and "group" not in healthy:
            healthy.group = group
        for key in set(NiftiConfig.__dataclass_fields__) - set(HealthyConfig.__dataclass_fields__):
            healthy.pop(key, None)


def _check_values(config: RunConfig) -> None:
    trainer, look, model, data = config.trainer, config.localization, config.model, config.dataset
    at_least_one = {
        "trainer.max_epochs": trainer.max_epochs,
        "trainer.patience": trainer.patience,
        "trainer.batch_size": trainer.batch_size,
        "localization.monitor_images": look.monitor_images,
        "localization.level_images": look.level_images,
    }
    for key, value in at_least_one.items():
        _check(key, value, value >= 1, "a number of at least 1")
    _check("model.lr", model.lr, 0 < model.lr < math.inf, "a number greater than 0")
    _check("localization.monitor_every", look.monitor_every, look.monitor_every >= 0, "epochs, or 0 for never")
    _check("localization.resamples", look.resamples, look.resamples >= 0, "0 or more")
    _check("localization.pictures", look.pictures, look.pictures >= 0, "0 or more")
    _check("localization.fpr", look.fpr, 0 < look.fpr < 1, "a share between 0 and 1")
    _check("localization.image_share", look.image_share, 0 < look.image_share <= 1, "a share above 0, up to 1")
    _check("localization.bits", look.bits, 8 <= look.bits <= 24, "8 to 24")
    _check("seed", config.seed, 0 <= config.seed < 2**32, "0 to 4294967295")
    _check("logger", config.logger, config.logger in ("csv", "wandb"), "csv or wandb")
    if isinstance(data, NiftiConfig):
        _check("dataset.slice_step", data.slice_step, data.slice_step >= 1, "a number of at least 1")
        _check("dataset.min_foreground", data.min_foreground, 0 < data.min_foreground <= 1, "a share above 0, up to 1")
        labels = data.anomalous_labels
        fits = labels is None or (len(labels) > 0 and min(labels) >= 1)
        _check("dataset.anomalous_labels", labels, fits, "label values of at least 1, or null for all")
    if isinstance(data, PictureConfig):
        _check("dataset.mask_threshold", data.mask_threshold, 0 <= data.mask_threshold < 1, "a share from 0 to below 1")


def _check(key: str, value: Any, fits: bool, expected: str) -> None:
    if not fits:
        raise ConfigError(f"{key}={value}: expected {expected}")


def _explain(error: OmegaConfBaseException, config: DictConfig) -> str:
    key = str(getattr(error, "full_key", "") or "")
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and key:
        return _unknown_key(key, config)
    if "not a ListConfig" in str(error):
        return f"{key}: expected a list, {key}=[a,b]"
    return f"{key}: {_first_line(error)}"


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
    close = [name for name in valid if name.endswith(f".{key}")] or difflib.get_close_matches(key, valid, 1, 0.6)
    return f"{key}: no such key" + (f"; did you mean {close[0]}?" if close else "; --cfg prints every key")


def _unknown_option(message: str) -> str:
    wanted = re.search(r"'([\w/]+)/([^'/]+)'", message)
    if wanted is None:
        return message.splitlines()[0]
    group, option = wanted.groups()
    there = options_of(group)
    close = difflib.get_close_matches(option, there, 1)
    hint = f"did you mean {close[0]}? There are" if close else "there are"
    return f"{group}={option}: there is no such {group}; {hint}: {', '.join(there)}"


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
