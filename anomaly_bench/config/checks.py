"""The values of a config that its types allow and that make no sense."""

from __future__ import annotations

import math
from typing import Any

from anomaly_bench.base.errors import ConfigError
from data_modules.base.config import NiftiConfig, PictureConfig

from .schema import LocalConfig, RunConfig, SlurmConfig

LOGGERS = ("csv", "wandb", "tensorboard", "mlflow")


def check_values(config: RunConfig) -> None:
    """Raises ConfigError naming the key, its value and what was expected."""
    trainer, look, model, data = config.trainer, config.localization, config.model, config.dataset
    at_least_one = {
        "trainer.max_epochs": trainer.max_epochs,
        "trainer.patience": trainer.patience,
        "trainer.batch_size": trainer.batch_size,
        "trainer.devices": trainer.devices,
        "localization.monitor_images": look.monitor_images,
        "localization.level_images": look.level_images,
    }
    for key, value in at_least_one.items():
        _check(key, value, value >= 1, "a number of at least 1")
    _check("jobs", config.jobs, config.jobs >= 0, "how many runs at once, or 0 for none but this process")
    if isinstance(config.engine, LocalConfig):
        runs, threads = config.engine.runs_per_device, config.engine.threads
        _check("engine.runs_per_device", runs, runs >= 1, "a number of at least 1")
        _check("engine.threads", threads, threads is None or threads >= 1, "a number of at least 1, or null")
    if isinstance(config.engine, SlurmConfig):
        _check_slurm(config.engine)
        fits = config.engine.gpus in (0, trainer.devices)
        _check("engine.gpus", config.engine.gpus, fits, f"as many as trainer.devices={trainer.devices}, or 0")
        _check("jobs", config.jobs, config.jobs <= 1, f"engine.at_once={config.jobs} in its place with engine=slurm")
    share = trainer.checkpoint_share
    _check("trainer.checkpoint_share", share, 0 <= share <= 1, "a share from 0 to 1")
    _check("model.lr", model.lr, 0 < model.lr < math.inf, "a number greater than 0")
    _check("localization.monitor_every", look.monitor_every, look.monitor_every >= 0, "epochs, or 0 for never")
    _check("localization.resamples", look.resamples, look.resamples >= 0, "0 or more")
    _check("localization.pictures", look.pictures, look.pictures >= 0, "0 or more")
    _check("localization.fpr", look.fpr, 0 < look.fpr < 1, "a share between 0 and 1")
    _check("localization.image_share", look.image_share, 0 < look.image_share <= 1, "a share above 0, up to 1")
    _check("localization.bits", look.bits, 8 <= look.bits <= 24, "8 to 24")
    _check("seed", config.seed, 0 <= config.seed < 2**32, "0 to 4294967295")
    _check("logger", config.logger, config.logger in LOGGERS, f"one of {', '.join(LOGGERS)}")
    if isinstance(data, NiftiConfig):
        _check("dataset.slice_step", data.slice_step, data.slice_step >= 1, "a number of at least 1")
        _check("dataset.min_foreground", data.min_foreground, 0 < data.min_foreground <= 1, "a share above 0, up to 1")
        labels = data.anomalous_labels
        fits = labels is None or (len(labels) > 0 and min(labels) >= 1)
        _check("dataset.anomalous_labels", labels, fits, "label values of at least 1, or null for all")
    if isinstance(data, PictureConfig):
        _check("dataset.mask_threshold", data.mask_threshold, 0 <= data.mask_threshold < 1, "a share from 0 to below 1")


def _check_slurm(engine: SlurmConfig) -> None:
    for name in ("time", "cpus", "at_once", "tries"):
        value = getattr(engine, name)
        _check(f"engine.{name}", value, value >= 1, "a number of at least 1")
    _check("engine.gpus", engine.gpus, engine.gpus >= 0, "0 or more")
    _check("engine.mem_gb", engine.mem_gb, engine.mem_gb is None or engine.mem_gb > 0, "more than 0, or null")
    fits = 0 < engine.notice < 60 * engine.time
    _check("engine.notice", engine.notice, fits, "seconds, fewer than the time limit")


def _check(key: str, value: Any, fits: bool, expected: str) -> None:
    if not fits:
        raise ConfigError(f"{key}={value}: expected {expected}")
