"""A job of a sweep: what it is, how it ends, its lock, and what its failure leaves. Imports nothing heavy."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from filelock import LeaseCompromise, SoftFileLease, Timeout

from anomaly_bench.base.files import explained
from anomaly_bench.base.identity import Identity
from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.schema import RunConfig
from data_modules.base.names import dataset_name
from leaderboard.record import RESULT_FILE
from leaderboard.results.collect import FAILURE_FILE, title

if TYPE_CHECKING:
    from data_modules.modules.base import AnomalyDataModule

State = Literal["done", "before", "damaged", "failed", "pruned", "held", "stopped"]
LOCKS_FOLDER = ".locks"
LOST = 75  # exit code of a process whose run another one has taken
LEASE = 60.0  # seconds without a sign of life after which another machine may take a run
TAIL = 4000  # characters of a log that a failure shows


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    differs: in what its setting differs from others of the sweep, if the title does not say it otherwise;
    since: a failure that is newer (in seconds since 1970; 0: none) is one of this sweep's.
    """

    config: RunConfig
    identity: Identity
    beta: float
    differs: str = ""
    since: float = 0.0

    @property
    def out(self) -> Path:
        return Path(self.config.out).expanduser()

    @property
    def folder(self) -> Path:
        return self.out / self.identity.folder

    @property
    def done(self) -> bool:
        return (self.folder / RESULT_FILE).exists()

    @property
    def title(self) -> str:
        return title(
            dataset_name(self.config.dataset), self.config.model.name, self.beta, self.differs, self.config.seed
        )


@dataclass
class Plan:
    """The jobs, the GPUs that they may use (as CUDA_VISIBLE_DEVICES names them), and the data by the dataset's config."""

    jobs: list[Job]
    devices: list[str]
    data: dict[str, AnomalyDataModule] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How it went with a job, in a line.

    done: now; before: there was a result; damaged: there was one that cannot be read, the line says why; failed: why is in its
    folder; pruned: ended as its study said, why likewise; held: another process is at it; stopped: nothing can be written any
    more, so that the whole sweep has to stop.
    """

    job: Job
    state: State
    line: str = ""


class Engine(Protocol):
    """Where and how many at once. Each job is one call of `worker.do_job`, which takes care that it is done once."""

    def carry_out(self, jobs: Sequence[Job], reporter: Reporter) -> Iterator[Ended]:
        """Do the jobs, in any order, and tell of each when it has ended; a job that dies is failed, with the reason.

        Each job gets a `reporter.lane`. Closing the iterator stops what is under way; it goes on with the next sweep.
        """


def lock_of(job: Job) -> SoftFileLease:
    """The lock of a job. On its holder's machine it is free as soon as the holder is dead, elsewhere after LEASE seconds."""
    folder = job.out / LOCKS_FOLDER
    folder.mkdir(exist_ok=True)
    return lease(folder / f"{job.identity.folder}.lock")


def lease(path: Path) -> SoftFileLease:
    return SoftFileLease(path, lease_duration=LEASE, on_compromise=_lost, thread_local=False)


def taken(lock: SoftFileLease) -> bool:
    """Try to take the lock, at once or not at all."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def _lost(compromise: LeaseCompromise) -> None:
    """Whoever has been thought dead must not go on beside the one that took its run."""
    print(
        f"{compromise.lock_file}: {compromise.reason}; another process has taken this run", file=sys.stderr, flush=True
    )
    os._exit(LOST)


def failed(job: Job, reason: str, details: str = "") -> Ended:
    """Leave the reason in the run's folder, in the first line, and the details below. Raises OutputError."""
    with explained(job.folder):
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / FAILURE_FILE).write_text(f"{reason}\n\n{details}", encoding="utf-8")
    return Ended(job, "failed", reason)


def end_of(log: Path, name: str) -> str:
    """The end of a log, under its name."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")[-TAIL:]
    except OSError:
        text = "(there is none)"
    return f"The end of {name}:\n{text}"
