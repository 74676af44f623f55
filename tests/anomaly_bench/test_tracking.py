import subprocess
import sys
from pathlib import Path

import pytest

from anomaly_bench.config import load_config
from anomaly_bench.run import run
from anomaly_bench.tracking import loggers


def read_back(path: Path) -> str:
    """The summary of an offline W&B run, by W&B's own reader."""
    wandb = Path(sys.executable).parent / "wandb"
    done = subprocess.run(
        [wandb, "leet", "inspect", "--summary", str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_wandb_runs_offline_without_a_login_and_holds_every_predictors_metrics(pictures_run, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    result = run(load_config([*pictures_run, "logger=wandb"]))
    (file,) = (tmp_path / "runs").glob("*/wandb/offline-run-*/run-*.wandb")
    text = read_back(file)
    for name in result.predictors:
        assert f"test/{name}/auroc" in text
    (folder,) = (tmp_path / "runs").glob("mvtec*")
    assert (folder / "metrics.csv").exists()


def test_a_login_without_an_answering_server_falls_back_to_offline(pictures_run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(loggers, "INIT_TIMEOUT", 1.0)
    with pytest.warns(UserWarning, match="logging offline"):
        run(load_config([*pictures_run, "logger=wandb"]))
    (file,) = (tmp_path / "runs").glob("*/wandb/offline-run-*/run-*.wandb")
    assert "test/rec_l1/auroc" in read_back(file)


def test_wandb_that_cannot_start_is_a_warning_and_the_run_is_the_same(pictures_run, tmp_path, monkeypatch):
    plain = run(load_config([*pictures_run, f"out={tmp_path / 'a'}"]))

    def refuse(**_):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("wandb.init", refuse)
    with pytest.warns(UserWarning, match="W&B could not start .*no route to host"):
        logged = run(load_config([*pictures_run, f"out={tmp_path / 'b'}", "logger=wandb"]))
    assert logged.run_id == plain.run_id
    assert {name: p.test for name, p in logged.predictors.items()} == {
        name: p.test for name, p in plain.predictors.items()
    }


def test_a_failed_run_does_not_lend_its_wandb_run_to_the_next(pictures_run, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(RuntimeError, match="training diverged"):
        run(load_config([*pictures_run, "logger=wandb", "model.lr=1e30"]))
    result = run(load_config([*pictures_run, "logger=wandb", "seed=1"]))
    files = [path.name for path in (tmp_path / "runs").glob("*seed1*/wandb/offline-run-*/run-*.wandb")]
    assert files == [f"run-{result.run_id[:16]}.wandb"]
