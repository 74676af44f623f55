"""Sweeps in processes: killed over and over, beside one another, on a full disk; each run is done exactly once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path

import pytest
from small_runs import replaced, tiles

from anomaly_bench.cli.main import main
from anomaly_bench.sweep import processes
from anomaly_bench.sweep.job import LOCKS_FOLDER, lease
from anomaly_bench.sweep.states import standings
from leaderboard.results.collect import newest_sweep, read_sweeps
from tests.helpers.killing import KINDS

pytestmark = pytest.mark.slow

RUNS = 6
LONG = ("trainer.max_epochs=100000", "trainer.patience=100000")
SEEDS = f"seed=range({RUNS})"


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Arguments of a sweep of small runs with traps, but for its output folder."""
    (tmp_path / "traps").mkdir()
    monkeypatch.setenv("TRAPS", str(tmp_path / "traps"))
    short = [
        "predictors.only=[rec_l1]",
        "localization.pictures=1",
        "localization.resamples=0",
        "localization.monitor_every=0",
    ]
    often = ["trainer.max_epochs=4", "trainer.checkpoint_share=1", "model.use=killing.Trapped"]
    return ["bench", *replaced(tiles(tmp_path), *short, *often, "model.beta=4")]


@pytest.fixture
def started(tmp_path):
    """Starts a command in a process that can be killed: forked from this one, which is warm."""
    pids = []

    def start(arguments):
        processes.warm_up()  # again: a forkserver dies with a client that is killed while it asks for a process
        pid = os.fork()
        if pid == 0:
            try:
                forkserver.ensure_running = forkserver._forkserver.ensure_running = lambda: None
                sys.stdout = sys.stderr = (tmp_path / "output").open("a", buffering=1)
                code = main(arguments)
            except BaseException:
                traceback.print_exc()
                code = 99
            os._exit(code)
        pids.append(pid)
        return pid

    yield start
    for pid in pids:
        with suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                kill(pid)
                os.waitpid(pid, 0)


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    return 1


