"""What a process does with one job: lock it, do it, say how it went; and with jobs that it trains together."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from anomaly_bench.base.errors import OutputError
from anomaly_bench.base.files import explained
from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.load import to_yaml
from anomaly_bench.runs.fused import train_together
from anomaly_bench.runs.run import run
from anomaly_bench.runs.training.checkpoint_note import LOG_FILE, read_note
from anomaly_bench.runs.training.pruning import PrunedError
from data_modules.modules.base import AnomalyDataModule
from leaderboard.record import RunResult, best_is_last
from leaderboard.results.collect import FAILURE_FILE

from .job import Ended, Job, State, failed, lock_of, taken
from .run_log import Said, run_log


def do_job(job: Job, reporter: Reporter, data: AnomalyDataModule | None = None, logged: bool = False) -> Ended:
    """Do a job unless it is done or another process is at it. Whatever the run raises is told, not raised.

    data: the job's data if they are prepared already; logged: whatever this process prints is in the run's log anyway.
    """
    try:
        with explained(job.out):
            lock = lock_of(job)
            if not taken(lock):
                return Ended(job, "held")
            try:
                return _do_locked(job, reporter, data, logged)
            finally:
                lock.release()
    except OutputError as error:
        return Ended(job, "stopped", str(error))


def do_job_alone(job: Job, reporter: Reporter) -> tuple[State, str]:
    """`do_job` for a process of its own: the state and the line of what came of it."""
    ended = do_job(job, reporter, logged=True)
    return ended.state, ended.line


def train_group(
    jobs: Sequence[Job], reporter: Reporter, data: AnomalyDataModule | None = None, logged: bool = True
) -> dict[str, str]:
    """Train those of the jobs together that are neither done nor at work elsewhere; by run id, why it is that some failed.

    They keep their locks until all are trained, and are left to `do_job`, which goes on from there. Raises OutputError.
    """
    with ExitStack() as held, explained(jobs[0].out):
        mine = []
        for job in jobs:
            lock = lock_of(job)
            if taken(lock):
                held.callback(lock.release)
                if not job.done and _begun(job) is None:
                    mine.append(job)
        if not mine:
            return {}
        logs = [held.enter_context(run_log(job.folder / LOG_FILE, printed=logged)) for job in mine]
        for log in logs:
            print(
                f"trained together with {len(mine) - 1} others; {mine[0].folder / LOG_FILE} has what is printed",
                file=log,
            )
            reporter = Said(reporter, log)
        try:
            errors = train_together([(job.config, job.identity) for job in mine], reporter, data)
        except OutputError:
            raise
        except Exception as error:  # must not cost the other groups
            details = traceback.format_exc()
            for log in logs:
                print(details, file=log)
            left = [job for job in mine if not ((note := read_note(job.folder)) and note.fitted)]
            return {job.identity.run_id: failed(job, _reason(error), details).line for job in left}
        ended = {job.identity.run_id: job for job in mine}
        return {run_id: failed(ended[run_id], _reason(error)).line for run_id, error in errors.items()}


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _begun(job: Job) -> Ended | None:
    """The folder of a job that begins, with its config; how it ended if it has failed in this sweep."""
    failure = job.folder / FAILURE_FILE
    if failure.exists():
        if failure.stat().st_mtime > job.since > 0:
            return Ended(job, "failed", failure.read_text(encoding="utf-8").partition("\n")[0])
        failure.unlink()
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / "config.yaml").write_text(to_yaml(job.config))
    return None


def _do_locked(job: Job, reporter: Reporter, data: AnomalyDataModule | None, logged: bool) -> Ended:
    if job.done:
        return Ended(job, "before")
    if (ended := _begun(job)) is not None:
        return ended
    with run_log(job.folder / LOG_FILE, printed=logged) as log:
        try:
            with explained(job.folder):
                line = summary(run(job.config, Said(reporter, log), data, job.identity))
            print(f"{job.title}: {line}", file=log)
            return Ended(job, "done", line)
        except OutputError:
            raise
        except Exception as error:  # one run's failure must not cost the others
            details = traceback.format_exc()
            print(details, file=log)
            state: State = "pruned" if isinstance(error, PrunedError) else "failed"
            return replace(failed(job, _reason(error), details), state=state, line=str(error))
        finally:
            gc.collect()  # trainer, model and callbacks refer to each other


def summary(result: RunResult) -> str:
    """A line on a result: its time and the range of its predictors' pixel AUROC."""
    auroc = {name: predictor.test["auroc"].value or 0.0 for name, predictor in result.predictors.items()}
    low, high = min(auroc, key=auroc.__getitem__), max(auroc, key=auroc.__getitem__)
    highest = f" to {auroc[high]:.3f} ({high})" if high != low else ""
    seconds = result.provenance.durations
    return (
        f"epochs {result.training.get('epochs')} in {seconds['fit']:.0f} s, localized in {seconds['localize']:.0f} s; "
        f"pixel AUROC {auroc[low]:.3f} ({low}){highest}{choices_text(result)}{last_text(result)}"
    )


def last_text(result: RunResult) -> str:
    """That a run may be undertrained, as its best epoch is its last, to follow a line on it; else empty."""
    if not best_is_last(result.training):
        return ""
    return f"; best epoch {result.training['best_epoch']} = last: train longer (trainer.max_epochs)"


def choices_text(result: RunResult) -> str:
    """What the searches of a run chose, to follow a line on it; empty without any."""
    return "".join(
        f"; {name}: {row.choice.how} of {', '.join(row.choice.members)} ({row.choice.by} AP {row.choice.ap:.3f})"
        for name, row in result.predictors.items()
        if row.choice is not None
    )
