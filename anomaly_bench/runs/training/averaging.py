"""The weights that are validated and kept: a running mean of those that are trained."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor


class Averaging(pl.Callback):
    """Exponential moving average of a model's weights (Polyak & Juditsky 1992; Morales-Brotons et al. 2024, arXiv 2411.18704).

    After step n, from 1, mean ← d · mean + (1 − d) · weights with d = min(decay, n / (9 + n)), so that the first weights are
    soon forgotten; of all floating parameters and buffers. The model has the mean from the start of a validation to the end
    of the epoch, so that it is what is selected, kept and localized with. decay 0 leaves the weights as they are.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.mean: list[Tensor] = []
        self.weights: list[
            Tensor
        ] = []  # whose mean it is: looking for them in each step would take as long as averaging
        self.steps = 0
        self._shown = False

    def restart(self, model: pl.LightningModule) -> None:
        """Begin a new mean with the weights that the model has now."""
        if self.decay:
            self.weights = _weights(model)
            self.mean, self.steps = [one.detach().clone() for one in self.weights], 0

    @torch.no_grad()
    def update(self) -> None:
        """Add the weights after a step to the mean, if there is one."""
        if not self.decay:
            return
        self.steps += 1
        decay = min(self.decay, self.steps / (9 + self.steps))
        torch._foreach_lerp_(self.mean, self.weights, 1 - decay)

    @torch.no_grad()
    def _swap(self) -> None:
        for mean, weight in zip(self.mean, self.weights, strict=True):
            kept = weight.clone()
            weight.copy_(mean)
            mean.copy_(kept)
        self._shown = not self._shown

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.mean:  # of a checkpoint
            self.weights = _weights(pl_module)
            self.mean = [mean.to(pl_module.device) for mean in self.mean]
        else:
            self.restart(pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.update()

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.decay and trainer.state.fn == TrainerFn.FITTING:
            self._swap()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._shown:
            self._swap()

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.mean, self.steps = state_dict["mean"], state_dict["steps"]


def _weights(model: pl.LightningModule) -> list[Tensor]:
    return [one for one in (*model.parameters(), *model.buffers()) if one.is_floating_point()]
