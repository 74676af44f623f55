"""The verbs that make runs: run, bench and retry."""

import gc
import re
import signal
import subprocess
import sys
import time

import pytest
from small_runs import replaced

from anomaly_bench.metrics import LocalizationCurve
from anomaly_bench.models import VAE
from anomaly_bench.runs.training.pruning import PrunedError
from anomaly_bench.sweep import worker as child

pytestmark = pytest.mark.slow

ONE_ROW = "predictors.only=[rec_l1]"


def test_cfg_prints_the_composed_config(cli):
    code, out, _ = cli("run", "dataset=open_ms", "model.beta=2", "--cfg")
    assert code == 0
    assert "beta: 2.0" in out
    assert "GOLD_STANDARD" in out


def test_bench_trains_a_grid_prints_tables_and_does_nothing_twice(cli, pictures_run, tmp_path):
    code, out, err = cli("bench", *pictures_run, "model.beta=1,4", "seed=0,1", "predictors.only=[rec_l1,intensity]")
    assert code == 0, err
    assert "mvtec_ad_tile" in out
    assert "rec_l1" in out
    assert "2/2" in out
    assert "grad_kl" not in out
    assert err.count("pixel AUROC") == 4
    assert "mvtec_ad_tile in " in err
    assert re.search(r"pictures \d+ train, \d+ val, \d+ test; images \d+ train, \d+ normal and \d+ anomalous val", err)
    assert (tmp_path / "runs/leaderboard.md").read_text().count("rec_l1") == 3, "once, then at both betas"
    assert len((tmp_path / "runs/leaderboard.csv").read_text().splitlines()) == 4, "intensity is one row"
    results = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/result.json")}
    assert len(results) == 4
    again, out_again, err = cli(
        "bench", *pictures_run, "model.beta=1,4", "seed=0,1", "predictors.only=[rec_l1,intensity]"
    )
    assert again == 0
    assert err.count("done before") == 4
    assert out_again == out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/result.json")} == results


def test_run_leaves_a_log_with_its_failure_and_how_it_went_on(cli, pictures_run, tmp_path, monkeypatch):
    real, calls = child.run, []

    def broken(config, reporter, *rest):
        calls.append(config.seed)
        print("look out", file=sys.stderr)  # where Python writes warnings to
        reporter.say("a word on it")
        if len(calls) == 1:
            raise RuntimeError("the network burst")
        return real(config, reporter, *rest)

    monkeypatch.setattr(child, "run", broken)
    code, _, err = cli("run", *pictures_run, ONE_ROW)
    assert code == 1
    assert "look out" in err
    (log,) = (tmp_path / "runs").glob("*/run.log")
    first = log.read_text()
    assert re.match(r"--- \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+, process \d+\n", first)
    assert "look out" in first
    assert "a word on it\nTraceback (most recent call last):" in first
    assert "RuntimeError: the network burst\n" in first
    assert cli("run", *pictures_run, ONE_ROW)[0] == 0
    second = log.read_text().removeprefix(first)
    assert second.count("--- ") == 1
    assert re.search(r"\nmvtec_ad_tile beta_vae beta=4 seed=0: epochs 1 in .* pixel AUROC .*\n$", second)
    assert "Traceback" not in second
    assert cli("run", *pictures_run, ONE_ROW)[0] == 0  # done before: not begun again
    assert log.read_text() == first + second


def test_an_interrupted_sweep_goes_on_where_it_stopped(cli, pictures_run, tmp_path, monkeypatch):
    real, calls = child.run, []

    def interrupted(config, *rest):
        calls.append(config.seed)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(config, *rest)

    monkeypatch.setattr(child, "run", interrupted)
    code, _, err = cli("bench", *pictures_run, "seed=0,1,2", "jobs=0", ONE_ROW)
    assert code == 130
    assert "what was finished is kept" in err
    code, out, _ = cli("bench", *pictures_run, "seed=0,1,2", "jobs=0", ONE_ROW)
    assert code == 0
    assert calls == [0, 1, 1, 2]
    assert "3/3" in out


def test_a_sweep_keeps_nothing_of_a_run_in_memory(cli, pictures_run):
    def alive():
        return [item for item in gc.get_objects() if isinstance(item, LocalizationCurve | VAE)]

    before = alive()
    cli("bench", *pictures_run, "seed=0,1", "jobs=0")
    left = [type(item).__name__ for item in alive() if not any(item is known for known in before)]
    assert left == []


