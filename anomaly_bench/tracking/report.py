"""The callback that tells a reporter how far a run is."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from anomaly_bench.base.progress import Reporter

LOCALIZING = 8  # a batch localized with every predictor takes about as long as this many training steps


class ReportCallback(pl.Callback):
    """One bar for the whole run, from the first training step to the last test batch.

    batches: how many batches are localized after the training.
    """

    def __init__(self, reporter: Reporter, batches: int) -> None:
        self.reporter, self.batches, self.left = reporter, batches, -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        batches, epochs = int(trainer.num_training_batches), trainer.max_epochs or 1
        self.reporter.stage("", batches * epochs + LOCALIZING * self.batches)
        self.left = batches * (epochs - trainer.current_epoch)
        self.reporter.advance(batches * trainer.current_epoch)  # those of an interrupted run

    def on_train_batch_end(self, *_: Any) -> None:
        self.left -= 1
        self.reporter.advance()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        elbo = trainer.callback_metrics.get("val/elbo")
        shown = f", ELBO {elbo:.1f}" if elbo is not None else ""
        self.reporter.note(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}{shown}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.reporter.advance(self.left)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.left < 0:  # the training was over before an interruption
            self.left = 0
            self.reporter.stage("", LOCALIZING * self.batches)

    def validated(self) -> None:
        """A batch of validation images has been localized."""
        self.reporter.note("localize: validation")
        self.reporter.advance(LOCALIZING)

    def on_test_batch_end(self, *_: Any, **__: Any) -> None:
        self.reporter.note("localize: test")
        self.reporter.advance(LOCALIZING)
