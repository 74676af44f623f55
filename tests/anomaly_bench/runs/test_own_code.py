"""A run of a user's own likelihood, schedule and metrics: the modules of the documentation, by their import paths."""

import csv
import os
import re
import subprocess
import sys
from unittest.mock import patch

import pytest
import torch
from checkout import ROOT

from leaderboard.record import read_result

pytestmark = pytest.mark.slow

MODULES = {
    name: code
    for page in ("models", "metrics")
    for code, name in re.findall(
        r"```python\n(# (my_\w+)\.py\n.*?)```", (ROOT / f"docs/{page}.md").read_text(), re.DOTALL
    )
}
KEYS = [
    "model.likelihood=my_likelihoods.StudentT",
    "model.schedule=my_schedules.counted",
    "localization.metrics.sensitivity_999=my_metrics.sensitivity_999",
    "localization.metrics.gap=my_metrics.ScoreGap",
]
COUNTED = (
    "\n\ndef counted(epoch, epochs):\n    print('asked', epoch, epochs)\n    return 0.25 + late_cosine(epoch, epochs)\n"
)


def run(work, overrides):
    command = [sys.executable, "-m", "anomaly_bench", "run", *overrides]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(work), str(ROOT)])}
    return subprocess.run(command, capture_output=True, text=True, cwd=work, env=environment, check=False)


def test_a_run_uses_them_and_is_another_one_when_their_code_changes(pictures_run, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    assert set(MODULES) == {"my_likelihoods", "my_schedules", "my_metrics"}
    for name, code in MODULES.items():
        (work / f"{name}.py").write_text(code + (COUNTED if name == "my_schedules" else ""))
    overrides = [*pictures_run, *KEYS, "predictors.only=[rec_l1,grad_kl]"]
    done = run(work, overrides)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "runs").glob("*/result.json")
    result = read_result(path)
    assert set(result.provenance.own_code) == set(MODULES)
    assert result.config["localization"]["metrics"] == {
        "sensitivity_999": "my_metrics.sensitivity_999",
        "gap": "my_metrics.ScoreGap",
    }
    for row in result.predictors.values():
        for measures in (row.test, row.validation):
            assert (
                measures["sensitivity_999"].low <= measures["sensitivity_999"].value <= measures["sensitivity_999"].high
            )
            assert measures["gap"].value is not None
    assert result.predictors["rec_l1"].test["gap"].value > 0
    hyper = torch.load(path.parent / "model.ckpt", weights_only=True)["hyper_parameters"]
    assert (hyper["likelihood"], hyper["schedule"]) == ("my_likelihoods.StudentT", "my_schedules.counted")
    asked = {line for line in done.stdout.splitlines() if line.startswith("asked")}
    assert {"asked 0.0 10", "asked 0.0 1", "asked 1.0 1"} <= asked
    with (path.parent / "metrics.csv").open() as stream:
        logged = list(csv.DictReader(stream))
    assert [row["train/beta"] for row in logged if row["train/beta"]] == [str(4.0 * 0.25)]
    assert any(row.get("test/rec_l1/gap") for row in logged)

    with (work / "my_metrics.py").open("a") as stream:
        stream.write("# another line\n")
    assert run(work, overrides).returncode == 0
    found = [read_result(path) for path in (tmp_path / "runs").glob("*/result.json")]
    assert len({one.run_id for one in found}) == 2
    assert len({one.predictors["rec_l1"].test["gap"].value for one in found}) == 1


@pytest.mark.parametrize("key", ["localization.metrics.gap=my_metrics.Gap", "model.schedule=my_schedules.cosine"])
def test_one_that_is_not_there_ends_a_run_before_it_trains(cli, pictures_run, tmp_path, monkeypatch, key):
    for name, code in MODULES.items():
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with patch.dict(sys.modules):
        code, _, err = cli("run", *pictures_run, key)
    assert code == 2
    assert key in err.splitlines()[-1], err
    assert not list(tmp_path.glob("runs/*/config.yaml"))
