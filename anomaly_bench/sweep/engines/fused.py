"""Runs that are alike, trained at once in one process; each is localized by the engine of single runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from anomaly_bench.base.errors import OutputError
from anomaly_bench.base.files import explained
from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.schema import FusedConfig, RunConfig
from anomaly_bench.runs.training.checkpoint_note import LOG_FILE, read_note
from anomaly_bench.sweep.job import LOST, Ended, Engine, Job, end_of, failed, lock_of, taken
from anomaly_bench.sweep.processes import DiedError, call
from data_modules.base.names import dataset_name

OWN = ("beta", "optimizer", "lr", "weight_decay", "sigma", "warmup_epochs", "cycles", "cycle_epochs", "ramp")
SHARED = ("batch_size", "accelerator", "devices", "precision", "hold_data")  # of the trainers


class FusedEngine:
    """Group after group: trained on the first of the devices, then handed to the engine that does each run by itself.

    data: what has been prepared, by the dataset's config, if everything is to be done in this process; else None.
    """

    def __init__(
        self, config: FusedConfig, each: Engine, devices: Sequence[str], data: Mapping[str, Any] | None
    ) -> None:
        self.config, self.each, self.data = config, each, data
        self.environment = {"CUDA_VISIBLE_DEVICES": devices[0]} if devices else {}

    def carry_out(self, jobs: Sequence[Job], reporter: Reporter) -> Iterator[Ended]:
        """See Engine."""
        for group in groups(jobs, self.config.together):
            errors: dict[str, str] = {}
            if len(group) > 1:
                try:
                    errors = self._train(group, reporter)
                except OutputError as error:
                    yield Ended(group[0], "stopped", str(error))
                    return
            for job in group:
                if job.identity.run_id in errors:
                    yield Ended(job, "failed", errors[job.identity.run_id])
            yield from self.each.carry_out([job for job in group if job.identity.run_id not in errors], reporter)

    def _train(self, group: Sequence[Job], reporter: Reporter) -> dict[str, str]:
        """By run id, why some have failed. Raises OutputError."""
        config = group[0].config
        name = f"{len(group)} runs of {dataset_name(config.dataset)} {config.model.name}"
        lane = reporter.lane(name)
        lane.run(name)
        try:
            if self.data is not None:
                from anomaly_bench.sweep.worker import train_group

                return train_group(group, lane, self.data.get(repr(config.dataset)), logged=False)
            log = group[0].folder / LOG_FILE
            with explained(group[0].out):
                log.parent.mkdir(parents=True, exist_ok=True)
            options = {"log": log, "environment": self.environment, "threads": self.config.threads}
            found: dict[str, str] = call("anomaly_bench.sweep.worker:train_group", (group,), lane, **options)
            return found
        except DiedError as error:
            return {} if error.code == LOST else _buried(group, str(error))
        finally:
            lane.leave()


def groups(jobs: Sequence[Job], most: int) -> Iterator[list[Job]]:
    """The jobs that can be trained at once, up to so many: they differ in seeds and numbers that each model has by itself."""
    kin: dict[str, list[Job]] = {}
    for job in jobs:
        kin.setdefault(repr(_shared(job.config)), []).append(job)
    for alike in kin.values():
        for at in range(0, len(alike), most):
            yield alike[at : at + most]


def _shared(config: RunConfig) -> tuple[Any, ...]:
    model = {one.name: getattr(config.model, one.name) for one in fields(config.model) if one.name not in OWN}
    return config.dataset, model, [getattr(config.trainer, name) for name in SHARED]


def _buried(group: Sequence[Job], reason: str) -> dict[str, str]:
    """The runs that a process was training when it died have failed."""
    ended = {}
    details = end_of(group[0].folder / LOG_FILE, LOG_FILE)
    for job in group:
        note = read_note(job.folder)
        if not job.done and not (note and note.fitted) and taken(lock := lock_of(job)):
            ended[job.identity.run_id] = failed(job, f"{reason}; or a smaller engine.together", details).line
            lock.release()
    return ended
