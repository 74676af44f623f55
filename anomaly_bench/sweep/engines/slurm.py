"""The SLURM engine: an array of jobs, watched until each has ended."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.files import explained
from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.schema import SlurmConfig
from anomaly_bench.runs.training.checkpoint_note import LOG_FILE
from anomaly_bench.sweep import slurm_commands as slurm
from anomaly_bench.sweep.job import Ended, Job, State, end_of, failed, lease

from .slurm_job import work

if TYPE_CHECKING:
    from submitit import SlurmExecutor, SlurmJob

ARRAY = 1000  # jobs in an array, which clusters limit to 1001 unless they are told otherwise
POLL = 3.0  # seconds between looks at files and at the queue
GRACE = 10.0  # seconds that a shared file system may take to show what a job that is over has written
SILENCE = 600.0  # seconds without an answer of SLURM that are worth a word
HOPELESS = ("CANCELLED", "OUT_OF_MEMORY", "DEADLINE")
KEYS = {  # what sbatch complains of, and the keys that say it
    "partition": ("partition",),
    "invalid account": ("account",),
    "time limit": ("time",),
    "memory": ("mem_gb",),
    "node configuration": ("cpus", "gpus", "mem_gb"),
    "gres": ("gpus",),
}
AWAY = ("Unable to contact", "timed out", "temporarily unable")


@dataclass
class Watched:
    """A run and its job; over: since when it is known to be over, on the clock of time.monotonic."""

    job: Job
    submitted: slurm.Submitted
    over: float | None = None


class SlurmEngine:
    """Jobs of a cluster. Those that a command before this one has submitted are taken over."""

    def __init__(self, config: SlurmConfig, out: Path) -> None:
        self.config, self.out = config, out
        self.folder = out / slurm.SLURM_FOLDER
        self.logs = self.folder / "logs"
        self._answered = time.monotonic()

    def carry_out(self, jobs: Sequence[Job], reporter: Reporter) -> Iterator[Ended]:
        """See Engine. Closing the iterator cancels the jobs; Ctrl-C leaves them in the queue."""
        check_cluster()
        try:
            with explained(self.out):
                watched = self._submitted(jobs, reporter)
        except slurm.UnreachableError as error:
            raise ConfigError(f"engine=slurm: SLURM does not answer ({error}); try again later") from error
        if not self.config.wait:
            return
        reporter.run("SLURM")
        reporter.stage("jobs that have ended", len(watched))
        try:
            while watched:
                time.sleep(POLL)
                for ended in self._ended(watched, reporter):
                    reporter.advance()
                    yield ended
        except GeneratorExit:
            with suppress(slurm.UnreachableError):
                slurm.cancel(one.submitted.job_id for one in watched.values())
            raise
        except KeyboardInterrupt:
            reporter.say(
                f"{len(watched)} jobs stay in SLURM's queue: the same command waits for them again, "
                f"`anomaly-bench cancel {self.out}` ends them"
            )
            raise

    def _submitted(self, jobs: Sequence[Job], reporter: Reporter) -> dict[str, Watched]:
        """Jobs for all runs that have none in the queue; two commands at the same time do not both submit them."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with lease(self.folder / "submit.lock"):
            there = slurm.jobs_of(self.out, [job.identity.folder for job in jobs])
            watched: dict[str, Watched] = {}
            new = []
            for job in jobs:
                note = slurm.submitted(self.out, job.identity.folder) if job.identity.folder in there else None
                if note is None:
                    new.append((job, 1))
                else:
                    watched[job.identity.run_id] = Watched(job, note)
            self._submit(new, watched)
        before = f", {len(watched) - len(new)} are there already" if len(watched) > len(new) else ""
        reporter.say(f"SLURM: {len(new)} jobs submitted{before}; `anomaly-bench cancel {self.out}` ends them")
        return watched

    def _submit(self, jobs: Sequence[tuple[Job, int]], watched: dict[str, Watched]) -> None:
        """A job for each run, to be watched; the number beside it says how many it has had then.

        Raises ConfigError if sbatch refuses, UnreachableError if SLURM does not answer it.
        """
        from submitit.core.utils import FailedJobError

        for at in range(0, len(jobs), ARRAY):
            part = jobs[at : at + ARRAY]
            try:
                started = self._executor().map_array(work, [job for job, _ in part])
            except FailedJobError as error:
                raise refusal(str(error)) from error
            for (job, tries), found in zip(part, started, strict=True):
                found.paths.result_pickle.unlink(missing_ok=True)  # of a cluster that has begun to count anew
                note = slurm.Submitted(job.identity.run_id, found.job_id, tries)
                note.write(self.out, job.identity.folder)
                watched[job.identity.run_id] = Watched(job, note)

    def _executor(self) -> SlurmExecutor:
        from submitit import SlurmExecutor

        config = self.config
        wanted = {
            "job_name": "anomaly_bench",
            "partition": config.partition,
            "account": config.account,
            "time": config.time,
            "mem": None if config.mem_gb is None else f"{round(config.mem_gb * 1024)}M",
            "cpus_per_task": config.cpus,
            "gpus_per_node": config.gpus or None,
            "array_parallelism": config.at_once,
            "signal_delay_s": config.notice,
            "setup": config.setup or None,
            "additional_parameters": {"requeue": True, **config.extra},
        }
        executor = SlurmExecutor(self.logs.resolve())
        executor.update_parameters(**{key: value for key, value in wanted.items() if value is not None})
        return executor

    def _ended(self, watched: dict[str, Watched], reporter: Reporter) -> Iterator[Ended]:
        """What has ended since the last look; runs whose job has died are submitted again."""
        try:
            known = slurm.queue(one.submitted.job_id for one in watched.values())
            self._answered = time.monotonic()
        except slurm.UnreachableError as error:
            if time.monotonic() - self._answered > SILENCE:
                reporter.say(f"warning: SLURM has not answered for a while ({error}); still asking")
                self._answered = time.monotonic()
            return
        counts = Counter(
            known[job_id].state.lower() for one in watched.values() if (job_id := one.submitted.job_id) in known
        )
        reporter.note(", ".join(f"{count} {state}" for state, count in sorted(counts.items())))
        dead = []
        for run_id, one in list(watched.items()):
            ended = self._outcome(one)
            found = known.get(one.submitted.job_id)
            if ended is not None:
                del watched[run_id]
                yield ended
            elif found is not None and found.alive:
                one.over = None
            elif one.over is None:
                one.over = time.monotonic()
            elif time.monotonic() - one.over > GRACE:
                dead.append(watched.pop(run_id))
        yield from self._buried(dead, watched, reporter)

    def _buried(self, dead: Sequence[Watched], watched: dict[str, Watched], reporter: Reporter) -> Iterator[Ended]:
        """How runs ended whose jobs died without a word; those that another job is to go on with are submitted and watched."""
        again = []
        for one in dead:
            state, code = slurm.fate(one.submitted.job_id)
            reason = f"SLURM job {one.submitted.job_id} ended: {state}, exit code {code}"
            tries = one.submitted.tries + (state != "PREEMPTED")
            if one.job.done:
                yield Ended(one.job, "before")
            elif state in HOPELESS or tries > self.config.tries:
                errors = self._job(one).paths.stderr
                logs = end_of(one.job.folder / LOG_FILE, LOG_FILE), end_of(errors, str(errors))
                yield failed(one.job, reason, "\n\n".join(logs))
            else:
                again.append((one, tries, reason))
        with suppress(slurm.UnreachableError):
            self._submit([(one.job, tries) for one, tries, _ in again], watched)
        for one, tries, reason in again:
            if watched.setdefault(one.job.identity.run_id, one) is not one:  # otherwise it dies again in a moment
                reporter.say(f"{one.job.title}: {reason}; submitted again ({tries} of {self.config.tries})")

    def _outcome(self, one: Watched) -> Ended | None:
        """What the job has said of its run, if it has said something."""
        said = self._job(one)
        if not said.paths.result_pickle.exists():
            return None
        if said.exception() is not None:
            return failed(one.job, str(said.exception()).strip().splitlines()[-1], str(said.exception()))
        return Ended(one.job, *said.result())

    def _job(self, one: Watched) -> SlurmJob[tuple[State, str]]:
        from submitit import SlurmJob

        return SlurmJob(self.logs.resolve(), one.submitted.job_id)


def check_cluster() -> None:
    """Raises ConfigError if this is no machine of a SLURM cluster, or submitit is not installed."""
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise ConfigError("engine=slurm: submitit is not installed; do pip install 'anomaly-bench[slurm]'") from error
    if shutil.which("sbatch") is None:
        raise ConfigError(
            "engine=slurm: there is no sbatch here; start it on a machine of the cluster, or say engine=local"
        )


def refusal(said: str) -> ConfigError | slurm.UnreachableError:
    """The error for what sbatch says when it submits nothing."""
    last = (
        said.strip().rpartition("\n")[2].removeprefix("sbatch: error: ").removeprefix("Batch job submission failed: ")
    )
    if any(word in last for word in AWAY):
        return slurm.UnreachableError(last)
    keys = [f"engine.{key}" for word, blamed in KEYS.items() if word in last.lower() for key in blamed]
    return ConfigError(f"engine=slurm: sbatch refuses ({last}); look at {', '.join(keys) or 'engine.extra'}")
