"""The values of a config that its types allow and that make no sense: ranges stand beside the keys in the schema."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from anomaly_bench.base.errors import ConfigError
from data_modules.base.options.ranges import check_ranges

from .schema import RunConfig, SlurmConfig

LOGGERS = ("csv", "wandb", "tensorboard", "mlflow")


def check_values(configs: Iterable[RunConfig]) -> None:
    """Raises ConfigError naming the key, its value and what was expected. What several configs share is checked once."""
    checked = set[int]()
    for config in configs:
        check_ranges(config, "", checked)
        widths = config.localization.smoothing
        _check("localization.smoothing", widths, len(set(widths)) == len(widths), "widths that differ")
        _check("logger", config.logger, config.logger in LOGGERS, f"one of {', '.join(LOGGERS)}")
        if isinstance(config.engine, SlurmConfig):
            _check_slurm(config, config.engine)


def check_part(part: Any, name: str) -> None:
    """The same of one group, such as a LocalizationConfig made in Python; name: of its key."""
    check_ranges(part, f"{name}.", set())


def _check_slurm(config: RunConfig, engine: SlurmConfig) -> None:
    devices = config.trainer.devices
    fits = engine.gpus in (0, devices)
    _check("engine.gpus", engine.gpus, fits, f"as many as trainer.devices={devices}, or 0")
    _check("jobs", config.jobs, config.jobs <= 1, f"engine.at_once={config.jobs} in its place with engine=slurm")
    _check("engine.notice", engine.notice, engine.notice < 60 * engine.time, "seconds, fewer than the time limit")


def _check(key: str, value: Any, fits: bool, expected: str) -> None:
    if not fits:
        raise ConfigError(f"{key}={value}: expected {expected}")
