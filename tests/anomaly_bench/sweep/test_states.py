import json
import os
import pickle
import subprocess
import sys
import time
from io import StringIO

import pytest
from rich.console import Console
from rich.progress import Progress
from small_runs import tiles

from anomaly_bench.base.bars import SweepReporter
from anomaly_bench.base.progress import Reporter
from anomaly_bench.cli.runs.status import listing, overview
from anomaly_bench.config.differences import differences
from anomaly_bench.config.grid import load_grid
from anomaly_bench.config.load import to_yaml
from anomaly_bench.runs.code_digest import source_digest
from anomaly_bench.runs.training.checkpoint_note import CheckpointNote, write_note
from anomaly_bench.sweep import job as lock
from anomaly_bench.sweep.plan import plan_alone
from anomaly_bench.sweep.slurm_commands import submitted
from anomaly_bench.sweep.states import estimate, standings
from leaderboard.results.collect import PlannedRun, Sweep, write_sweep
from tests.helpers.hostile.bad_json import BAD_JSON, WRONG_JSON


def planned(seed, dataset="a", setting="s"):
    return PlannedRun(
        run_id=f"{dataset}{setting}{seed}",
        setting_id=f"{dataset}{setting}",
        dataset=dataset,
        model="vae",
        beta=1.0,
        seed=seed,
        folder=f"{dataset}-{setting}-{seed}",
    )


def finish(out, run, fit, localize, source="x", **training):
    (out / run.folder).mkdir()
    provenance = {"durations": {"fit": fit, "localize": localize}, "source_digest": source}
    (out / run.folder / "result.json").write_text(json.dumps({"provenance": provenance, **training}))


def save(out, run, seconds, fitted=False):
    (out / run.folder).mkdir(exist_ok=True)
    write_note(out / run.folder, CheckpointNote(run.run_id, "x.ckpt", "", 3, 10, seconds, fitted))


def test_each_state_is_told_from_the_folder_and_the_time_left_follows_from_runs_of_its_kind(tmp_path):
    runs = [planned(seed) for seed in range(6)] + [planned(0, setting="t"), planned(0, dataset="b")]
    finish(tmp_path, runs[0], 100.0, 10.0, source_digest())
    finish(tmp_path, runs[1], 200.0, 20.0)
    save(tmp_path, runs[2], 40.0)
    save(tmp_path, runs[3], 170.0, fitted=True)
    (tmp_path / runs[3].folder / "failure.txt").write_text("its process was killed\n\nmore")
    (tmp_path / lock.LOCKS_FOLDER).mkdir()
    held = lock.lease(tmp_path / lock.LOCKS_FOLDER / f"{runs[4].folder}.lock")
    with held:
        found = standings(runs, tmp_path)
        shown = ["done", "done", "half done", "failed", "running", "missing", "missing", "missing"]
        assert [one.state for one in found] == shown
        assert [one.detail for one in found[2:5]] == ["epoch 3/10", "its process was killed", found[4].detail]
        assert found[4].detail.endswith(f"process {os.getpid()}")
        left = estimate(found)
        # means 150 s and 15 s of the same setting, then of the same dataset and model; of b nothing is known
        assert left.seconds == pytest.approx((150 - 40 + 15) + (0 + 15) + 3 * 165)
        assert left.unknown == 1
    assert standings(runs, tmp_path)[4].state == "missing"
    old = time.time() - 2 * lock.LEASE
    with lock.lease(tmp_path / lock.LOCKS_FOLDER / f"{runs[4].folder}.lock"):
        os.utime(tmp_path / lock.LOCKS_FOLDER / f"{runs[4].folder}.lock", (old, old))
        assert standings(runs, tmp_path)[4].state == "missing"


