"""What a job of SLURM does with its run: as a process of the local engine does, and what SLURM's signals ask for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.schema import SlurmConfig
from anomaly_bench.runs.training.checkpoint_note import LOG_FILE, read_note
from anomaly_bench.runs.training.stop_requests import StopRun, stop_request
from anomaly_bench.sweep import processes
from anomaly_bench.sweep.job import LEASE, Job, State, failed

MARGIN = 30  # seconds before the end of a job in which it does nothing but leave
PAUSE = 2.0  # seconds between looks at a lock
ENDING = b"SLURM is about to end this job: a checkpoint at the next epoch's start\n"
LATE = b"the time limit is near: a checkpoint at the next epoch's start, then on in another job\n"


def work(job: Job) -> tuple[State, str]:
    """Do the run; the state and the line of what came of it. Ends the process if the run is to go on in another job.

    SIGUSR2, which SLURM sends some time before the time limit: a checkpoint at the next epoch's start, or what the last
    one holds if that is too far; then this job is queued again, if it came further than it was. SIGTERM, which SLURM
    sends before it takes the node away: a checkpoint as soon as can be, and on, for as long as it lasts.
    """
    engine = job.config.engine
    assert isinstance(engine, SlurmConfig)
    processes.print_to(job.folder / LOG_FILE)
    signal.signal(signal.SIGTERM, lambda *_: _ask(ENDING))
    signal.signal(signal.SIGALRM, _leave)
    signal.signal(signal.SIGUSR2, lambda *_: _ask(LATE, max(1, engine.notice - MARGIN)))
    if not engine.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    before = read_note(job.folder)
    try:
        return _done(job, engine)
    except StopRun:
        if read_note(job.folder) != before:
            _requeue()
        reason = f"the time limit of {engine.time} minutes is over and it came no further; raise engine.time"
        return "failed", failed(job, reason).line
    finally:
        signal.alarm(0)


def _done(job: Job, engine: SlurmConfig) -> tuple[State, str]:
    import torch

    from anomaly_bench.sweep.worker import do_job_alone

    torch.set_num_threads(engine.cpus)
    if engine.gpus and not torch.cuda.is_available():
        reason = (
            f"engine.gpus={engine.gpus}, but torch sees no GPU on {os.uname().nodename}; look at engine.extra and setup"
        )
        return "failed", failed(job, reason).line
    latest = time.monotonic() + 2 * LEASE  # by then the lock of a job that died with its node is free
    while True:
        state, line = do_job_alone(job, Reporter())
        if state != "held" or time.monotonic() > latest:
            return state, line
        time.sleep(PAUSE)


def _ask(why: bytes, leave_after: int = 0) -> None:
    """A checkpoint at the next epoch's start; in leave_after seconds at the latest, if there are any, the run is left."""
    os.write(2, why)  # print may be at work
    stop_request.save = True
    if leave_after:
        stop_request.leave = True
        signal.alarm(leave_after)


def _leave(*_: Any) -> None:
    raise StopRun


def _requeue() -> None:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job_id = f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]
    print(f"queued again as job {job_id}", flush=True)
    subprocess.run(["scontrol", "requeue", job_id], timeout=processes.PATIENCE * 12, check=False)
    sys.exit(1)  # without a word to the engine: if SLURM queues nothing again, it submits another job
