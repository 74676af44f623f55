"""The one story: seed → data → model → fit → localize → record."""

from __future__ import annotations

import copy
import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning.callbacks import EarlyStopping
from torch.utils.data import DataLoader

from data_modules.batch import AnomalyBatch
from data_modules.build import build_module
from data_modules.errors import DataError
from data_modules.module import AnomalyDataModule
from data_modules.names import dataset_name
from leaderboard.collect import RESULT_FILE
from leaderboard.record import RunResult, read_result, write_result

from .callbacks import Cases, LocalizationCallback
from .callbacks.report import ReportCallback
from .callbacks.search import check_searches
from .config import to_yaml
from .devices import train_over_devices
from .evidence import frozen
from .half_done import LOG_FILE, NOTE, HalfDone
from .identity import Identity, identify
from .models import VAE, build_model
from .predictors import Suite, build_suite
from .progress import Reporter
from .quiet import OwnSigterm, quiet
from .record import describe_training, make_result
from .resume import FITTED, MONITORED, AtomicCheckpoints, Saver, Training, usable
from .schema import RunConfig
from .tracking.loggers import TrackingCallback, build_loggers, finishing, trackers
from .tracking.results import log_results


def run(
    config: RunConfig,
    reporter: Reporter | None = None,
    data: AnomalyDataModule | None = None,
    planned: Identity | None = None,
) -> RunResult:
    """Train one model on normal images, localize with every predictor, and write the result.

    The result of a run that was finished before is returned as it is; one that was interrupted goes on from its last
    checkpoint. data: the config's data if they are prepared already; planned: what the run has to be. Raises ConfigError,
    DataError and OSError for what the user can mend; whatever had been finished before stays.
    """
    reporter = reporter or Reporter()
    with quiet():
        pl.seed_everything(config.seed, workers=True, verbose=False)
        timer = Timer()
        data = build_data(config, reporter) if data is None else with_loaders_of(config, data)
        suite = build_suite(config.predictors)
        check_searches(suite, data)
        model = build_model(config.model, data.image_shape)
        identity = identify(config, data)
        if planned not in (None, identity):
            raise DataError(f"{dataset_name(config.dataset)}: data or code have changed since the start; start again")
        folder = Path(config.out).expanduser() / identity.folder
        if (folder / RESULT_FILE).exists():
            return read_result(folder / RESULT_FILE)
        checkpoint = start_folder(folder, config, data, identity.run_id, reporter)
        cases = Cases(config.localization.pictures, torch.from_numpy(data.store.anomalous[data.indices["test"]]))
        subjects = data.store.subjects, data.store.attributes
        localization = LocalizationCallback(suite, config.localization, *subjects, folder / "pictures", cases)
        loggers = build_loggers(config, identity, folder, data, model.beta)
        with finishing(loggers):
            saver = Saver(folder, identity.run_id, data.train_dataloader(), config.trainer.checkpoint_share)
            report = ReportCallback(reporter, localized_batches(data, suite))
            tracking = [TrackingCallback(found, folder)] if (found := trackers(loggers)) else []
            trainer = build_trainer(config, folder, [localization, report, saver, *tracking], loggers)
            if config.trainer.hold_data:
                data.hold(trainer.strategy.root_device)
            if config.trainer.devices > 1 and not (checkpoint and checkpoint.fitted):
                checkpoint = train_over_devices(config, folder, identity.run_id)
            training, timer.seconds["fit"] = fit(trainer, model, data, saver, checkpoint)
            with timer("localize"):
                set_rec_levels(model, data.train_dataloader(), config.localization.level_images)
                localize(trainer, model, data, localization)
            trainer.save_checkpoint(folder / "model.ckpt", weights_only=True)
            training |= localization.surroundings.means()
            with timer("measure"):
                results = localization.results()
            result = make_result(config, identity, data, model, training, results, timer.seconds)
            write_result(result, folder / RESULT_FILE)
            log_results(trackers(loggers), result, localization)
        for left in (NOTE, FITTED):
            (folder / left).unlink(missing_ok=True)
        return result


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


def start_folder(
    folder: Path, config: RunConfig, data: AnomalyDataModule, run_id: str, reporter: Reporter
) -> HalfDone | None:
    """The run's folder with the config and the split in it; of what an unfinished run left, its checkpoint if it is sound."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = usable(folder, run_id, reporter)
    kept = {LOG_FILE} if checkpoint is None else {LOG_FILE, NOTE, checkpoint.file, "wandb", "pictures"}
    for path in folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (folder / "config.yaml").write_text(to_yaml(config))
    (folder / "split.json").write_text(json.dumps(data.split, indent=1))
    return checkpoint


def build_trainer(
    config: RunConfig,
    folder: Path,
    callbacks: list[pl.Callback],
    loggers: list[pl.loggers.Logger],
    devices: int = 1,
) -> pl.Trainer:
    """A deterministic trainer that selects by the ELBO of normal validation images, on one device or as one of several."""
    stopping = EarlyStopping(MONITORED, mode="max", patience=config.trainer.patience)
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
        callbacks=[*callbacks, stopping, OwnSigterm()],
        plugins=[AtomicCheckpoints(), LightningEnvironment()],  # whatever scheduler has started the process
        logger=loggers,
    )


def fit(
    trainer: pl.Trainer, model: VAE, data: AnomalyDataModule, saver: Saver, checkpoint: HalfDone | None
) -> tuple[Training, float]:
    """Train, from the checkpoint on if there is one, and give the model the weights of its best epoch.

    Returns how the training went, and its seconds. Raises RuntimeError if it never gave a finite ELBO.
    """
    path = saver.folder / checkpoint.file if checkpoint else None
    if checkpoint and path and checkpoint.fitted:
        training = saver.load_fitted(trainer, path)
    else:
        trainer.fit(model, saver.loader, data.val_dataloader(), ckpt_path=path)
        if saver.best is None or not math.isfinite(saver.score):
            raise RuntimeError("training diverged: no epoch had a finite ELBO; lower model.lr or raise model.sigma")
        training = describe_training(trainer, model, saver.score)
        saver.finish(trainer, training)
    assert saver.best is not None
    model.load_state_dict(saver.best)
    return training, saver.seconds


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
    """Calibrate on normal validation images, choose the members of searched ensembles and localize on all, then test."""
    localization.phase = "calibrate"
    trainer.validate(model, data.val_dataloader()[0], verbose=False)
    if localization.suite.searches:
        localization.phase = "search"
        trainer.validate(model, data.val_dataloader(), verbose=False)
    localization.phase = "validate"
    trainer.validate(model, data.val_dataloader(), verbose=False)
    trainer.test(model, data.test_dataloader(), verbose=False)


def localized_batches(data: AnomalyDataModule, suite: Suite) -> int:
    """How many batches `localize` goes through."""
    normal, anomalous = data.val_dataloader()
    validated = len(normal) + len(anomalous)
    return len(normal) + validated * (2 if suite.searches else 1) + len(data.test_dataloader())


class Timer:
    """Seconds of the phases of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[phase] = time.perf_counter() - start
