"""Trackers other than W&B: every row under the same names, and one warning if they fail."""

import sys
import threading
import warnings

import pytest
from pytorch_lightning.loggers.logger import Logger

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.tracking.loggers import finishing
from anomaly_bench.tracking.other_loggers import Patient, other_logger


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow"])
def test_a_tracker_that_is_not_installed_names_the_command(kind, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(
        ConfigError, match=rf"logger={kind}: it is not installed; pip install 'anomaly-bench\[{kind}\]'"
    ):
        other_logger(kind, tmp_path, "name", "group", {"run_id": "a"})


class Rows(Logger):
    """A logger that remembers."""

    name = version = ""

    def __init__(self):
        super().__init__()
        self.rows, self.ends = [], []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, metrics))

    def log_hyperparams(self, *_, **__):
        """Not asked here."""

    def finalize(self, status):
        self.ends.append(status)


def test_another_tracker_gets_every_row_in_order_under_the_names_of_wandb():
    rows = Rows()
    patient = Patient("mlflow", lambda: rows)
    patient.log_metrics({"val/elbo": 1.0, "val/rec_l1/ap": 0.5}, 3)
    patient.finalize("success")  # the trainer's own, after the training
    patient.log_final({"val/rec_l1/ap": 0.6}, 4)
    with pytest.raises(ValueError, match="why"), finishing([patient]):
        raise ValueError("why")
    assert rows.rows == [(3, {"val/elbo": 1.0, "monitor/rec_l1/ap": 0.5}), (4, {"val/rec_l1/ap": 0.6})]
    assert rows.ends == ["failed"]


def test_another_tracker_that_fails_or_hangs_is_one_warning(monkeypatch):
    monkeypatch.setattr("anomaly_bench.tracking.other_loggers.FINISH_TIMEOUT", 0.2)

    def refuse():
        raise ConnectionError("refused")

    over = threading.Event()
    for make, why in ((refuse, "ConnectionError: refused"), (over.wait, "TimeoutError: no answer in 0.2 s")):
        patient = Patient("mlflow", make)
        with warnings.catch_warnings(record=True) as caught, finishing([patient]):
            warnings.simplefilter("always")
            for step in range(3):
                patient.log_metrics({"val/elbo": 1.0}, step)
            patient.log_final({"test/a/ap": 1.0}, 3)
            patient.finish(0)
        assert [str(one.message) for one in caught] == [f"logger=mlflow failed ({why}); the run goes on without it"]
    over.set()
