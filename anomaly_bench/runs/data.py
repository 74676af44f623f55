"""The data of a run."""

from __future__ import annotations

import copy

from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.schema import RunConfig
from data_modules.base.names import dataset_name
from data_modules.modules.base import AnomalyDataModule
from data_modules.modules.build import build_module


def build_data(config: RunConfig, reporter: Reporter) -> AnomalyDataModule:
    """The data module of the config, prepared and divided into splits."""
    steps = reporter.steps(f"prepare {dataset_name(config.dataset)}")
    data = build_module(config.dataset, config.cache, config.data, config.trainer.batch_size, config.seed, steps)
    data.prepare_data()
    data.setup()
    return data


def with_loaders_of(config: RunConfig, data: AnomalyDataModule) -> AnomalyDataModule:
    """The same data in batches of the config's size, shuffled by its seed."""
    data = copy.copy(data)
    data.batch_size, data.seed = config.trainer.batch_size, config.seed
    return data
