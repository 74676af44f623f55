"""The one story: seed → data → model → fit → localize → record."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader

from data_modules.batch import AnomalyBatch
from data_modules.build import build_module
from data_modules.module import AnomalyDataModule
from data_modules.names import dataset_name
from leaderboard.collect import RESULT_FILE
from leaderboard.record import RunResult, read_result, write_result

from .callbacks import LocalizationCallback, pick_samples
from .callbacks.report import ReportCallback
from .config import to_yaml
from .evidence import frozen
from .identity import definition_of, identify
from .models import VAE, build_model
from .predictors import build_suite
from .progress import Reporter
from .quiet import quiet
from .record import describe_training, make_result
from .schema import RunConfig
from .tracking import build_loggers, finishing


def run(config: RunConfig, reporter: Reporter | None = None) -> RunResult:
    """Train one model on normal images, localize with every predictor, and write the result.

    The result of a run that was finished before is returned as it is. Raises ConfigError, DataError and OSError for what
    the user can mend; whatever had been finished before stays.
    """
    reporter = reporter or Reporter()
    with quiet():
        pl.seed_everything(config.seed, workers=True, verbose=False)
        timer = Timer()
        data = build_data(config, reporter)
        suite = build_suite(config.predictors)
        model = build_model(config.model, data.image_shape)
        identity = identify(config, data)
        folder = Path(config.out).expanduser() / identity.folder
        if (folder / RESULT_FILE).exists():
            return read_result(folder / RESULT_FILE)
        start_folder(folder, config, data)
        picks = pick_samples(torch.from_numpy(data.store.anomalous[data.indices["test"]]), config.localization.pictures)
        subjects = data.store.subjects, data.store.attributes
        localization = LocalizationCallback(suite, config.localization, *subjects, folder / "pictures", picks)
        loggers = build_loggers(config, identity, folder, definition_of(config) | {"seed": config.seed})
        with finishing(loggers, folder / "pictures"):
            trainer = build_trainer(
                config, folder, [localization, ReportCallback(reporter, localized_batches(data))], loggers
            )
            if config.trainer.hold_data:
                data.hold(trainer.strategy.root_device)
            with timer("fit"):
                trainer.fit(model, data.train_dataloader(), data.val_dataloader())
                training = describe_training(trainer, load_best(trainer, model))
            with timer("localize"):
                set_rec_levels(model, data.train_dataloader(), config.localization.level_images)
                localize(trainer, model, data, localization)
            trainer.save_checkpoint(folder / "model.ckpt", weights_only=True)
            result = make_result(config, identity, data, model, training, localization.results(), timer.seconds)
        write_result(result, folder / RESULT_FILE)
        return result


def build_data(config: RunConfig, reporter: Reporter) -> AnomalyDataModule:
    """The data module of the config, prepared and divided into splits."""
    steps = reporter.steps(f"prepare {dataset_name(config.dataset)}")
    data = build_module(config.dataset, config.cache, config.data, config.trainer.batch_size, config.seed, steps)
    data.prepare_data()
    data.setup()
    return data


def start_folder(folder: Path, config: RunConfig, data: AnomalyDataModule) -> None:
    """A fresh run folder with the config and the split in it; what an unfinished run left there goes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(config))
    (folder / "split.json").write_text(json.dumps(data.split, indent=1))


def build_trainer(
    config: RunConfig, folder: Path, callbacks: list[pl.Callback], loggers: list[pl.loggers.Logger]
) -> pl.Trainer:
    """A deterministic trainer on one device that selects by the ELBO of normal validation images."""
    stopping = EarlyStopping("val/elbo", mode="max", patience=config.trainer.patience)
    best = ModelCheckpoint(folder, filename="best", monitor="val/elbo", mode="max", save_weights_only=True)
    return pl.Trainer(
        default_root_dir=folder,
        max_epochs=config.trainer.max_epochs,
        accelerator=config.trainer.accelerator,
        precision=config.trainer.precision,  # type: ignore[arg-type]
        devices=1,
        deterministic=True,
        inference_mode=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=10_000_000,
        callbacks=[*callbacks, stopping, best],
        logger=loggers,
    )


def load_best(trainer: pl.Trainer, model: VAE) -> VAE:
    """The model with the weights of the best epoch. Raises RuntimeError if training never gave a finite ELBO."""
    checkpoint = trainer.checkpoint_callback
    assert isinstance(checkpoint, ModelCheckpoint)
    path, score = checkpoint.best_model_path, checkpoint.best_model_score
    if not path or score is None or not torch.isfinite(score):
        raise RuntimeError("training diverged: no epoch had a finite ELBO; lower model.lr or raise model.sigma")
    model.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    Path(path).unlink()
    return model


def set_rec_levels(model: VAE, loader: DataLoader[AnomalyBatch], images: int) -> None:
    """Store the percentiles of rec over the first normal training images in the model: where projection may stop."""
    levels: list[torch.Tensor] = []
    with frozen(model), torch.no_grad():
        for batch in loader:
            levels.append(model.terms(batch["image"].to(model.device), sample=False)[0])
            if sum(map(len, levels)) >= images:
                break
    model.rec_levels.copy_(torch.cat(levels)[:images].quantile(torch.linspace(0, 1, 101, device=model.device)))


def localize(trainer: pl.Trainer, model: VAE, data: AnomalyDataModule, localization: LocalizationCallback) -> None:
    """Calibrate on normal validation images, then localize on all validation images, then on the test images."""
    localization.phase = "calibrate"
    trainer.validate(model, data.val_dataloader()[0], verbose=False)
    localization.phase = "validate"
    trainer.validate(model, data.val_dataloader(), verbose=False)
    trainer.test(model, data.test_dataloader(), verbose=False)


def localized_batches(data: AnomalyDataModule) -> int:
    """How many batches `localize` goes through."""
    normal, anomalous = data.val_dataloader()
    return 2 * len(normal) + len(anomalous) + len(data.test_dataloader())


class Timer:
    """Seconds of the phases of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[phase] = time.perf_counter() - start
