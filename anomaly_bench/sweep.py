"""A grid of overrides → the runs still to do → their results."""

from __future__ import annotations

import gc
import hashlib
import json
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException

from data_modules.errors import DataError
from data_modules.module import AnomalyDataModule
from data_modules.names import dataset_name
from leaderboard.collect import FAILURE_FILE, RESULT_FILE, PlannedRun, Sweep, write_sweep
from leaderboard.record import RunResult, read_result

from .config import expand, load_config
from .errors import ConfigError, OutputError
from .identity import Identity, identify
from .models import build_model
from .output import CACHE, check_writable, explained
from .predictors import build_suite
from .progress import Reporter, reporting
from .quiet import quiet
from .run import build_data, run
from .schema import RunConfig


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    config: RunConfig
    identity: Identity
    beta: float

    @property
    def folder(self) -> Path:
        return Path(self.config.out).expanduser() / self.identity.folder

    @property
    def done(self) -> bool:
        return (self.folder / RESULT_FILE).exists()

    @property
    def title(self) -> str:
        config = self.config
        split = config.dataset.split
        fold = "" if split.folds is None else f" fold={split.fold}/{split.folds}"
        return f"{dataset_name(config.dataset)} {config.model.name} beta={self.beta:g}{fold} seed={config.seed}"


@dataclass(frozen=True)
class Outcome:
    """What a sweep came to: the output folder, the ids of its runs, those that failed, and whether W&B logged them."""

    out: Path
    run_ids: set[str]
    failed: list[Job]
    wandb: bool


def bench(overrides: list[str]) -> Outcome:
    """Do every run of the grid that has no result yet.

    What the user has to mend (config, data, output folder) is found before the first training, for all runs, and raised
    as ConfigError, DataError or OutputError. A run that fails for another reason leaves `failure.txt` in its folder, and
    the sweep goes on.
    """
    configs = [load_config(combination) for combination in expand(overrides)]
    if len({config.out for config in configs}) > 1:
        raise ConfigError("out=…: give one output folder; a sweep's runs lie in folders of their own below it")
    out = Path(configs[0].out).expanduser()
    check_writable(out)
    with reporting(len(configs)) as reporter:
        with explained(configs[0].cache, CACHE):
            jobs = plan(configs, reporter)
        with explained(out):
            write_plan(jobs, out)
        failed = [job for job in jobs if not _do(job, reporter)]
    logged = any(job.config.logger == "wandb" for job in jobs)
    return Outcome(out, {job.identity.run_id for job in jobs}, failed, logged)


def plan(configs: Sequence[RunConfig], reporter: Reporter) -> list[Job]:
    """The jobs of the configs, each checked as far as can be without training: data, network, predictors, trainer.

    A result that is there already has to be whole: ResultError names a damaged one.
    """
    jobs, prepared = [], dict[str, AnomalyDataModule]()
    for config in configs:
        build_suite(config.predictors)
        check_trainer(config.trainer.accelerator, config.trainer.precision)
        key = repr(config.dataset)
        if key not in prepared:
            prepared[key] = build_data(config, reporter)
        model = build_model(config.model, prepared[key].image_shape)
        jobs.append(Job(config, identify(config, prepared[key]), model.beta))
    for job in jobs:
        if job.done:
            read_result(job.folder / RESULT_FILE)
    for data in prepared.values():
        reporter.say(data.describe())
    return list({job.identity.run_id: job for job in jobs}.values())


@cache
def check_trainer(accelerator: str, precision: str) -> None:
    """Raises ConfigError if this machine has no such accelerator, or the trainer no such precision."""
    with quiet():
        try:
            pl.Trainer(accelerator=accelerator, precision=precision, devices=1, logger=False)  # type: ignore[arg-type]
        except (MisconfigurationException, ValueError) as error:
            keys = f"trainer.accelerator={accelerator}, trainer.precision={precision}"
            raise ConfigError(f"{keys}: {str(error).splitlines()[0]}") from error


def write_plan(jobs: Sequence[Job], out: Path) -> None:
    """Note which runs belong together, so that a leaderboard can say how many of them it saw."""
    runs = [
        PlannedRun(
            run_id=job.identity.run_id,
            setting_id=job.identity.setting_id,
            dataset=dataset_name(job.config.dataset),
            model=job.config.model.name,
            beta=job.beta,
            seed=job.config.seed,
            folder=job.identity.folder,
        )
        for job in jobs
    ]
    name = hashlib.blake2b(json.dumps(sorted(run.run_id for run in runs)).encode(), digest_size=8).hexdigest()
    write_sweep(Sweep(runs=runs), out, name)


def _do(job: Job, reporter: Reporter) -> bool:
    if job.done:
        reporter.finished(f"{job.title}: done before", timed=False)
        return True
    reporter.run(job.title)
    try:
        with explained(job.folder):
            result = run(job.config, reporter)
    except (ConfigError, DataError, OutputError):
        raise
    except Exception as error:  # one run's failure must not cost the others
        with explained(job.folder):
            job.folder.mkdir(parents=True, exist_ok=True)
            (job.folder / FAILURE_FILE).write_text(f"{type(error).__name__}: {error}\n\n{traceback.format_exc()}")
        reporter.finished(f"{job.title}: FAILED, {error} ({job.folder / FAILURE_FILE})")
        return False
    finally:
        gc.collect()  # trainer, model and callbacks refer to each other
    reporter.finished(f"{job.title}: {summary(result)}")
    return True


def summary(result: RunResult) -> str:
    """A line on a result: its time and the range of its predictors' pixel AUROC."""
    auroc = {name: predictor.test["auroc"].value or 0.0 for name, predictor in result.predictors.items()}
    low, high = min(auroc, key=auroc.__getitem__), max(auroc, key=auroc.__getitem__)
    seconds = result.provenance.durations
    return (
        f"epochs {result.training['epochs']} in {seconds['fit']:.0f} s, localized in {seconds['localize']:.0f} s; "
        f"pixel AUROC {auroc[low]:.3f} ({low}) to {auroc[high]:.3f} ({high})"
    )
