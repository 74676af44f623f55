"""The callback that tells a reporter how far training and localization are."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn

from ..progress import Reporter


class ReportCallback(pl.Callback):
    """One stage for the training, one for each later pass over images."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.reporter.stage("train", int(trainer.num_training_batches) * (trainer.max_epochs or 1))

    def on_train_batch_end(self, *_: Any) -> None:
        self.reporter.advance()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        elbo = trainer.callback_metrics.get("val/elbo")
        self.reporter.note(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            + (f", ELBO {elbo:.1f}" if elbo is not None else "")
        )

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            self.reporter.stage("validate", int(sum(trainer.num_val_batches)))

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            self.reporter.advance()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.reporter.stage("test", int(sum(trainer.num_test_batches)))

    def on_test_batch_end(self, *_: Any, **__: Any) -> None:
        self.reporter.advance()
