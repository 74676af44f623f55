"""A runs folder is read whole: what finished, failed, is damaged and was planned; doubles and gaps are refused."""

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from leaderboard.board import build
from leaderboard.json_file import ResultError
from leaderboard.record import write_result
from leaderboard.report.problems import problems
from leaderboard.results.collect import PlannedRun, Sweep, collect, newest_sweep, read_sweeps, write_sweep
from leaderboard.show.exports import board_markdown


def plan(result, folder=None) -> PlannedRun:
    shared = {name: getattr(result, name) for name in ("run_id", "setting_id", "dataset", "model", "beta", "seed")}
    return PlannedRun(**shared, folder=folder or result.run_id)


@pytest.fixture
def save(tmp_path):
    def _save(result, folder=None):
        write_result(result, tmp_path / (folder or result.run_id) / "result.json")
        return result

    return _save


def test_results_are_collected_at_any_depth_in_run_id_order(tmp_path, make_result, save):
    second, first = save(make_result(1)), save(make_result(0), "tiny/vae/zero")
    assert [run.run_id for run in collect(tmp_path).results] == [first.run_id, second.run_id]
    assert [run.run_id for run in collect(tmp_path, {second.run_id}).results] == [second.run_id]


def test_sweeps_round_trip_and_shared_runs_count_once(tmp_path, make_result, save):
    runs = [plan(make_result(seed)) for seed in range(3)]
    path = write_sweep(Sweep(runs=runs), tmp_path, "all")
    write_sweep(Sweep(runs=runs[:2]), tmp_path, "part")
    assert path == tmp_path / "sweeps" / "all.json"
    assert read_sweeps(tmp_path) == ({"all": Sweep(runs=runs), "part": Sweep(runs=runs[:2])}, [])
    save(make_result(0))
    assert collect(tmp_path).planned == runs
    assert collect(tmp_path, {runs[0].run_id}).planned == runs[:1]


def test_contradicting_plans_are_refused_and_damaged_ones_named(tmp_path, make_result, save):
    result = save(make_result(0))
    write_sweep(Sweep(runs=[plan(result)]), tmp_path, "a")
    write_sweep(Sweep(runs=[plan(make_result(0, beta=2.0))]), tmp_path, "b")
    with pytest.raises(ResultError, match=r"b\.json: run aaaa0000-0 is planned differently in another sweep"):
        collect(tmp_path)
    (tmp_path / "sweeps" / "b.json").write_text("{}")
    (tmp_path / "sweeps" / "c.json").write_text("[" * 100_000)
    found = collect(tmp_path)
    assert [run.run_id for run in found.planned] == [result.run_id] == [run.run_id for run in found.results]
    assert "b.json: its schema version is None" in found.damaged[0]
    assert "c.json: damaged JSON (nested too deeply). Without the plan n/N would be wrong" in found.damaged[1]
    (tmp_path / result.run_id / "result.json").unlink()
    with pytest.raises(ResultError, match=r"b\.json: its schema version is None"):
        collect(tmp_path)
    with pytest.raises(ResultError, match="leave out the slashes"):
        write_sweep(Sweep(runs=[]), tmp_path, "../x")


def test_the_newest_sweep_is_the_last_one_written_though_the_clock_was_put_back(tmp_path, make_result):
    first = write_sweep(Sweep(runs=[plan(make_result(0))]), tmp_path, "z")
    os.utime(first, (2e9, 2e9))  # written in 2033
    write_sweep(Sweep(runs=[plan(make_result(1))]), tmp_path, "a")
    assert newest_sweep(tmp_path) == {make_result(1).run_id}


def test_a_result_that_is_not_what_was_planned_is_refused(tmp_path, make_result, save):
    result = save(make_result(0))
    write_sweep(Sweep(runs=[replace(plan(result), seed=5)]), tmp_path, "a")
    with pytest.raises(ResultError, match="has seed 0, its plan says 5"):
        collect(tmp_path)


def test_damaged_results_are_reported_beside_the_sound_ones(tmp_path, make_result, save):
    sound = save(make_result(0))
    broken = save(make_result(1))
    write_sweep(Sweep(runs=[plan(sound), plan(broken)]), tmp_path, "a")
    path = tmp_path / broken.run_id / "result.json"
    path.write_text(path.read_text()[:-20])
    collection = collect(tmp_path)
    assert [run.run_id for run in collection.results] == [sound.run_id]
    assert len(collection.damaged) == 1
    assert str(path) in collection.damaged[0]
    assert "damaged JSON" in collection.damaged[0]
    assert collect(tmp_path, {sound.run_id}).damaged == []
    assert len(collect(tmp_path, {broken.run_id}).damaged) == 1


