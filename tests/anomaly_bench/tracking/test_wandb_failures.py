"""A run goes on, and loses no row, when W&B, its server or its own process fails."""

import subprocess
import sys
import time
import warnings
from types import SimpleNamespace

import pytest
import wandb
from wandb_stub import backend, history, server

from anomaly_bench.tracking.loggers import finishing
from anomaly_bench.tracking.wandb import start as wandb_start
from anomaly_bench.tracking.wandb.logger import WandbLogger

pytestmark = pytest.mark.slow


@pytest.fixture
def online(tmp_path, monkeypatch):
    """A key, and nothing that keeps W&B from asking a server."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("answer", [401, 500, None])
def test_a_server_that_refuses_fails_or_hangs_costs_seconds_not_the_run(answer, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1.5")
    wandb.teardown()  # it keeps the server of its first run
    with server(answer) as (address, asked):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        began = time.perf_counter()
        with pytest.warns(UserWarning, match="logging offline, push it later with `anomaly-bench wandb sync FOLDER`"):
            started = wandb_start.start(tmp_path, "id", "name", "group", "run", [], {})
        assert started is not None
        started.log({"a": 1})
        started.finish()
        assert time.perf_counter() - began < 8
    wandb.teardown()
    assert asked
    (file,) = tmp_path.glob("wandb/offline-run-*/run-id.wandb")
    assert history(file)[0]["a"] == 1


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("answer", [500, 0, None])
def test_a_server_that_dies_in_the_middle_of_a_run_costs_seconds_and_no_row(answer, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "1")
    wandb.teardown()
    with backend(answer) as there:
        monkeypatch.setenv("WANDB_BASE_URL", there.address)
        logger = WandbLogger(wandb_start.start(tmp_path, "id", "name", "group", "run", [], {}), tmp_path)
        assert logger.run.settings.mode == "online"
        there.dead.set()
        for epoch in range(3):
            logger.log_metrics({"val/elbo": 1.0, "epoch": epoch}, epoch)
            logger.flush()
        began = time.perf_counter()
        with pytest.warns(UserWarning, match="W&B could not finish .*push it later with `anomaly-bench wandb sync"):
            logger.finish(0)
        assert time.perf_counter() - began < 5
    wandb.teardown()
    assert not any("otel" in path for path in there.asked)  # which is waited for when the process ends
    (file,) = tmp_path.glob("wandb/offline-run-*/run-id.wandb")  # where `anomaly-bench wandb sync` looks
    assert [row["epoch"] for row in history(file)] == [0, 1, 2]


@pytest.mark.usefixtures("online")
def test_a_run_that_is_resumed_online_goes_on_after_the_rows_that_the_server_has(tmp_path, monkeypatch):
    with backend() as there:
        monkeypatch.setenv("WANDB_BASE_URL", there.address)
        for last in (2, 4):  # the second attempt repeats what is in metrics.csv
            wandb.teardown()
            logger = WandbLogger(wandb_start.start(tmp_path, "id", "name", "group", "run", [], {}), tmp_path)
            for epoch in range(last):
                logger.log_metrics({"val/elbo": 1.0, "epoch": epoch}, epoch)
            logger.finish(0)
    wandb.teardown()
    assert [there.history[at]["epoch"] for at in sorted(there.history)] == [0, 1, 2, 3]
    assert [there.history[at]["_step"] for at in sorted(there.history)] == [0, 1, 2, 3]


@pytest.mark.parametrize("script", [None, "#!/bin/sh\nexit 3\n", "#!/bin/sh\nexec sleep 5\n"])
def test_a_wandb_whose_own_process_is_missing_dies_or_says_nothing_is_a_warning(script, tmp_path):
    """In a process of its own: W&B waits for ever in it, unless it is kept from reporting that."""
    core = tmp_path / "wandb-core"
    if script:
        core.write_text(script)
        core.chmod(0o755)
    program = f"""
from pathlib import Path
import wandb.sdk.lib.service.service_process as service
from anomaly_bench.tracking.results import final_numbers, predictor_table
from anomaly_bench.tracking.wandb import start as wandb_start
service.get_core_path = lambda: {str(core)!r}
wandb_start.SERVICE_TIMEOUT = 1
assert wandb_start.start(Path({str(tmp_path)!r}), "id", "name", "group", "run", [], {{}}) is None
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert "W&B could not start" in done.stderr


@pytest.mark.parametrize("content", [b"\xff\xfe machine", b"machine"])
def test_a_netrc_that_cannot_be_read_is_no_login(content, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_bytes(content)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert not wandb_start.logged_in()


def test_wandb_that_cannot_start_is_a_warning(tmp_path, monkeypatch):
    def refuse(**_):
        raise ConnectionError("no route to host")

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr("wandb.init", refuse)
    with pytest.warns(UserWarning, match="W&B could not start .*no route to host"):
        assert wandb_start.start(tmp_path, "id", "name", "group", "run", [], {}) is None


class FakeRun:
    """A W&B run that remembers."""

    project, id, step = "project", "id", 0
    settings = SimpleNamespace(sync_dir="none")

    def __init__(self, epoch=None):
        self.resumed, self.summary = epoch is not None, {} if epoch is None else {"epoch": epoch}
        self.rows, self.codes = [], []

    def define_metric(self, *_, **__):
        """Nothing to define."""

    def log(self, row):
        self.rows.append(row)

    def finish(self, code):
        self.codes.append(code)


def test_a_run_that_fails_is_closed_as_failed(tmp_path):
    started = FakeRun()
    with pytest.raises(ValueError, match="why"), finishing([WandbLogger(started, tmp_path)]):
        raise ValueError("why")
    assert started.codes == [1]


def test_wandb_that_breaks_off_is_one_warning_and_nothing_more(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(FakeRun, "log", broken)
    logger = WandbLogger(FakeRun(), tmp_path)
    logger.log_metrics({"val/elbo": 1.0, "epoch": 0}, 0)
    with pytest.warns(UserWarning, match="W&B failed .OSError: No space left on device.; the run goes on"):
        logger.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logger.log_metrics({"val/elbo": 1.0, "epoch": 1}, 1)
        logger.log_final({"val/a/ap": 0.4})


def test_epochs_that_the_server_has_are_not_logged_again(tmp_path):
    started = FakeRun(epoch=1)
    logger = WandbLogger(started, tmp_path)
    for epoch in range(4):
        logger.log_metrics({"val/elbo": -epoch, "epoch": epoch}, 8 * epoch)
        logger.log_metrics({"train/loss": epoch, "epoch": epoch}, 8 * epoch)
    logger.log_metrics({"test/a/ap": 0.5, "epoch": 4}, 32)
    logger.log_final({"val/a/ap": 0.4})
    assert started.rows == [
        {"epoch": 2, "val/elbo": -2, "train/loss": 2},
        {"epoch": 3, "val/elbo": -3, "train/loss": 3},
        {"epoch": 4, "test/a/ap": 0.5, "val/a/ap": 0.4},
    ]
