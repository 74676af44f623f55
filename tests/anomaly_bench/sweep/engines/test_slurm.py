"""A sweep on a real SLURM of one node: jobs killed, preempted and out of time, the controller restarted in between.

`scripts/slurm_test.sh` starts one for these tests, installs it where it can, and calls them; they leave all others alone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from checkout import ROOT
from fakes import write_mvtec
from small_runs import SMALL, replaced

from anomaly_bench.runs.training.checkpoint_note import read_note
from anomaly_bench.sweep import slurm_commands as slurm
from anomaly_bench.sweep.slurm_commands import SLURM_FOLDER
from anomaly_bench.sweep.states import standings
from leaderboard.record import comparable, read_result
from leaderboard.results.collect import read_sweeps

RUNS = 8
EPOCHS = 150
LIMIT = 420

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif("SLURM_TEST" not in os.environ, reason="engine=slurm is not tested: run scripts/slurm_test.sh"),
]


def ask(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def command(tmp_path, monkeypatch):
    """A command that does small runs in jobs; a run in which a trap is sprung is killed with SIGKILL."""
    write_mvtec(tmp_path / "mvtec/tile")
    (tmp_path / "traps").mkdir()
    monkeypatch.setenv("TRAPS", str(tmp_path / "traps"))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'tests/helpers'}")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    return [
        *(sys.executable, "-m", "anomaly_bench", "bench"),
        *(
            "dataset=mvtec_ad",
            "dataset.category=tile",
            f"dataset.root={tmp_path / 'mvtec'}",
            "dataset.split.holdout=0.3",
        ),
        *replaced(SMALL, "predictors.only=[rec_l1]", "localization.pictures=1", "localization.resamples=0"),
        *("localization.monitor_every=0", "trainer.checkpoint_share=1", "model.use=killing.Trapped", "model.beta=4"),
        *(f"cache_dir={tmp_path / 'cache'}", f"out={tmp_path / 'runs'}"),
        *("engine=slurm", "engine.cpus=1", "engine.time=20"),
    ]


@pytest.fixture
def started(tmp_path):
    """Starts a command, its output in a file; what it has left in the queue is cancelled at the end."""
    running = []

    def start(command):
        with (tmp_path / "output").open("a") as output:
            running.append(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT))
        return running[-1]

    yield start
    for one in running:
        one.kill()
        one.wait()
    notes = (tmp_path / "runs" / SLURM_FOLDER).glob("*.json")
    slurm.cancel({json.loads(note.read_text())["job_id"] for note in notes})


def jobs_in(out, state):
    """Run folders with a job in that state, and the ids of these jobs."""
    folders = [path.stem for path in (out / SLURM_FOLDER).glob("*.json")]
    return {folder: job.job_id for folder, job in slurm.jobs_of(out, folders).items() if job.state == state}


def wait_for(condition, process):
    end = time.monotonic() + LIMIT
    while not (found := condition()):
        assert process.poll() is None, "the command has ended before"
        assert time.monotonic() < end
        time.sleep(0.3)
    return found


def begun(out):
    """By folder, how many times each run was begun."""
    return {path.parent.name: path.read_text().count("--- ") for path in out.glob("*/run.log")}


def at_work(out):
    """Of the runs whose job runs, those with a checkpoint of early in their training: folder and job."""
    found = {}
    for folder, job_id in jobs_in(out, "RUNNING").items():
        reached = read_note(out / folder)
        if reached is not None and reached.epoch < EPOCHS / 3:
            found[folder] = job_id
    return found


def results(out):
    """The results in an output folder by the run's id."""
    return {result.run_id: result for result in map(read_result, out.glob("*/result.json"))}


def test_an_array_with_a_kill_a_preemption_a_time_limit_and_a_restart_ends_as_the_local_engine_does(
    command, started, tmp_path
):
    out, trap = tmp_path / "runs", tmp_path / "traps/checkpoint"
    trap.touch()
    grid = replaced(command, f"seed=range({RUNS})", f"trainer.max_epochs={EPOCHS}", f"trainer.patience={EPOCHS}")
    sweep = started(grid)
    wait_for(lambda: not trap.exists(), sweep)  # one has been killed
    preempted = wait_for(lambda: at_work(out), sweep)
    ask("sbatch", "--partition=urgent", "--exclusive", f"--output={tmp_path / 'urgent'}", "--wrap=true")
    wait_for(lambda: set(preempted) <= set(jobs_in(out, "PENDING")), sweep)
    assert all("SLURM is about to end this job" in (out / folder / "run.log").read_text() for folder in preempted)
    late, job_id = next(iter(wait_for(lambda: at_work(out), sweep).items()))
    ask("scancel", "--signal=USR2", f"{job_id}.0")  # to the job's step, as before a time limit
    ask("scontrol", "shutdown", "slurmctld")
    time.sleep(4)
    ask("slurmctld")
    assert sweep.wait(LIMIT) == 0
    text = (tmp_path / "output").read_text()
    assert "failure.txt" not in text
    assert text.count("; pixel AUROC ") + text.count(": done before") == RUNS
    assert "8/8" in text
    assert text.count("submitted again (2 of 3)") == 1
    assert "queued again as job" in (out / late / "run.log").read_text()
    often = {folder for folder, times in begun(out).items() if times > 1}
    assert late in often
    assert len(often) <= 4  # the one killed, two preempted, the late one
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("*/result.json")}
    assert len(stamps) == RUNS
    assert subprocess.run(grid, check=False, capture_output=True, cwd=ROOT).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/result.json")} == stamps
    local = replaced([word for word in grid if not word.startswith("engine")], f"out={tmp_path / 'local'}")
    local += ["engine.threads=1", "jobs=2"]
    assert subprocess.run(local, check=False, capture_output=True, cwd=ROOT).returncode == 0
    there, here = results(out), results(tmp_path / "local")
    assert sorted(there) == sorted(here)
    assert all(comparable(there[run_id], here[run_id]) for run_id in here)


def test_a_sweep_that_is_not_waited_for_is_in_the_status_is_taken_over_and_can_be_cancelled(command, started, tmp_path):
    out = tmp_path / "runs"
    long = replaced(command, "seed=0,1,2", "trainer.max_epochs=100000", "trainer.patience=100000")
    left = subprocess.run([*long, "engine.wait=false"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert left.returncode == 0, left.stderr
    assert "3 jobs submitted" in left.stderr
    planned = [run for sweep in read_sweeps(out)[0].values() for run in sweep.runs]
    shown = standings(planned, out)
    assert {one.state for one in shown} <= {"queued", "running"}
    assert all("SLURM job " in one.detail for one in shown)
    waiting = started(long)
    wait_for(lambda: "0 jobs submitted, 3 are there already" in (tmp_path / "output").read_text(), waiting)
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait() == 130
    assert "3 jobs stay in SLURM's queue" in (tmp_path / "output").read_text()
    cancelled = ask(sys.executable, "-m", "anomaly_bench", "cancel", str(out))
    assert "3 jobs cancelled" in cancelled
    end = time.monotonic() + 60
    while slurm.jobs_of(out, [run.folder for run in planned]) and time.monotonic() < end:
        time.sleep(0.5)
    assert {one.state for one in standings(planned, out)} <= {"missing", "half done"}
