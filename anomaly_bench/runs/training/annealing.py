"""When the learning rate is lowered, and when a training has come to its end."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_warn

from anomaly_bench.config.schema import TrainerConfig

from .averaging import Averaging
from .checkpoints import Saver

LAST = 0.3  # of the epochs


class Annealing(pl.Callback):
    """Lowers the learning rate where the ELBO of normal validation images has stopped rising, at last ends the training.

    Its curve is flat after `patience` epochs, and at least `patience_steps` steps, without a better one than the saver's and
    without a change by the model's schedule. Then training goes on from the best weights with the learning rate times
    `lr_factor` and an optimizer that has forgotten its moments, so that an ELBO that has collapsed does not stay so;
    `lr_drops` times, then it ends. The drops come within the last `LAST` of `max_epochs` at the latest, evenly spread, so that
    a training that is cut short has been annealed, too.
    """

    def __init__(self, config: TrainerConfig, saver: Saver, averaging: Averaging) -> None:
        self.config, self.saver, self.averaging = config, saver, averaging
        self.drops = 0
        self.since = 0  # epoch of the last drop, or of the last change by a schedule
        self.share = 1.0

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch, best = trainer.current_epoch + 1, self.saver.best
        model: Any = pl_module  # a VAE
        if (share := model.scheduled()) != self.share:
            self.share, self.since = share, epoch
        lost = not math.isfinite(self.saver.last)
        flat = epoch - max(self.saver.best_epoch, self.since) >= self._patience(trainer)
        if not (lost or flat or self._late(trainer, epoch)):
            return
        if best is None or self.drops == self._allowed(trainer, lost):
            trainer.should_stop = True
            return
        if lost:
            rank_zero_warn(f"epoch {epoch}: the ELBO is {self.saver.last}; going on from epoch {self.saver.best_epoch}")
        self.drops, self.since = self.drops + 1, epoch
        pl_module.load_state_dict(best)
        self.averaging.restart(pl_module)
        for optimizer in trainer.optimizers:
            optimizer.state.clear()
            for group in optimizer.param_groups:
                group["lr"] *= self.config.lr_factor

    def _patience(self, trainer: pl.Trainer) -> int:
        """In epochs."""
        batches = max(int(trainer.num_training_batches), 1)
        return max(self.config.patience, -(-self.config.patience_steps // batches))

    def _allowed(self, trainer: pl.Trainer, lost: bool = False) -> int:
        """How many drops there are, one at least after an ELBO that is no number; none beside a scheduler of a model's own."""
        return 0 if trainer.lr_scheduler_configs else max(self.config.lr_drops, int(lost))

    def _late(self, trainer: pl.Trainer, epoch: int) -> bool:
        """Whether the next drop, if there is one to come, can wait no longer; after the last epoch it has no use."""
        drops, epochs = self._allowed(trainer), trainer.max_epochs or 0
        left = drops - self.drops
        return left > 0 and int(epochs * (1 - LAST * left / drops)) <= epoch < epochs

    def state_dict(self) -> dict[str, float]:
        return {"drops": self.drops, "since": self.since, "share": self.share}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.drops, self.since, self.share = (state_dict[name] for name in ("drops", "since", "share"))
