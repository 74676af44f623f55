"""Configs → jobs, each checked as far as can be without training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException

from data_modules.digests import usable_cpus
from data_modules.module import AnomalyDataModule
from data_modules.store_build import single_threaded

from ..callbacks.search import check_searches
from ..devices import shared
from ..errors import ConfigError
from ..identity import device_kind, name_run, setting_of
from ..models import build_model
from ..output import CACHE, explained
from ..predictors import build_suite
from ..progress import Reporter
from ..quiet import quiet
from ..run import build_data, with_loaders_of
from ..schema import LocalConfig, RunConfig, SlurmConfig
from .job import Job, Plan
from .titles import differences


def plan(configs: Sequence[RunConfig], reporter: Reporter) -> Plan:
    """The jobs of the configs: data, network, predictors and trainer of each are such that it can be done.

    What several runs share is checked once. Raises ConfigError, DataError and OutputError.
    """
    texts: dict[int, str] = {}

    def text(part: Any) -> str:  # the parts of configs are shared, and alive as long as these
        return texts.get(id(part)) or texts.setdefault(id(part), repr(part))

    data: dict[str, AnomalyDataModule] = {}
    settings: dict[tuple[str, ...], tuple[str, float]] = {}
    jobs: dict[str, Job] = {}
    for config in configs:
        parts = (config.dataset, config.model, config.predictors, config.trainer, config.localization)
        key = tuple(map(text, parts))
        if key not in settings:
            settings[key] = _checked(config, data, reporter)
        setting_id, beta = settings[key]
        identity = name_run(config, setting_id)
        jobs.setdefault(identity.run_id, Job(config, identity, beta))
    for one in data.values():
        reporter.say(one.describe())
    differs = differences({job.identity.setting_id: job.config for job in jobs.values()})
    told = [replace(job, differs=differs.get(job.identity.setting_id, "")) for job in jobs.values()]
    return Plan(told, _devices(configs), data)


def plan_alone(configs: Sequence[RunConfig], reporter: Reporter) -> Plan:
    """The plan without the data, which stay in the process that prepared them."""
    found = plan(configs, reporter)
    return Plan(found.jobs, found.devices)


def _checked(config: RunConfig, data: dict[str, AnomalyDataModule], reporter: Reporter) -> tuple[str, float]:
    """The id of the config's setting and its beta, if the run can be done; its data are prepared if they are not yet."""
    suite = build_suite(config.predictors)
    elsewhere = isinstance(config.engine, SlurmConfig) and config.jobs > 0
    trainer = config.trainer
    check_trainer("cpu" if elsewhere else trainer.accelerator, trainer.precision, trainer.devices)
    key = repr(config.dataset)
    if key not in data:
        with explained(config.cache, CACHE):
            data[key] = build_data(config, reporter)
    if trainer.devices > 1:
        if not elsewhere and device_kind(trainer.accelerator) == "cpu" and trainer.devices > usable_cpus():
            raise ConfigError(
                f"trainer.devices={trainer.devices}: expected at most a process for each of {usable_cpus()} CPUs"
            )
        shared(with_loaders_of(config, data[key]).train_dataloader(), 0, trainer.devices)
    check_searches(suite, data[key])
    with single_threaded():  # threads that wait for each other are slow on a machine that does other work
        model = build_model(config.model, data[key].image_shape)
    return setting_of(config, data[key]), model.beta


@cache
def check_trainer(accelerator: str, precision: str, devices: int) -> None:
    """Raises ConfigError if this machine has no such accelerator or not as many, or the trainer no such precision."""
    with quiet():
        try:
            pl.Trainer(
                accelerator=accelerator,
                precision=precision,  # type: ignore[arg-type]
                devices=devices,
                logger=False,
                plugins=[LightningEnvironment()],
            )
        except (MisconfigurationException, ValueError) as error:
            keys = f"trainer.accelerator={accelerator}, trainer.precision={precision}, trainer.devices={devices}"
            raise ConfigError(f"{keys}: {str(error).splitlines()[0]}") from error


def _devices(configs: Sequence[RunConfig]) -> list[str]:
    if not isinstance(configs[0].engine, LocalConfig) or device_kind(configs[0].trainer.accelerator) != "cuda":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
