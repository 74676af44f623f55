"""The one story: seed → data → model → fit → localize → record."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl

from anomaly_bench.base.identity import Identity
from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.load import to_yaml
from anomaly_bench.config.schema import RunConfig
from anomaly_bench.localization import LocalizationCallback
from anomaly_bench.localization.tallies.table import write_scores
from anomaly_bench.localization.trained import CONFIG_FILE, MODEL_FILE
from anomaly_bench.localization.validation.learned import LEARNED_FILE
from anomaly_bench.localization.validation.search import PASTED
from anomaly_bench.metrics import own_metrics
from anomaly_bench.models import build_model
from anomaly_bench.predictors import Suite
from anomaly_bench.runs.training.checkpoint_note import LOG_FILE, NOTE, CheckpointNote
from anomaly_bench.runs.training.checkpoints import FITTED, Saver, usable
from anomaly_bench.runs.training.ddp import train_over_devices
from anomaly_bench.runs.training.pruning import Pruning
from anomaly_bench.runs.training.quiet import quiet
from anomaly_bench.runs.training.trainer import build_trainer, fit
from anomaly_bench.selection.criteria import BATCH
from anomaly_bench.selection.select import select
from anomaly_bench.tracking.loggers import TrackingCallback, build_loggers, finishing, trackers
from anomaly_bench.tracking.report import ReportCallback
from anomaly_bench.tracking.results import log_results
from data_modules.base.errors import DataError
from data_modules.base.names import dataset_name
from data_modules.modules.base import AnomalyDataModule
from leaderboard.record import IMAGES_FILE, RESULT_FILE, RunResult, read_result, write_result

from .data import build_data, place_data, with_loaders_of
from .identity import definition_of, name_run, setting_of
from .result import described, make_result, with_selection
from .suite import suite_of_run, told


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
        own_metrics(config.localization.metrics)
        model = build_model(config.model, data.image_shape, data.context)
        suite, left_out = suite_of_run(config, model, data)
        definition = definition_of(config, suite)
        identity = name_run(config, setting_of(config, definition, data))
        if planned not in (None, identity):
            raise DataError(f"{dataset_name(config.dataset)}: data or code have changed since the start; start again")
        folder = Path(config.out).expanduser() / identity.folder
        if (folder / RESULT_FILE).exists():
            return read_result(folder / RESULT_FILE)
        if left_out:
            reporter.say(told(left_out))
        checkpoint = start_folder(folder, config, data, identity.run_id, reporter)
        if checkpoint is not None:
            reporter.say(f"goes on from its checkpoint, after epoch {checkpoint.epoch} of {checkpoint.epochs}")
        report = ReportCallback(reporter, localized_batches(config, data, suite))
        localization = LocalizationCallback(suite, config.localization, report.validated)
        about = described(definition, config.seed, identity, data, model.beta)
        loggers = build_loggers(config, identity, folder, about, model.beta)
        with finishing(loggers):
            saver = Saver(folder, identity.run_id, data.train_dataloader(), config.trainer)
            tracking: list[pl.Callback] = [TrackingCallback(trackers(loggers), folder)] if trackers(loggers) else []
            if config.trial is not None:
                tracking.append(Pruning(config.trial, suite, data, config.localization.fpr))
            trainer = build_trainer(config, folder, [report, localization, saver, *tracking], loggers)
            place_data(config, data, trainer.strategy.root_device)
            if config.trainer.devices > 1 and not (checkpoint and checkpoint.fitted):
                checkpoint = train_over_devices(config, folder, identity.run_id)
            training, timer.seconds["fit"] = fit(trainer, model, data, saver, checkpoint, config.trainer.compile)
            with timer("localize"):
                trainer.test(model, datamodule=data, verbose=False)
            trainer.save_checkpoint(folder / MODEL_FILE, weights_only=True)
            localization.localizer.learned.write(folder / LEARNED_FILE)
            training |= localization.surroundings.means()
            with timer("select"):
                normal, fpr = data.val_dataloader()[0], config.localization.fpr
                selection = select(model, localization.localizer.maps, normal, config.selection, fpr, data.polarity)
            with timer("measure"):
                results = with_selection(localization.results(), selection)
                write_scores(localization.images(), folder / IMAGES_FILE)
            for file in (CONFIG_FILE, MODEL_FILE, LEARNED_FILE):
                (folder / file).stat()  # a result without them, of a folder that was removed meanwhile, is none
            result = make_result(
                config, definition, identity, data, model, training, saver.curve(), results, left_out, timer.seconds
            )
            write_result(result, folder / RESULT_FILE)
            log_results(trackers(loggers), result, localization)
        for left in (NOTE, FITTED):
            (folder / left).unlink(missing_ok=True)
        return result


def start_folder(
    folder: Path, config: RunConfig, data: AnomalyDataModule, run_id: str, reporter: Reporter
) -> CheckpointNote | None:
    """The run's folder with the config and the split in it; of what an unfinished run left, its checkpoint if it is sound."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = usable(folder, run_id, reporter)
    kept = {LOG_FILE} if checkpoint is None else {LOG_FILE, NOTE, checkpoint.file, "wandb", "pictures"}
    for path in folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (folder / CONFIG_FILE).write_text(to_yaml(config))
    (folder / "split.json").write_text(json.dumps(data.split, indent=1))
    return checkpoint


def localized_batches(config: RunConfig, data: AnomalyDataModule, suite: Suite) -> int:
    """How many batches are localized: to calibrate and choose how maps are finished, to search, to validate and to test."""
    normal, anomalous = data.val_dataloader()
    validated = len(normal) + len(anomalous)
    widths, sign = len(set(config.localization.smoothing)), data.polarity is None
    chosen = any(
        (one.smooth is None and widths > 1) or (one.signed == "signed" and sign) for one in suite.single.values()
    )
    calibrated = validated if chosen else len(normal)
    searched = validated + (0 if len(anomalous) else -(-min(PASTED, len(data.indices["val_normal"])) // BATCH))
    return calibrated + validated + (searched if suite.searches else 0) + len(data.test_dataloader())


class Timer:
    """Seconds of the phases of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[phase] = time.perf_counter() - start