def test_control_c_while_training_ends_with_a_word_and_130(pictures_run, tmp_path):
    long = replaced(pictures_run, "trainer.max_epochs=100000", "trainer.patience=100000", "seed=0,1")
    command = [sys.executable, "-m", "anomaly_bench", "bench", *long]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not list((tmp_path / "runs").glob("*/config.yaml")):
            assert process.poll() is None
            time.sleep(0.1)
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "what was finished is kept" in err
    assert "Traceback" not in err


def test_a_pruned_trial_is_not_called_failed(cli, pictures_run, monkeypatch):
    def pruned(*_):
        raise PrunedError("pruned: at epoch 10 its elbo of 1 was below that of other trials")

    monkeypatch.setattr(child, "run", pruned)
    _, _, err = cli("bench", *pictures_run, "seed=1", "jobs=0", ONE_ROW)
    assert "seed=1: pruned: at epoch 10 its elbo of 1" in err
    assert "FAILED" not in err


def test_a_failure_whose_reason_begins_like_that_of_a_pruned_trial_is_called_failed(cli, pictures_run, monkeypatch):
    def failing(*_):
        raise RuntimeError("pruned weights are missing")

    monkeypatch.setattr(child, "run", failing)
    code, _, err = cli("bench", *pictures_run, "seed=1", "jobs=0", ONE_ROW)
    assert code == 1
    assert "seed=1: FAILED, pruned weights are missing" in err


def test_a_run_that_fails_leaves_its_reason_and_the_others_go_on(cli, pictures_run, tmp_path, monkeypatch):
    real = child.run

    def failing(config, *rest):
        if config.seed == 1:
            raise RuntimeError("cosmic ray")
        return real(config, *rest)

    monkeypatch.setattr(child, "run", failing)
    code, out, err = cli("bench", *pictures_run, "seed=0,1,2", "jobs=0", ONE_ROW)
    assert code == 1
    assert "2/3*" in out
    assert "FAILED, cosmic ray" in err
    (failure,) = (tmp_path / "runs").glob("*/failure.txt")
    assert failure.read_text().startswith("RuntimeError: cosmic ray\n")
    assert "Traceback" in failure.read_text()
    monkeypatch.setattr(child, "run", real)
    assert cli("retry", str(tmp_path / "runs"))[0] == 0
    assert cli("retry", str(tmp_path / "runs"))[1].startswith(f"{tmp_path / 'runs'}: no run has failed")
    assert not list((tmp_path / "runs").glob("*/failure.txt"))


def test_retry_says_in_what_the_setting_of_a_run_differs_as_the_sweep_did(cli, pictures_run, tmp_path, monkeypatch):
    real = child.run

    def failing(config, *rest):
        if config.model.latent == 8:
            raise RuntimeError("cosmic ray")
        return real(config, *rest)

    monkeypatch.setattr(child, "run", failing)
    code, _, err = cli("bench", *replaced(pictures_run, "model.latent=4,8", "jobs=0"), ONE_ROW)
    assert (code, "latent=8 seed=0: FAILED" in err) == (1, True)
    code, _, err = cli("retry", str(tmp_path / "runs"))
    assert (code, "latent=8 seed=0: FAILED" in err, "failed: mvtec_ad_tile beta_vae beta=4 latent=8" in err) == (
        1,
        True,
        True,
    )


def test_changed_settings_are_another_run_and_another_row(cli, pictures_run):
    cli("bench", *pictures_run, ONE_ROW)
    _, out, _ = cli("bench", *replaced(pictures_run, "model.latent=8"), ONE_ROW)
    assert "1/1" in out
    assert "#" not in out.split("All metrics")[0]
    out_folder = next(text[4:] for text in pictures_run if text.startswith("out="))
    _, both, _ = cli("leaderboard", out_folder, "--view", "settings")
    assert len(set(re.findall(r"beta_vae#\w+", both))) == 2  # in one table or in two, as wide as the terminal is
    assert "model.latent" in both


def test_a_batch_size_that_is_none_is_told_what_was_expected(cli, capsys):
    for text in ("x", "0", "-1", "1.5"):
        with pytest.raises(SystemExit):
            cli("localize", "runs/a", "a.png", f"--batch-size={text}")
        assert f"{text}: expected a whole number, 1 or more" in capsys.readouterr().err
