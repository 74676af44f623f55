"""An unfinished run goes on from its last checkpoint, to the numbers that it would have had without the interruption."""

from __future__ import annotations

import csv
import io
import math
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader

from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.schema import TrainerConfig
from data_modules.base.atomic import write_atomic
from data_modules.base.batch import AnomalyBatch
from data_modules.base.digests import digest_of

from .checkpoint_note import NOTE, CheckpointNote, read_note, write_note
from .random_state import random_state, set_random_state
from .stop_requests import StopRun, stop_request

MONITORED = "val/elbo"
FITTED = "fitted.ckpt"
Training = dict[str, float | int | None]


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole or not there, whenever the process is killed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        del storage_options
        write_atomic(Path(path), _bytes(checkpoint))

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        del weights_only  # a file can run no code when it is read
        return super().load_checkpoint(path, map_location, weights_only=True)


class Saver(pl.callbacks.Checkpoint):
    """Keeps the weights of the epoch with the best ELBO of normal validation images, and leaves checkpoints.

    A checkpoint is written at the start of an epoch and holds everything that decides how the training goes on: weights,
    optimizer, callbacks, the state of every source of random numbers, and `metrics.csv` so far. Writing them takes up to
    `checkpoint_share` of the time: 1 is every epoch, 0 none. loader: that of the training images, whose order is drawn from it.
    best, score, best_epoch: the best weights, their ELBO and epoch, None, −inf and 0 before there is a finite one. To
    be better, an ELBO has to exceed it by `rise` times what it has risen since the first, with all of a schedule's beta. last:
    that of the last epoch.
    """

    def __init__(self, folder: Path, run_id: str, loader: DataLoader[AnomalyBatch], config: TrainerConfig) -> None:
        self.folder, self.run_id, self.loader = folder, run_id, loader
        self.share, self.rise = config.checkpoint_share, config.rise
        self.best: dict[str, Tensor] | None = None
        self.first = self.score = self.last = float("-inf")
        self.best_epoch = 0
        self.earlier, self.start = 0.0, time.perf_counter()
        self._cost, self._saved = 0.0, self.start
        self._began = 0  # the epoch whose checkpoint is there; setting up the data has drawn random numbers since
        self._logged = ""

    @property
    def seconds(self) -> float:
        """Of training, those before an interruption included."""
        return self.earlier + time.perf_counter() - self.start

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self.last = float(trainer.callback_metrics[MONITORED])
            model: Any = pl_module  # a VAE
            if self.best is None or model.scheduled() < 1:
                self.first = self.last
            if self.best is None or self.last > self.score + self.rise * max(0.0, self.score - self.first):
                self._keep(pl_module, trainer.current_epoch + 1)

    def _keep(self, model: pl.LightningModule, epoch: int) -> None:
        if not math.isfinite(self.last):
            return
        self.score, self.best, self.best_epoch = self.last, _copied(model.state_dict()), epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch > self._began and trainer.strategy.broadcast(self._due()):
            began = time.perf_counter()
            self._save(trainer)
            self._saved = time.perf_counter()
            self._cost = self._saved - began
            stop_request.save = False
            if stop_request.leave:
                raise StopRun

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": self.best,
            "elbos": [self.first, self.score, self.last],
            "best_epoch": self.best_epoch,
            "seconds": self.seconds,
            "logged": self._logged,
            "random": random_state(self.loader),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_epoch, self.earlier = (state_dict[key] for key in ("best", "best_epoch", "seconds"))
        self.first, self.score, self.last = state_dict["elbos"]
        self._logged, self.start = state_dict["logged"], time.perf_counter()
        set_random_state(state_dict["random"], self.loader)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = trainer.current_epoch
        trainer.fit_loop.restarting = False  # an epoch begins: without this, its batches count as those of the last one
        self._write(trainer)

    def _due(self) -> bool:
        spent, since = self._cost * (1 - self.share), time.perf_counter() - self._saved
        return stop_request.save or (self.share > 0 and since * self.share >= spent)

    def _write(self, trainer: pl.Trainer) -> None:
        """Write again what was logged before an interruption."""
        if self._logged and (logger := _csv_logger(trainer)):
            writer = logger.experiment  # which begins with an empty file
            Path(writer.metrics_file_path).write_text(self._logged)
            writer.metrics_keys = self._logged.splitlines()[0].split(",")

    def _save(self, trainer: pl.Trainer) -> None:
        self._logged = _written(trainer)
        path = self.folder / f"epoch_{trainer.current_epoch:04d}.ckpt"
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            self._commit(trainer, path, fitted=False)

    def finish(self, trainer: pl.Trainer, training: Training) -> None:
        """Leave what localization needs: the best weights, and how the training went."""
        if not trainer.is_global_zero:
            return
        path = self.folder / FITTED
        self._logged = _written(trainer)
        loops = trainer.fit_loop.state_dict()
        write_atomic(path, _bytes({**self.state_dict(), "training": training, "loops": loops}))
        self._commit(trainer, path, fitted=True)

    def load_fitted(self, trainer: pl.Trainer, path: Path) -> Training:
        """The inverse of `finish`: as if the training had just ended."""
        state = torch.load(path, weights_only=True)
        self.load_state_dict(state)
        self._write(trainer)
        trainer.fit_loop.load_state_dict(state["loops"])
        training: Training = state["training"]
        return training

    def curve(self) -> dict[str, list[float | None]]:
        """`epoch`, from 1, and what was logged of the model in each: `train/loss`, `val/elbo`, …; after the training."""
        rows: dict[int, dict[str, float]] = {}
        for row in csv.DictReader(self._logged.splitlines()):
            of_model = {
                key: float(f"{float(value):.6g}") for key, value in row.items() if value and key.count("/") == 1
            }
            rows.setdefault(int(row["epoch"]) + 1, {}).update(of_model)
        keys = sorted({key for row in rows.values() for key in row})
        return {"epoch": list(rows), **{key: [row.get(key) for row in rows.values()] for key in keys}}

    def _commit(self, trainer: pl.Trainer, path: Path, fitted: bool) -> None:
        epoch, epochs = trainer.current_epoch, trainer.max_epochs
        assert epochs is not None
        note = CheckpointNote(self.run_id, path.name, digest_of(path), epoch, epochs, self.seconds, fitted)
        write_note(self.folder, note)
        for old in self.folder.glob("*.ckpt"):
            if old != path:
                old.unlink(missing_ok=True)


def usable(folder: Path, run_id: str, reporter: Reporter) -> CheckpointNote | None:
    """The checkpoint in a run's folder, if it is this run's and whole; says so if it is damaged."""
    note = read_note(folder)
    with suppress(OSError):  # the file is not there
        if note is not None and note.run_id == run_id and digest_of(folder / note.file) == note.digest:
            return note
    if note is not None or (folder / NOTE).exists():
        reporter.say(f"{folder}: its checkpoint is damaged or another run's; starting afresh")
    return None


def _written(trainer: pl.Trainer) -> str:
    """What is in metrics.csv by now."""
    if (logger := _csv_logger(trainer)) is None:
        return ""
    logger.save()
    path = Path(logger.experiment.metrics_file_path)
    return path.read_text() if path.exists() else ""


def _csv_logger(trainer: pl.Trainer) -> CSVLogger | None:
    """That of the run, which the first of several processes has."""
    return next((logger for logger in trainer.loggers if isinstance(logger, CSVLogger)), None)


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", copy=True) for name, value in state.items()}


def _bytes(state: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()
