"""How the runs of a sweep stand, read from their folders, and how long the rest will take. Imports nothing heavy."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import mean
from typing import Literal

from msgspec import Struct, field, json

from anomaly_bench.runs.training.checkpoint_note import NOTE, read_note
from anomaly_bench.sweep import slurm_commands as slurm
from data_modules.base.regular import regular
from leaderboard.record import RESULT_FILE, best_is_last
from leaderboard.results.collect import FAILURE_FILE, PlannedRun

from .job import LEASE, LOCKS_FOLDER, lease

State = Literal["done", "running", "queued", "half done", "failed", "damaged", "missing"]
STATES: tuple[State, ...] = ("done", "running", "queued", "half done", "failed", "damaged", "missing")


@dataclass(frozen=True)
class Finished:
    """What a result tells of its making: seconds of training and of localization, and the digest of the code.

    undertrained: whether its best epoch was its last.
    """

    fit: float
    localize: float
    source: str
    undertrained: bool = False


@dataclass(frozen=True)
class Standing:
    """How one run stands. trained: seconds that went into its checkpoint; finished: if it is done and its result whole."""

    run: PlannedRun
    state: State
    detail: str = ""
    trained: float = 0.0
    finished: Finished | None = None


@dataclass(frozen=True)
class Estimate:
    """Seconds of work left in the runs whose like was finished before, and how many runs it says nothing of."""

    seconds: float
    unknown: int


def standings(runs: Sequence[PlannedRun], out: Path) -> list[Standing]:
    """How each run stands at this moment."""
    jobs = _jobs(out, [run.folder for run in runs])
    return [_standing(run, out, jobs.get(run.folder)) for run in runs]


def estimate(found: Sequence[Standing]) -> Estimate:
    """Of the runs that are to be done, by the finished ones of the same setting, or else dataset and model."""
    known: dict[object, list[Finished]] = {}
    for one in found:
        if one.finished is not None:
            for key in _kin(one.run):
                known.setdefault(key, []).append(one.finished)
    left, unknown = 0.0, 0
    for one in found:
        if one.state in ("done", "damaged"):
            continue
        like = next((known[key] for key in _kin(one.run) if key in known), None)
        if like is None:
            unknown += 1
        else:
            left += max(0.0, mean(run.fit for run in like) - one.trained) + mean(run.localize for run in like)
    return Estimate(left, unknown)


def _kin(run: PlannedRun) -> tuple[object, object]:
    return run.setting_id, (run.dataset, run.model)


def _jobs(out: Path, folders: Sequence[str]) -> dict[str, slurm.Queued]:
    """The jobs of a cluster that wait or run."""
    waiting = [folder for folder in folders if not (out / folder / RESULT_FILE).exists()]
    try:
        return slurm.jobs_of(out, waiting)
    except slurm.UnreachableError:
        notes = {folder: note for folder in waiting if (note := slurm.submitted(out, folder))}
        return {folder: slurm.Queued(note.job_id, "UNKNOWN", "SLURM does not answer") for folder, note in notes.items()}


def _standing(run: PlannedRun, out: Path, job: slurm.Queued | None) -> Standing:
    folder = out / run.folder
    try:
        return Standing(
            run, "done", finished=_finished(folder / RESULT_FILE, (folder / RESULT_FILE).stat().st_mtime_ns)
        )
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # msgspec's too
        reason = getattr(error, "strerror", None) or error
        return Standing(run, "damaged", f"{RESULT_FILE}: {reason}")
    saved = read_note(folder)
    damaged = "its checkpoint is damaged: it starts afresh" if (folder / NOTE).exists() else ""
    reached = damaged if saved is None else "training done" if saved.fitted else f"epoch {saved.epoch}/{saved.epochs}"
    then = f", {reached}" if reached else ""
    trained = 0.0 if saved is None else saved.seconds
    holder = _holder(out / LOCKS_FOLDER / f"{run.folder}.lock")
    if holder is not None or (job is not None and job.state == "RUNNING"):
        by = holder if job is None else f"SLURM job {job.job_id} on {job.where}"
        return Standing(run, "running", f"{by}{then}", trained)
    if job is not None:
        return Standing(run, "queued", f"SLURM job {job.job_id}, {job.where}{then}", trained)
    failure = folder / FAILURE_FILE
    if failure.exists():
        reason = failure.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
        return Standing(run, "failed", reason, trained)
    return Standing(run, "half done" if saved else "missing", reached, trained)


class _Made(Struct):
    durations: dict[str, float]
    source_digest: str


class _Told(Struct):
    """The part of a result that tells of its making."""

    provenance: _Made
    training: dict[str, float | int | None] = field(default_factory=dict)


@lru_cache(maxsize=100_000)
def _finished(path: Path, changed: int) -> Finished | None:
    del changed  # what is known of a file holds as long as it is the same
    try:
        told = json.decode(regular(path).read_bytes(), type=_Told)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    spent = told.provenance.durations
    if "fit" not in spent or "localize" not in spent:
        return None
    return Finished(spent["fit"], spent["localize"], told.provenance.source_digest, best_is_last(told.training))


def _holder(path: Path) -> str | None:
    """Host and process of a lock that is alive, or None."""
    try:
        age = time.time() - path.stat().st_mtime
    except OSError:
        return None
    owner = lease(path).owner
    if owner is None or age > LEASE:
        return None
    host = owner.hostname.partition("?")[0]
    if host == socket.gethostname() and not alive(owner.pid):
        return None
    return f"{host}, process {owner.pid}"


def alive(pid: int) -> bool:
    """Whether this machine has a process of that number, anybody's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True
