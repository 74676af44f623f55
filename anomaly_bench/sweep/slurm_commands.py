"""SLURM as its own commands tell of it, and the notes on which run is which job. Imports nothing heavy."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from anomaly_bench.runs.training.checkpoint_note import read_json
from data_modules.base.atomic import write_atomic

SLURM_FOLDER = ".slurm"
OVER = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT",
)  # fmt: skip
PATIENCE = 60.0  # seconds that a command of SLURM may take


class UnreachableError(Exception):
    """SLURM does not answer, for the moment."""


@dataclass(frozen=True)
class Submitted:
    """A run's job: as SLURM names it (123 or 123_4), and how many were submitted for the run until then, it included."""

    run_id: str
    job_id: str
    tries: int

    def write(self, out: Path, folder: str) -> None:
        """Note it as the job of the run in that folder of an output folder."""
        write_atomic(_note(out, folder), json.dumps(asdict(self)).encode())


@dataclass(frozen=True)
class Queued:
    """A job that SLURM knows: its state (PENDING, RUNNING, …), and why it waits or on which node it is."""

    job_id: str
    state: str
    where: str

    @property
    def alive(self) -> bool:
        return self.state not in OVER


def submitted(out: Path, folder: str) -> Submitted | None:
    """The newest job of the run in that folder, if it ever had one."""
    return read_json(_note(out, folder), Submitted)


def jobs_of(out: Path, folders: Iterable[str]) -> dict[str, Queued]:
    """By folder, the jobs that wait or run; none if nothing was ever submitted. Raises UnreachableError."""
    if not (out / SLURM_FOLDER).is_dir():
        return {}
    notes = {folder: note for folder in folders if (note := submitted(out, folder)) is not None}
    known = queue({note.job_id for note in notes.values()})
    jobs = {folder: known.get(note.job_id) for folder, note in notes.items()}
    return {folder: job for folder, job in jobs.items() if job is not None and job.alive}


def queue(job_ids: Iterable[str]) -> dict[str, Queued]:
    """Those of the jobs that SLURM has not forgotten; it forgets one some minutes after its end. Raises UnreachableError."""
    arrays = sorted({job_id.partition("_")[0] for job_id in job_ids})
    found: dict[str, Queued] = {}
    for at in range(0, len(arrays), 500):
        chosen = ",".join(arrays[at : at + 500])
        asked = _ask(
            "squeue", "--noheader", "--all", "--array", "--states=all", "--format=%i|%T|%R", f"--jobs={chosen}"
        )
        if asked.returncode and "Invalid job id" not in asked.stderr:
            raise UnreachableError(asked.stderr.strip())
        for line in asked.stdout.splitlines():
            job_id, state, where = line.split("|", 2)
            found[job_id] = Queued(job_id, state, where.strip("()"))
    return found


def fate(job_id: str) -> tuple[str, str]:
    """State and exit code (status:signal) of a job that is over: by the accounting, or else by the controller's memory.

    UNKNOWN if neither says.
    """
    with suppress(UnreachableError):
        asked = _ask(
            "sacct", "--noheader", "--parsable2", "--allocations", "--format=State,ExitCode", f"--jobs={job_id}"
        )
        for line in asked.stdout.splitlines() if not asked.returncode else ():
            state, code = line.split("|")
            if state.split()[0] in OVER:
                return state.split()[0], code
    with suppress(UnreachableError):
        asked = _ask("scontrol", "--oneliner", "show", "job", job_id)
        pairs = dict(word.partition("=")[::2] for word in asked.stdout.split() if "=" in word)
        return pairs.get("JobState", "UNKNOWN"), pairs.get("ExitCode", "0:0")
    return "UNKNOWN", "0:0"


def cancel(job_ids: Iterable[str]) -> None:
    """End jobs, whether they wait or run. Raises UnreachableError."""
    ids = sorted(job_ids)
    for at in range(0, len(ids), 500):
        asked = _ask("scancel", *ids[at : at + 500])
        if asked.returncode:
            raise UnreachableError(asked.stderr.strip())


def _note(out: Path, folder: str) -> Path:
    return out / SLURM_FOLDER / f"{folder}.json"


def _ask(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnreachableError(f"{command[0]}: {error}") from error