@pytest.mark.parametrize("content", [*BAD_JSON.values(), *WRONG_JSON.values()], ids=[*BAD_JSON, *WRONG_JSON])
def test_damaged_files_of_a_run_hide_no_other_run(content, tmp_path):
    runs = [planned(seed) for seed in range(3)]
    write_sweep(Sweep(runs=runs), tmp_path, "one")
    finish(tmp_path, runs[0], 60.0, 30.0)
    for run, name in ((runs[1], "result.json"), (runs[2], "checkpoint.json")):
        (tmp_path / run.folder).mkdir()
        (tmp_path / run.folder / name).write_bytes(content)
    (tmp_path / ".slurm").mkdir()
    (tmp_path / ".slurm" / f"{runs[2].folder}.json").write_bytes(content)
    found = standings(runs, tmp_path)
    assert [one.state for one in found] == ["done", "damaged", "missing"]
    assert found[1].detail.startswith("result.json: ")
    assert estimate(found).seconds == 90
    assert found[2].detail == "its checkpoint is damaged: it starts afresh"
    assert submitted(tmp_path, runs[2].folder) is None
    shown, over = overview(runs[:2], tmp_path, {})
    console = Console(file=StringIO(), width=1000)
    console.print(shown)
    assert over
    assert f"move away {tmp_path / runs[1].folder}; then" in console.file.getvalue()
    assert "retry" not in console.file.getvalue()


def test_status_tells_of_results_of_other_code_and_of_what_to_do(cli, tmp_path):
    runs = [planned(seed) for seed in range(3)]
    write_sweep(Sweep(runs=runs), tmp_path, "one")
    finish(tmp_path, runs[0], 60.0, 30.0)
    (tmp_path / runs[1].folder).mkdir()
    (tmp_path / runs[1].folder / "failure.txt").write_text("RuntimeError: [bold]odd[/bold]")
    code, out, _ = cli("status", str(tmp_path))
    text = " ".join(out.split())
    assert code == 0
    for part in ("1/3 runs done", "RuntimeError: [bold]odd[/bold]", "about 0:03:00 left", "1 results are of another"):
        assert part in text
    assert "does the failed runs again" in text
    assert not overview(runs, tmp_path, {})[1]
    assert overview(runs[:2], tmp_path, {})[1]


def test_a_list_of_runs_has_a_column_for_remarks_if_there_is_one(tmp_path):
    def told(runs):
        console = Console(file=StringIO(), width=200)
        console.print(listing(runs, tmp_path, {}, 1))
        return console.file.getvalue()

    runs = [planned(seed) for seed in range(2)]
    plain = told(runs)
    assert plain.splitlines()[1].count("┳") == 1
    assert "expected time of 2 runs not known, as no run of" in plain
    (tmp_path / runs[1].folder).mkdir()
    (tmp_path / runs[1].folder / "failure.txt").write_text("RuntimeError: odd")
    assert told(runs).splitlines()[1].count("┳") == 2


def test_status_names_runs_whose_best_epoch_was_their_last(cli, tmp_path):
    runs = [planned(seed) for seed in range(3)]
    write_sweep(Sweep(runs=runs), tmp_path, "one")
    for run, best in zip(runs, (5, 9, 9), strict=True):
        finish(tmp_path, run, 60.0, 30.0, training={"epochs": 9, "best_epoch": best})
    text = " ".join(cli("status", str(tmp_path))[1].split())
    assert (
        "2 of 3 finished runs have their best epoch last, train longer (trainer.max_epochs): a vae beta=1 seed=1, a vae"
        in text
    )


def test_settings_alike_are_told_apart_by_the_keys_that_differ_and_no_others():
    grid = load_grid(["model=vae", "dataset=brats,open_ms", "model.latent=8,32", "model.likelihood=gaussian,laplace"])
    said = differences({str(at): config for at, config in enumerate(grid)})
    four = [f"latent={size} likelihood={name}" for size in (8, 32) for name in ("gaussian", "laplace")]
    assert list(said.values()) == [*four, *four]
    grid = load_grid(["model.beta=1,4", "model.channels=[8],[8,16]", "trainer.precision=32-true", "dataset=brats"])
    said = differences({str(at): config for at, config in enumerate(grid)})
    assert list(said.values()) == ["channels=[8]", "channels=[8,16]"] * 2
    assert (
        differences({str(at): one for at, one in enumerate(load_grid(["model.beta=1,4", "dataset=brats,open_ms"]))})
        == {}
    )
    folds = load_grid(["dataset.split.folds=2", "dataset.split.fold=0,1"])
    assert differences(dict(zip("ab", folds, strict=True))) == {"a": "fold=0", "b": "fold=1"}


