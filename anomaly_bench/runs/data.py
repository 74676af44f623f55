"""The data of a run, and how they come to the device that it is done on."""

from __future__ import annotations

import copy
import math

import torch

from anomaly_bench.base.files import CACHE, explained
from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.schema import RunConfig
from data_modules.base.names import dataset_name
from data_modules.modules.base import AnomalyDataModule
from data_modules.modules.build import build_module

from .identity import device_of

EVALUATED = 1 << 22  # pixels of a batch on a GPU: 1,024 images of 64 by 64


def build_data(config: RunConfig, reporter: Reporter) -> AnomalyDataModule:
    """The data module of the config, prepared and divided into splits. Raises DataError, and OutputError naming the cache."""
    steps = reporter.steps(f"prepare {dataset_name(config.dataset)}")
    with explained(config.cache, CACHE):
        data = build_module(config.dataset, config.cache, config.data, config.trainer.batch_size, config.seed, steps)
        data.eval_batch_size = evaluation_batch(config, data.image_shape)
        data.prepare_data()
        data.setup()
    return data


def evaluation_batch(config: RunConfig, shape: tuple[int, ...]) -> int:
    """How many images (C, H, W) are localized at once: `localization.batch_size`, or as many as pay on the run's device.

    On a GPU about EVALUATED pixels, as a small batch leaves most of its cores without work.
    """
    if config.localization.batch_size is not None:
        return config.localization.batch_size
    trained = config.trainer.batch_size
    return trained if device_of(config) != "cuda" else max(trained, EVALUATED // math.prod(shape))


def place_data(config: RunConfig, data: AnomalyDataModule, device: torch.device) -> None:
    """Have the batches come to a device as `trainer.hold_data` says."""
    if config.trainer.hold_data:
        data.hold(device)
    elif config.trainer.hold_data is None:
        data.place(device)


def with_loaders_of(config: RunConfig, data: AnomalyDataModule) -> AnomalyDataModule:
    """The same data in batches of the config's size, shuffled by its seed."""
    data = copy.copy(data)
    data.eval_batch_size = evaluation_batch(config, data.image_shape)
    data.batch_size, data.seed = config.trainer.batch_size, config.seed
    return data
