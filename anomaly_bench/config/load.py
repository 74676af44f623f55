"""Configuration: overrides and YAML → the configs of one run or of a grid of runs, and back to YAML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from anomaly_bench.base.errors import ConfigError
from data_modules.base.regular import regular

from .checks import check_values
from .compose import to_config, with_schema
from .grid import load_grid
from .messages import first_line
from .schema import RunConfig


def load_config(overrides: Sequence[str]) -> RunConfig:
    """Compose one run's config from `group=option` and `key=value` overrides (Hydra's grammar).

    Raises ConfigError for unknown keys, options and wrong types, the message names the key and the closest valid one;
    and for a grid of several runs.
    """
    configs = load_grid(overrides)
    if len(configs) > 1:
        raise ConfigError(f"these overrides make {len(configs)} runs; `anomaly-bench bench` does several")
    return configs[0]


def read_config(path: Path) -> RunConfig:
    """The config that a run was started with, from the `config.yaml` in its folder. Raises ConfigError naming the file."""
    try:
        loaded = OmegaConf.load(regular(path))
        assert isinstance(loaded, DictConfig)
        config = to_config(with_schema(loaded))
        check_values([config])
    except Exception as error:  # whatever a damaged file makes of the parser and the schema
        said = f"{path}: cannot be read ({first_line(error)}); move the run's folder away and repeat the run"
        raise ConfigError(said) from error
    return config


def to_yaml(config: RunConfig) -> str:
    """The composed config as YAML."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))
