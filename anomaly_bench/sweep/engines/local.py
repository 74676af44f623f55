"""The local engine: a process for each run, some at once, cores and GPUs divided among them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from anomaly_bench.base.files import explained
from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.schema import LocalConfig
from anomaly_bench.runs.training.checkpoint_note import LOG_FILE
from anomaly_bench.sweep.job import LOST, Ended, Job, end_of, failed
from anomaly_bench.sweep.processes import Worker, start, tell
from data_modules.base.digests import usable_cpus


class InProcess:
    """data: what has been prepared, by the dataset's config."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data

    def carry_out(self, jobs: Sequence[Job], reporter: Reporter) -> Iterator[Ended]:
        """See Engine."""
        from anomaly_bench.sweep.worker import do_job

        for job in jobs:
            reporter.run(job.title)
            yield do_job(job, reporter, self.data.get(repr(job.config.dataset)))


@dataclass
class Running:
    """A job at work, in its lane of the screen, on its GPUs."""

    job: Job
    worker: Worker
    lane: Reporter
    devices: list[str]


class LocalEngine:
    """Processes on this machine, `jobs` at once.

    devices: the GPUs, as CUDA_VISIBLE_DEVICES names them; each: how many of them a run takes.
    """

    def __init__(self, config: LocalConfig, jobs: int, devices: Sequence[str], each: int) -> None:
        self.devices = devices
        self.jobs = min(jobs, max(1, len(devices) * config.runs_per_device // each)) if devices else jobs
        share = max(1, usable_cpus() // self.jobs) if self.jobs > 1 else None
        self.threads = config.threads or share
        self.running: dict[object, Running] = {}

    def carry_out(self, jobs: Sequence[Job], reporter: Reporter) -> Iterator[Ended]:
        """See Engine."""
        queue = deque(jobs)
        try:
            while queue or self.running:
                while queue and len(self.running) < self.jobs:
                    self._start(queue.popleft(), reporter)
                for pipe in wait([one.worker.pipe for one in self.running.values()]):
                    ended = self._hear(self.running[pipe])
                    if ended is not None:
                        self.running.pop(pipe)
                        yield ended
        finally:
            for one in self.running.values():
                one.worker.pipe.close()
            for one in self.running.values():
                one.worker.stop()
            self.running = {}

    def _start(self, job: Job, reporter: Reporter) -> None:
        used = Counter(name for one in self.running.values() for name in one.devices)
        devices = sorted(self.devices, key=lambda name: used[name])[: job.config.trainer.devices]
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(devices)} if devices else {}
        log = job.folder / LOG_FILE
        with explained(job.out):
            log.parent.mkdir(parents=True, exist_ok=True)
        worker = start("anomaly_bench.sweep.worker:do_job_alone", (job,), log, environment, self.threads)
        lane = reporter.lane(job.title)
        lane.run(job.title)
        self.running[worker.pipe] = Running(job, worker, lane, devices)

    def _hear(self, one: Running) -> Ended | None:
        """The next news of a job, to its lane; how it ended if it has."""
        try:
            kind, *content = one.worker.pipe.recv()
        except (EOFError, OSError):
            kind, content = "death", [one.worker.died()]
        if kind == "news":
            tell(one.lane, content)
            return None
        one.lane.leave()
        one.worker.stop()
        if kind == "result":
            return Ended(one.job, *content[0])
        if kind == "error":
            return failed(one.job, f"{type(content[0]).__name__}: {content[0]}", "\n".join(content[0].__notes__))
        if one.worker.process.exitcode == LOST:
            return Ended(one.job, "held")
        return failed(one.job, content[0], end_of(one.job.folder / LOG_FILE, LOG_FILE))
