"""Configs → jobs, each checked as far as can be without training."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.differences import differences
from anomaly_bench.config.schema import FusedConfig, LocalConfig, RunConfig, SlurmConfig
from anomaly_bench.metrics import own_metrics
from anomaly_bench.models import build_model
from anomaly_bench.predictors import build_suite
from anomaly_bench.runs.data import build_data, with_loaders_of
from anomaly_bench.runs.fused import check_fusable
from anomaly_bench.runs.identity import definition_of, device_kind, device_of, name_run, setting_of
from anomaly_bench.runs.suite import suite_of_run
from anomaly_bench.runs.training.ddp import shared
from anomaly_bench.runs.training.quiet import quiet
from data_modules.base.digests import usable_cpus
from data_modules.modules.base import AnomalyDataModule
from data_modules.modules.build import build_module
from data_modules.store.build import single_threaded

from .engines.fused import groups
from .job import Job, Plan
from .memory import Need, check_memory, need_of, weigh

PRECISIONS = ("32-true", "bf16-mixed")  # maps need at least 32 bits
OF_GPUS = ("16-mixed", "64-true")


def plan(configs: Sequence[RunConfig], reporter: Reporter) -> Plan:
    """The jobs of the configs: data, network, predictors and trainer of each are such that it can be done.

    What several runs share is checked once. Raises ConfigError, DataError and OutputError.
    """
    texts: dict[int, str] = {}

    def text(part: Any) -> str:  # the parts of configs are shared, and alive as long as these
        return texts.get(id(part)) or texts.setdefault(id(part), repr(part))

    data: dict[str, AnomalyDataModule] = {}
    settings: dict[tuple[str, ...], tuple[str, float, Need]] = {}
    jobs: dict[str, Job] = {}
    needs: dict[str, Need] = {}
    for config in configs:
        parts = (config.dataset, config.model, config.predictors, config.trainer, config.localization)
        key = tuple(map(text, parts))
        if key not in settings:
            settings[key] = _checked(config, data, reporter)
        setting_id, beta, needs[setting_id] = settings[key]
        identity = name_run(config, setting_id)
        jobs.setdefault(identity.run_id, Job(config, identity, beta))
    devices = _devices(configs)
    check_memory(configs[0], Need(), _at_once([job for job in jobs.values() if not job.done], needs, len(devices)))
    for one in data.values():
        reporter.say(one.describe())
    differs = differences({job.identity.setting_id: job.config for job in jobs.values()})
    told = [replace(job, differs=differs.get(job.identity.setting_id, "")) for job in jobs.values()]
    return Plan(told, devices, data)


def plan_alone(configs: Sequence[RunConfig], reporter: Reporter) -> Plan:
    """The plan without the data, which stay in the process that prepared them."""
    found = plan(configs, reporter)
    return Plan(found.jobs, found.devices)


def _at_once(jobs: Sequence[Job], needs: Mapping[str, Need], devices: int) -> list[Need]:
    """The most that jobs take at the same time on one device, of so many GPUs or else of this machine, by setting id."""
    if not jobs or isinstance(engine := jobs[0].config.engine, SlurmConfig):
        return []
    sets: list[Sequence[Job]] = [jobs]
    most = max(1, jobs[0].config.jobs)
    if isinstance(engine, FusedConfig):
        sets, most = [*groups(jobs, engine.together)], engine.together
    elif isinstance(engine, LocalConfig) and devices:
        most = min(engine.runs_per_device, math.ceil(most / devices))
    every = [sorted((needs[job.identity.setting_id] for job in part), key=lambda need: -need.total) for part in sets]
    return max((part[:most] for part in every), key=lambda part: sum(need.total for need in part))


def _checked(config: RunConfig, data: dict[str, AnomalyDataModule], reporter: Reporter) -> tuple[str, float, Need]:
    """The id of the config's setting, its beta and what it takes, if it can be done; its data are prepared if not yet."""
    build_suite(config.predictors)  # what is wrong in the config is said before data are prepared
    own_metrics(config.localization.metrics)
    elsewhere = isinstance(config.engine, SlurmConfig) and config.jobs > 0
    trainer = config.trainer
    check_precision(device_of(config), trainer.precision)
    check_trainer("cpu" if elsewhere else trainer.accelerator, trainer.precision, trainer.devices)
    key = repr(config.dataset)
    shape = (data.get(key) or build_module(config.dataset, config.cache, config.data)).image_shape
    weight = weigh(config.model, shape, config.dataset.context)  # and what is wrong with the model is said
    if weight is not None:
        check_memory(config, need_of(config, weight, shape, images=1))
    if key not in data:
        data[key] = build_data(config, reporter)
    need = Need()
    if weight is not None:
        images = max(map(len, data[key].indices.values()))
        check_memory(config, need := need_of(config, weight, shape, images, len(data[key].store.subject)))
    if trainer.devices > 1:
        if not elsewhere and device_kind(trainer.accelerator) == "cpu" and trainer.devices > usable_cpus():
            raise ConfigError(
                f"trainer.devices={trainer.devices}: expected at most a process for each of {usable_cpus()} CPUs"
            )
        shared(with_loaders_of(config, data[key]).train_dataloader(), 0, trainer.devices)
    with single_threaded():  # threads that wait for each other are slow on a machine that does other work
        model = build_model(config.model, data[key].image_shape, data[key].context)
        if isinstance(config.engine, FusedConfig):
            check_fusable(config, model)
    suite, _ = suite_of_run(config, model, data[key])
    return setting_of(config, definition_of(config, suite), data[key]), model.beta, need


def check_precision(device: str, precision: str) -> None:
    """Raises ConfigError for a precision in which a device of this kind does not train and localize."""
    allowed = PRECISIONS if device == "cpu" else (*PRECISIONS, *OF_GPUS)
    if precision not in (*allowed, *(name.partition("-")[0] for name in allowed)):
        raise ConfigError(
            f"trainer.precision={precision}: expected one of {', '.join(allowed)} on this device, {device}"
        )


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
            if re.search("backend found|can not run on your system", str(error)):
                raise ConfigError(
                    f"trainer.accelerator={accelerator}: this machine has none; set trainer.accelerator=auto or cpu"
                ) from error
            keys = f"trainer.accelerator={accelerator}, trainer.precision={precision}, trainer.devices={devices}"
            raise ConfigError(f"{keys}: {str(error).splitlines()[0]}") from error


def _devices(configs: Sequence[RunConfig]) -> list[str]:
    if not isinstance(configs[0].engine, LocalConfig) or device_kind(configs[0].trainer.accelerator) != "cuda":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
