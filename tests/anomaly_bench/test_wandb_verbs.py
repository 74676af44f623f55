import json
import subprocess

import pytest
import yaml
from conftest import SMALL
from fakes import write_mvtec
from wandb_stub import history, records, summary

from anomaly_bench.config import load_config
from anomaly_bench.errors import ConfigError
from anomaly_bench.run import run
from anomaly_bench.tracking import charts
from anomaly_bench.tracking.sweep import sweep_yaml


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of one finished run."""
    folder = tmp_path_factory.mktemp("wandb_verbs")
    write_mvtec(folder / "mvtec/tile")
    data = ["dataset=mvtec_ad", "dataset.category=tile", "dataset.split.holdout=0.3"]
    places = [f"dataset.root={folder / 'mvtec'}", f"cache_dir={folder / 'cache'}", f"out={folder / 'runs'}"]
    run(load_config([*data, *places, *SMALL, "predictors.only=[rec_l1]", "localization.resamples=0"]))
    return folder / "runs"


def test_a_leaderboard_is_one_run_that_names_the_runs_behind_it(runs, cli, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    code, out, _ = cli("leaderboard", str(runs), "--wandb", "--markdown", str(runs / "all.md"))
    assert code == 0
    assert "W&B       leaderboard of 1 runs" in out
    (file,) = runs.glob("wandb/offline-run-*/run-leaderboard-*.wandb")
    (about,) = records(file, "run")
    assert (about["job_type"], about["run_group"]) == ("leaderboard", "leaderboard")
    found = summary(file)
    table = json.loads((file.parent / "files" / found["summary"]["leaderboard"]["path"]).read_text())
    assert [row[3] for row in table["data"]] == ["rec_l1"]
    (result,) = (json.loads(path.read_text()) for path in runs.glob("mvtec*/result.json"))
    assert found["config"]["runs"] == [result["run_id"]]
    auroc = dict(zip(table["columns"], table["data"][0], strict=True))["auroc"]
    assert auroc == pytest.approx(result["predictors"]["rec_l1"]["test"]["auroc"]["value"])
    artifact = next(one for one in records(file, "artifact") if one["type"] == "leaderboard")
    assert {entry["path"] for entry in artifact["manifest"]["contents"]} == {
        "all.md",
        "leaderboard.md",
        "leaderboard.csv",
    }
    assert json.loads(artifact["metadata"])["runs"] == [result["run_id"]]
    assert "views/claims" not in history(file)[0]


def test_the_dashboard_is_what_wandb_takes(runs, cli, tmp_path):
    reports = pytest.importorskip("wandb_workspaces.reports.v2.internal")
    workspaces = pytest.importorskip("wandb_workspaces.workspaces.internal")
    code, out, _ = cli(
        "dashboard", str(runs), "--entity", "team", "--project", "p", "--spec", str(tmp_path / "spec.json")
    )
    assert (code, out) == (0, f"wrote     {tmp_path / 'spec.json'}\n")
    found = json.loads((tmp_path / "spec.json").read_text())
    workspace = workspaces.View.model_validate(found["workspace"])
    report = reports.ReportViewspec.model_validate(found["report"])
    assert (workspace.entity, workspace.project, report.display_name) == ("team", "p", workspace.display_name)
    sections = workspace.spec.section.panel_bank_config.sections
    assert [section.name for section in sections] == ["Predictors", "Beta", "Seeds", "Pictures", "Training"]
    text = json.dumps(found)
    assert "test/rec_l1/auroc.max" in text
    assert "maps/rec_l1" in text
    assert '"mvtec_ad_tile"' in text


def test_a_dashboard_without_a_login_says_what_to_do(runs, cli, monkeypatch, tmp_path):
    pytest.importorskip("wandb_workspaces")
    monkeypatch.setattr("wandb_workspaces.workspaces.Workspace.save", refuse)
    code, _, err = cli("dashboard", str(runs), "--entity", "team")
    assert code == 2
    assert "W&B refused the dashboard (not logged in); `wandb login`, or write it with --spec FILE" in err


def refuse(*_, **__):
    raise ValueError("not logged in\nand more")


def offline(folder, name):
    place = folder / name / "wandb" / "offline-run-20260101_000000-abc"
    place.mkdir(parents=True)
    (place / "run-abc.wandb").write_bytes(b"0" * 2_000_000)
    return place


def test_sync_says_what_was_sent_and_what_not(tmp_path, cli, monkeypatch):
    offline(tmp_path, "a")
    offline(tmp_path, "b")

    def sync(command, **_):
        if "/a/" in command[-1]:
            (tmp_path / "a/wandb/offline-run-20260101_000000-abc/run-abc.wandb.synced").touch()
            return subprocess.CompletedProcess(command, 0, "done", "")
        return subprocess.CompletedProcess(command, 1, "", "wandb: ERROR permission denied\n")

    code, out, _ = cli("wandb", "sync", str(tmp_path), "--dry-run")
    assert (code, out) == (0, "to send   a (2.0 MB)\nto send   b (2.0 MB)\n")
    monkeypatch.setattr("subprocess.run", sync)
    code, out, err = cli("wandb", "sync", str(tmp_path))
    assert code == 1
    assert out == "sent      a (2.0 MB)\n1 of 2 runs sent; start the same command again\n"
    assert err == "not sent  b: permission denied\n"
    code, out, _ = cli("wandb", "sync", str(tmp_path), "--dry-run")
    assert out == "to send   b (2.0 MB)\n"


GRID = ["dataset=tiny_brain", "model.beta=1,4", "seed=range(3)", "model.latent=16,32"]


def test_a_grid_becomes_a_sweep(tmp_path, cli):
    code, out, _ = cli("wandb", "sweep", *GRID, "--yaml", str(tmp_path / "s.yaml"), "--objective", "val/rec_l1/fpr95")
    assert code == 0
    assert "(12 runs)" in out
    assert "wandb agent ENTITY/anomaly_bench/SWEEP_ID" in out
    found = yaml.safe_load((tmp_path / "s.yaml").read_text())
    assert found["method"] == "grid"
    assert found["metric"] == {"name": "val/rec_l1/fpr95", "goal": "minimize"}
    assert found["parameters"] == {
        "model.beta": {"values": [1, 4]},
        "seed": {"values": [0, 1, 2]},
        "model.latent": {"values": [16, 32]},
    }
    assert found["command"] == [
        "${env}", "anomaly-bench", "run", "dataset=tiny_brain", "logger=wandb", "${args_no_hyphens}",
    ]  # fmt: skip
    sent = [f"{key}={one['values'][-1]}" for key, one in found["parameters"].items()]
    config = load_config([*found["command"][3:-1], *sent])
    assert (config.model.beta, config.seed, config.model.latent, config.logger) == (4, 2, 32, "wandb")


@pytest.mark.parametrize(
    ("overrides", "objective", "said"),
    [
        (["seed=1"], "val/elbo", "these overrides list 1 runs and make 1"),
        (["seed=1,2"], "test/rec_l1/ap", "--objective test/rec_l1/ap: expected val/elbo"),
        (["seed=1,2"], "val/rec_l9/ap", "--objective val/rec_l9/ap"),
    ],
)
def test_what_makes_no_sweep_is_refused(overrides, objective, said):
    with pytest.raises(ConfigError) as told:
        sweep_yaml(overrides, objective)
    assert str(told.value).startswith(said)


def test_curves_are_those_of_scikit_learn():
    import numpy as np
    import torch
    from sklearn.metrics import average_precision_score, roc_curve

    from anomaly_bench.metrics import LocalizationCurve

    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 1, 40, 40, generator=generator) - 3
    mask = torch.rand(4, 1, 40, 40, generator=generator) < 0.1
    scores[mask] += 2
    curve = LocalizationCurve(24)
    curve.update(scores, mask)
    x, y = charts.roc(curve)
    fpr, tpr, _ = roc_curve(mask.flatten(), scores.flatten(), drop_intermediate=False)
    assert np.abs(y - np.interp(x, fpr, tpr)).max() < 0.02
    recall, precision = charts.precision_recall(curve)
    area = (np.diff(recall, prepend=0) * precision).sum()
    assert area == pytest.approx(average_precision_score(mask.flatten(), scores.flatten()), abs=0.02)
    middles, normal, anomalous = charts.score_histogram(curve)
    assert (middles * normal).sum() == pytest.approx(float(scores[~mask].mean()), abs=0.05)
    assert (middles * anomalous).sum() == pytest.approx(float(scores[mask].mean()), abs=0.05)
