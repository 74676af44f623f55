"""Loggers of a run: CSV always, another tracker when asked."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger, Logger

from anomaly_bench.base.identity import Identity
from anomaly_bench.config.schema import RunConfig
from anomaly_bench.tracking.wandb.logger import WandbLogger
from anomaly_bench.tracking.wandb.start import start

from .names import group_name, run_name, tags
from .other_loggers import Patient, other_logger


def build_loggers(
    config: RunConfig, identity: Identity, folder: Path, about: dict[str, Any], beta: float
) -> list[Logger]:
    """CSV in `folder`, and the tracker that `logger` names; about: what it is told of the run; beta: the raw one.

    A W&B run that cannot start is a warning, never a failed run. Raises ConfigError if the tracker's package is missing.
    """
    loggers: list[Logger] = [CSVLogger(folder, name="", version="")]
    if config.logger == "csv":
        return loggers
    name, group = run_name(identity), group_name(config, beta)
    if config.logger != "wandb":
        loggers.append(other_logger(config.logger, folder, name, group, about))
    elif run := start(folder, identity.run_id, name, group, "run", tags(config, beta), about):
        loggers.append(WandbLogger(run, folder / "pictures"))
    return loggers


@contextmanager
def finishing(loggers: Sequence[Logger]) -> Iterator[None]:
    """Close the trackers at the end, as failed if the run fails."""
    code = 1
    try:
        yield
        code = 0
    finally:
        for logger in loggers:
            if isinstance(logger, WandbLogger | Patient):
                logger.finish(code)


def trackers(loggers: Sequence[Logger]) -> list[Logger]:
    """Those that do more than write CSV."""
    return [logger for logger in loggers if not isinstance(logger, CSVLogger)]


class TrackingCallback(pl.Callback):
    """Keeps trackers in step with `metrics.csv`, from which an interrupted run goes on."""

    def __init__(self, loggers: Sequence[Logger], folder: Path) -> None:
        self.loggers, self.history = loggers, folder / "metrics.csv"
        self._caught_up = False

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._catch_up()  # for a training that was over before the interruption

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._catch_up()  # not at the start of the training, where `metrics.csv` is only being written again
        for logger in self.loggers:
            if isinstance(logger, WandbLogger):
                logger.flush()

    def _catch_up(self) -> None:
        """Log what was logged before an interruption."""
        caught_up, self._caught_up = self._caught_up, True
        if caught_up or not self.history.exists():
            return
        with self.history.open(newline="", encoding="utf-8") as stream:
            rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(stream)]
        for row in rows:
            step = int(row.pop("step"))
            for logger in self.loggers:
                logger.log_metrics(row, step)