def ended(pid):
    """The exit code of a started command, once it has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def at_work(out):
    """Process ids of the runs that are under way: holders of locks that were forked from the warm process."""
    owners = [lease(path).owner for path in (out / LOCKS_FOLDER).glob("*.lock")]
    return [
        owner.pid
        for owner in owners
        if owner is not None and parent(owner.pid) == forkserver._forkserver._forkserver_pid
    ]


def parent(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def wait_for(condition, pid):
    """Until it holds, or the process has ended."""
    while not (found := condition()) and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.01)
    return found


def finished(out):
    """What must not change any more: the inode and time of each result, and how often its run was begun."""
    return {
        path.parent.name: (
            path.stat().st_ino,
            path.stat().st_mtime_ns,
            (path.parent / "run.log").read_text().count("--- "),
        )
        for path in out.glob("*/result.json")
    }


def timeless(folder):
    """leaderboard.csv without what is measured in seconds."""
    head, *rows = (line.split(",") for line in (folder / "leaderboard.csv").read_text().splitlines())
    return [[value for name, value in zip(head, row, strict=True) if "seconds" not in name] for row in (head, *rows)]


def test_a_sweep_killed_twenty_times_ends_as_an_undisturbed_one_and_repeats_nothing(command, started, tmp_path):
    undisturbed, out, traps = tmp_path / "a", tmp_path / "b", tmp_path / "traps"
    assert main([*command, SEEDS, f"out={undisturbed}", "jobs=2"]) == 0
    chance, kills, done = random.Random(3), 0, {}
    for at in range(40):
        if kills >= 20:
            break
        trap = traps / KINDS[at % len(KINDS)]
        trap.touch()
        pid = started([*command, SEEDS, f"out={out}", "jobs=2"])
        wait_for(lambda: at_work(out), pid)
        time.sleep(chance.uniform(0, 0.8))
        kills += sum(kill(one) for one in at_work(out)[:1])
        time.sleep(chance.uniform(0, 0.8))
        kills += kill(pid) + (not trap.exists())  # it is not waited for yet, so that the id is its own
        os.waitpid(pid, 0)
        for name, stamp in done.items():
            assert finished(out)[name] == stamp
        done = finished(out)
    assert kills >= 20
    for kind in KINDS:
        (traps / kind).unlink(missing_ok=True)
    assert ended(started([*command, SEEDS, f"out={out}", "jobs=2"])) == 0, (tmp_path / "output").read_text()
    assert finished(out).keys() >= done.keys()
    assert all(finished(out)[name] == stamp for name, stamp in done.items())
    assert len(newest_sweep(out)) == RUNS == len(finished(out))
    for one, other in zip(timeless(out), timeless(undisturbed), strict=True):
        assert one == other
    assert not list(out.rglob("*.tmp"))


def test_a_run_that_is_killed_fails_alone_with_its_reason_and_goes_on_when_it_is_tried_again(command, cli, tmp_path):
    out = tmp_path / "runs"
    (tmp_path / "traps/checkpoint").touch()
    code, _, err = cli(*command, "seed=0,1", f"out={out}", "jobs=1")
    assert code == 1
    assert "FAILED, its process was killed (SIGKILL, most likely by the system for lack of memory" in err
    assert err.count("pixel AUROC") == 1
    (failure,) = out.glob("*/failure.txt")
    assert "The end of run.log:\n--- " in failure.read_text()
    _, table, _ = cli("status", str(out))
    assert "1/2 runs done" in table
    assert "failed: mvtec_ad_tile beta_vae beta=4 seed=0 (its process was killed" in " ".join(table.split())
    code, _, err = cli("retry", str(out), "--jobs", "2")
    assert code == 0
    assert "2/2" in cli("leaderboard", str(out))[1]
    assert (failure.parent / "run.log").read_text().count("--- ") == 2
    assert not failure.exists()


def test_what_a_run_raises_is_in_its_folder_with_the_traceback_and_fail_fast_stops(command, cli, tmp_path):
    code, _, err = cli(*command, "seed=0,1", "model.lr=1e9", f"out={tmp_path / 'runs'}", "--fail-fast")
    assert code == 1
    assert err.count("FAILED, training diverged") == 1
    (failure,) = (tmp_path / "runs").glob("*/failure.txt")
    assert failure.read_text().startswith("RuntimeError: training diverged")
    assert "Traceback" in failure.read_text()
    later = time.time() + 3600
    os.utime(failure, (later, later))  # as if the clock had been set back since: it is no failure of the next sweep
    code, _, err = cli(*command, "seed=0,1", "model.lr=1e9", f"out={tmp_path / 'runs'}", "--jobs", "2")
    assert (code, err.count("FAILED, training diverged")) == (1, 2)


def test_two_commands_on_the_same_folder_share_the_runs_and_both_show_them_all(command, started, tmp_path):
    out = tmp_path / "runs"
    pids = [started([*command, "seed=range(4)", f"out={out}", "jobs=1"]) for _ in range(2)]
    assert [ended(pid) for pid in pids] == [0, 0], (tmp_path / "output").read_text()
    assert [begun for _, _, begun in finished(out).values()] == [1] * 4
    output = (tmp_path / "output").read_text()
    assert output.count("; pixel AUROC ") == 4
    assert output.count("done before") == 4
    assert output.count("4/4") >= 2


def test_runs_die_with_their_command_and_are_half_done(command, started, tmp_path):
    out = tmp_path / "runs"
    first = started([*replaced(command, *LONG), "seed=0", f"out={out}"])
    wait_for(lambda: list(out.glob("*/checkpoint.json")), first)
    (run,) = at_work(out)
    kill(first)
    os.waitpid(first, 0)
    begun = time.monotonic()
    while parent(run) is not None and time.monotonic() < begun + 20:
        time.sleep(0.05)
    assert parent(run) is None
    planned = [run for sweep in read_sweeps(out)[0].values() for run in sweep.runs]
    assert [one.state for one in standings(planned, out)] == ["half done"]


def test_control_c_stops_the_runs_of_all_processes(command, started, tmp_path):
    out = tmp_path / "runs"
    pid = started([*replaced(command, *LONG), "seed=0,1", f"out={out}", "jobs=2"])
    wait_for(lambda: sum("--- " in path.read_text() for path in out.glob("*/run.log")) == 2, pid)
    os.kill(pid, signal.SIGINT)
    assert ended(pid) == 130
    assert at_work(out) == []
    assert [path.read_text().splitlines()[-1] for path in out.glob("*/run.log")] == ["interrupted"] * 2
    assert "what was finished is kept" in (tmp_path / "output").read_text()


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, of a size in KiB; calling again changes the size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def size(kib):
        mode = "remount,size" if folder.is_mount() else "size"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"{mode}={kib}k", "tmpfs", folder], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("only root can mount a disk")
        return folder

    yield size
    if folder.is_mount():
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_said_loses_nothing_and_the_same_command_goes_on(command, cli, small_disk):
    out = small_disk(10_000) / "runs"
    assert cli(*command, "seed=0", f"out={out}")[0] == 0
    used = sum(path.stat().st_blocks * 512 for path in out.rglob("*"))
    before = finished(out)
    small_disk(used // 1024 + 60)
    code, _, err = cli(*command, "seed=0,1,2", f"out={out}", "jobs=2")
    assert code == 2
    assert "the disk is full: free some space" in err
    assert "what was finished is kept" in err
    assert finished(out) == before
    small_disk(20_000)
    code, board, err = cli(*command, "seed=0,1,2", f"out={out}", "jobs=2")
    assert code == 0, err
    assert "3/3" in board
    assert finished(out).items() >= before.items()
