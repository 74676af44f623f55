"""The trainer of a run, and a fit from its last checkpoint on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import LightningEnvironment

from anomaly_bench.config.schema import RunConfig
from anomaly_bench.models import VAE
from anomaly_bench.runs.result import describe_training
from data_modules.modules.base import AnomalyDataModule

from .annealing import Annealing
from .averaging import Averaging
from .checkpoint_note import CheckpointNote
from .checkpoints import AtomicCheckpoints, Saver, Training
from .quiet import OwnSigterm


def build_trainer(
    config: RunConfig,
    folder: Path,
    callbacks: list[pl.Callback],
    loggers: list[pl.loggers.Logger],
    devices: int = 1,
) -> pl.Trainer:
    """A deterministic trainer that selects by the ELBO of normal validation images, on one device or as one of several."""
    averaging = Averaging(config.trainer.average)
    annealing = [
        Annealing(config.trainer, callback, averaging) for callback in callbacks if isinstance(callback, Saver)
    ]
    return pl.Trainer(
        default_root_dir=folder,
        max_epochs=config.trainer.max_epochs,
        accelerator=config.trainer.accelerator,
        precision=config.trainer.precision,  # type: ignore[arg-type]
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        use_distributed_sampler=False,
        deterministic=True,
        inference_mode=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=10_000_000,
        callbacks=[*callbacks, averaging, *annealing, OwnSigterm()],
        plugins=[AtomicCheckpoints(), LightningEnvironment()],  # whatever scheduler has started the process
        logger=loggers,
    )


def fit(
    trainer: pl.Trainer,
    model: VAE,
    data: AnomalyDataModule,
    saver: Saver,
    checkpoint: CheckpointNote | None,
    compile_step: bool = False,
) -> tuple[Training, float]:
    """Train, from the checkpoint on if there is one, and give the model the weights of its best epoch.

    compile_step: see `compiled`.
    Returns how the training went, and its seconds. Raises RuntimeError if it never gave a finite ELBO.
    """
    path = saver.folder / checkpoint.file if checkpoint else None
    if checkpoint and path and checkpoint.fitted:
        training = saver.load_fitted(trainer, path)
    else:
        with compiled(model, compile_step):
            trainer.fit(model, saver.loader, data.val_dataloader(), ckpt_path=path)
        training = leave_fitted(trainer, model, saver)
    assert saver.best is not None
    model.load_state_dict(saver.best)
    return training, saver.seconds


def leave_fitted(trainer: pl.Trainer, model: VAE, saver: Saver) -> Training:
    """After the training: what localization needs, as a checkpoint. Raises RuntimeError if there never was a finite ELBO."""
    if saver.best is None or not math.isfinite(saver.score):
        raise RuntimeError("training diverged: no epoch had a finite ELBO; lower model.lr or raise model.sigma")
    model.load_state_dict(saver.best)
    training = describe_training(trainer, model, saver.score, saver.best_epoch)
    saver.finish(trainer, training)
    return training


@contextmanager
def compiled(model: VAE, compile_step: bool) -> Iterator[None]:
    """Meanwhile the loss of the model and its gradients are compiled, if so wished; on a GPU replayed as CUDA graphs."""
    if not compile_step:
        yield
        return
    own: Any = model
    own.training_terms = torch.compile(model.training_terms, mode="reduce-overhead")
    try:
        yield
    finally:
        del own.training_terms