def test_failures_carry_their_reason_and_a_later_success_wins(tmp_path, make_result, save):
    planned = plan(make_result(1), "one")
    write_sweep(Sweep(runs=[planned]), tmp_path, "a")
    save(make_result(0), "zero")
    for folder, text in (("zero", "old"), ("one", "out of memory\ntraceback"), ("deep/stray", "")):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "failure.txt").write_text(text)
    title = "tiny vae beta=1 seed=1 (one)"
    found = collect(tmp_path)
    assert found.failed == {title: "out of memory", "deep/stray": "no reason given"}
    assert collect(tmp_path, {planned.run_id}).failed == found.of({planned.run_id}).failed == {title: "out of memory"}
    assert collect(tmp_path, {make_result(0).run_id}).failed == found.of({make_result(0).run_id}).failed == {}


def test_a_failed_run_is_told_from_others_by_what_its_plan_says(tmp_path, make_result, save):
    done = save(make_result(0))
    failed = plan(make_result(0, setting_id="bbbb0000", run_id="b"), "two")
    differs = {done.setting_id: "lr=0.001", failed.setting_id: "lr=1e+06"}
    write_sweep(Sweep(runs=[plan(done), failed], differs=differs), tmp_path, "a")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "failure.txt").write_text("RuntimeError: diverged")
    found = collect(tmp_path)
    assert found.failed == {"tiny vae beta=1 lr=1e+06 seed=0 (two)": "RuntimeError: diverged"}
    board = build(found)
    assert board.notes == [
        "tiny, vae, beta 1: settings #aaaa, #bbbb differ by their plan: #aaaa lr=0.001, #bbbb lr=1e+06 (no result yet: #bbbb); "
        "never averaged."
    ]
    assert problems(board)["Failed runs"] == ["tiny vae beta=1 lr=1e+06 seed=0 (two): RuntimeError: diverged"]
    assert "- failed: tiny vae beta=1 lr=1e+06 seed=0 (two): RuntimeError: diverged" in board_markdown(board)


def test_nothing_found_names_the_folder_and_the_command(tmp_path, make_result):
    with pytest.raises(ResultError, match=rf"{tmp_path}: no results found\. Fill it \(`anomaly-bench bench"):
        collect(tmp_path)
    with pytest.raises(ResultError, match=r"absent: there is no such folder\. Name the one"):
        collect(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(ResultError, match=r"file: a file and no folder\. Name the one"):
        collect(tmp_path / "file")
    write_sweep(Sweep(runs=[plan(make_result(0))]), tmp_path, "a")
    with pytest.raises(ResultError, match=r"of 1 planned run none is finished.*anomaly-bench bench"):
        collect(tmp_path)


def test_one_run_in_two_folders_is_refused(tmp_path, make_result, save):
    save(make_result(0))
    save(make_result(0), "copy")
    with pytest.raises(ResultError, match=r"copy.*result\.json: run aaaa0000-0 lies also in|lies also in .*copy"):
        collect(tmp_path)


def test_asking_for_an_unknown_run_is_refused(tmp_path, make_result, save):
    save(make_result(0))
    with pytest.raises(ResultError, match=r"runs \['typo'\] are neither here nor in a plan"):
        collect(tmp_path, {"aaaa0000-0", "typo"})


def test_a_failure_that_vanishes_while_it_is_read_is_no_failure(tmp_path, make_result, save, monkeypatch):
    save(make_result(0))
    for name in ("gone", "locked"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "failure.txt").write_text("out of memory")
    read = Path.read_text

    def racing(path, *arguments, **options):
        if path.name == "failure.txt":
            raise FileNotFoundError(2, "gone") if path.parent.name == "gone" else PermissionError(13, "not yours")
        return read(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", racing)
    assert collect(tmp_path).failed == {"locked": "failure.txt cannot be read (not yours)"}


def test_what_cannot_be_listed_or_read_is_named(tmp_path, make_result, save, monkeypatch):
    save(make_result(0))
    (tmp_path / "locked").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "folder" / "result.json").mkdir(parents=True)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "result.json").symlink_to(tmp_path / "absent")
    scan = os.scandir

    def refusing(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "not yours", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    collection = collect(tmp_path)
    assert len(collection.results) == 1
    words = ("locked: cannot be listed (not yours)", "Is a directory", "No such file")
    assert [word in message for word, message in zip(words, collection.damaged, strict=True)] == [True] * 3


def test_odd_names_of_folders_can_be_printed(tmp_path, make_result, save):
    save(make_result(0))
    save(make_result(1), "a\nb “c” %s [red] $HOME")
    for name, file in ((b"bad\xff", "result.json"), (b"sad\xff", "failure.txt")):
        folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        folder.mkdir()
        (folder / file).write_text("{")
    collection = collect(tmp_path)
    assert len(collection.results) == 2
    assert list(collection.failed) == ["sad\\udcff"]
    assert "bad\\udcff" in collection.damaged[0]
    collection.damaged[0].encode()
