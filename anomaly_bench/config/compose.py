"""Hydra composes the YAML groups; a schema of dataclasses refuses what it does not know."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError  # type: ignore[import-untyped]

from anomaly_bench.base.errors import ConfigError
from data_modules.base.config import SCHEMAS, HealthyConfig, NiftiConfig

from .folders import check_unique, config_dirs, groups
from .messages import explain, first_line, unknown_option
from .schema import ENGINE_SCHEMAS, MODEL_SCHEMAS, RunConfig

SWEEP = "sweep"


def parse(overrides: Sequence[str]) -> list[Override]:
    """Overrides in Hydra's grammar. Raises ConfigError for what is malformed or makes no grid."""
    parsed = [parse_one(re.sub(r"=~(?=/|$)", f"={Path.home()}", text)) for text in overrides]
    for override in parsed:
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise ConfigError(f"{override.input_line}: a grid needs values, key=a,b or key=range(3)")
        if override.is_delete():
            raise ConfigError(f"{override.input_line}: a key cannot be deleted; set it to another value")
    return parsed


def parse_one(text: str) -> Override:
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:
        key, equals, _ = text.partition("=")
        remedy = "write key=value, several values as key=a,b and lists as key=[a,b]"
        if equals:
            remedy += f"; a value with other signs, such as a pattern, needs two kinds of quotes: '{key}=\"…\"'"
        raise ConfigError(f"{text}: {first_line(error).removeprefix(text).lstrip(': ')}; {remedy}") from error


def compose_groups(choices: Sequence[str]) -> DictConfig:
    """The YAML of the chosen options (`dataset=brats`), as it is written. Raises ConfigError."""
    try:
        shipped, *others = config_dirs()
        places = ",".join(f'"file://{_quoted(folder)}"' for folder in others)
        with initialize_config_dir(str(shipped), version_base="1.3"):
            lines = [*choices, f"hydra.searchpath=[{places}]"]
            composed = compose("config", lines, return_hydra_config=True)
        check_unique(composed.hydra.runtime.choices)
        OmegaConf.set_struct(composed, None)  # the schema says what is allowed
        del composed["hydra"]
        for group in groups():
            if isinstance(composed.get(group), ListConfig | str):
                raise ConfigError(f"{group}: its YAML holds no keys; expected lines of the form key: value")
        return composed
    except MissingConfigException as error:
        raise ConfigError(unknown_option(str(error))) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(first_line(error)) from error
    except MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        place = f"{where.name}, line {where.line + 1}" if where else "a config"
        raise ConfigError(f"{place}: is no YAML ({error.problem}); correct it") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"a config is no text in UTF-8 ({first_line(error)}); save it so") from error


def _quoted(folder: Path) -> str:
    return str(folder).replace("\\", "\\\\").replace('"', '\\"')


def with_schema(composed: DictConfig) -> DictConfig:
    """The composed values in the schema's types and with its defaults. Raises ConfigError for unknown keys and wrong types."""
    schemas = RunConfig(
        dataset=_schema(SCHEMAS, composed, "dataset")(),
        model=_schema(MODEL_SCHEMAS, composed, "model")(),
        engine=_schema(ENGINE_SCHEMAS, composed, "engine")(),
    )
    merged = OmegaConf.structured(schemas)
    try:
        _strip_healthy(composed)
        return OmegaConf.merge(merged, composed)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, merged)) from error


def update(config: DictConfig, key: str, value: Any) -> None:
    """Set a key to a value of its type. Raises ConfigError."""
    try:
        OmegaConf.update(config, key, value)
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, config)) from error


def to_config(config: DictConfig) -> RunConfig:
    """The dataclasses. Raises ConfigError for a value that is missing."""
    try:
        run_config: RunConfig = OmegaConf.to_object(config)  # type: ignore[assignment]
        return run_config
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, config)) from error


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