def test_the_plan_tells_status_in_what_settings_differ(cli, tmp_path):
    runs = [planned(0, setting="s"), planned(0, setting="t")]
    write_sweep(Sweep(runs=runs, differs={"as": "latent=8", "at": "latent=32"}), tmp_path, "one")
    (tmp_path / runs[1].folder).mkdir()
    (tmp_path / runs[1].folder / "failure.txt").write_text("killed")
    _, out, _ = cli("status", str(tmp_path))
    assert "setting" in out
    assert "latent=8" in out
    assert "failed: a vae beta=1 latent=32 seed=0 (killed)" in out
    assert "running" not in out


def test_status_of_all_sweeps_tells_settings_of_different_sweeps_apart(cli, tmp_path):
    for setting, rate in (("s", "0.001"), ("t", "0.5")):
        runs = [planned(seed, setting=setting) for seed in range(2)]
        write_sweep(Sweep(runs=runs), tmp_path, setting)
        (folder := tmp_path / runs[1].folder).mkdir()
        (folder / "failure.txt").write_text("killed")
        (folder / "config.yaml").write_text(to_yaml(load_grid(["dataset=brats", "model=vae", f"model.lr={rate}"])[0]))
    _, out, _ = cli("status", str(tmp_path), "--all")
    assert "failed: a vae beta=1 lr=0.001 seed=1 (killed)" in out
    assert "failed: a vae beta=1 lr=0.5 seed=1 (killed)" in out
    assert "lr=" not in cli("status", str(tmp_path))[1]


def test_a_plan_comes_to_the_commands_process_without_torch(tmp_path):
    """Whatever imports it there costs each command its seconds and its memory."""
    small = [*tiles(tmp_path), f"out={tmp_path / 'runs'}", "seed=0,1", "model.latent=4,8"]
    found = plan_alone(load_grid(small), Reporter())
    assert [job.differs for job in found.jobs] == ["latent=4", "latent=8"] * 2
    code = (
        "import pickle, sys; import anomaly_bench, anomaly_bench.sweep.bench, anomaly_bench.cli.runs.status;"
        "found = pickle.load(sys.stdin.buffer); assert found.jobs[0].title.endswith('seed=0');"
        "sys.exit(' '.join({'torch', 'pytorch_lightning', 'monai'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(found), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_a_run_says_begins_with_its_title_in_a_log():
    text = StringIO()
    SweepReporter(Progress(console=Console(file=text), disable=True), 2).lane("brats vae seed=1").say("warning: x")
    assert text.getvalue() == "brats vae seed=1: warning: x\n"


def test_status_of_a_folder_without_a_sweep_says_how_to_start_one(cli, tmp_path):
    code, _, err = cli("status", str(tmp_path))
    assert code == 2
    assert "no sweep was started here" in err


def test_a_lock_is_one_holders_until_it_gives_it_back_dies_or_gives_no_sign_of_life(tmp_path, monkeypatch):
    path = tmp_path / "run.lock"
    with lock.lease(path):
        assert not lock.taken(lock.lease(path))
    pid = os.fork()
    if pid == 0:
        held = lock.lease(path)
        os._exit(0 if lock.taken(held) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert path.exists()
    again = lock.lease(path)
    assert lock.taken(again)
    again.release()
    monkeypatch.setattr(lock, "LEASE", 0.3)
    silent, other = lock.lease(path), lock.lease(path)
    assert lock.taken(silent)
    silent._stop_heartbeat()
    begun = time.monotonic()
    while not lock.taken(other):
        time.sleep(0.02)
    assert 0.25 < time.monotonic() - begun < 3
    other.release()
