import json
import os
import re
import shutil
import types

import pytest
import wandb
import yaml
from fakes import write_mvtec
from small_runs import SMALL
from wandb_stub import backend, history, records, summary

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.load import load_config
from anomaly_bench.runs.run import run
from anomaly_bench.tracking import charts
from anomaly_bench.tracking.wandb import sync
from anomaly_bench.tracking.wandb.sweep import sweep_yaml
from leaderboard.record import write_result

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of one finished run."""
    folder = tmp_path_factory.mktemp("wandb_verbs")
    write_mvtec(folder / "mvtec/tile")
    data = ["dataset=mvtec_ad", "dataset.category=tile", "dataset.split.holdout=0.3"]
    places = [f"dataset.root={folder / 'mvtec'}", f"cache_dir={folder / 'cache'}", f"out={folder / 'runs'}"]
    run(load_config([*data, *places, *SMALL, "predictors.only=[rec_l1]", "logger=wandb"]))
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


def test_every_key_of_the_dashboard_is_logged_by_a_run(runs, cli, tmp_path):
    pytest.importorskip("wandb_workspaces")
    assert cli("dashboard", str(runs), "--entity", "team", "--spec", str(tmp_path / "spec.json"))[0] == 0
    text = (tmp_path / "spec.json").read_text()
    (file,) = runs.glob("mvtec*/wandb/offline-run-*/run-*.wandb")
    found, logged = summary(file), set().union(*history(file))
    summaries = {f"{key}.{goal}" for key, of in found["summary"].items() if isinstance(of, dict) for goal in of}
    wanted = set(re.findall(r'"summary(?:_metrics\.|:)([^"]+)"', text))
    assert len(wanted) == 3
    assert wanted <= summaries
    media = set(re.findall(r'"((?:images|maps)/[^"]+)"', text))
    assert media == {"images/input", "images/reconstruction", "maps/rec_l1"}
    assert media <= set(found["summary"])
    curves = set(re.findall(r'"((?:train|val)/[^"]+|epoch)"', text))
    assert len(curves) == 6
    assert curves <= logged
    assert "beta" in found["config"]
    (about,) = records(file, "run")
    assert about["job_type"] == "run"
    grids = [block for block in json.loads(text)["report"]["spec"]["blocks"] if block["type"] == "panel-grid"]
    for grid in grids:  # all run sets of a grid are drawn together: one is one dataset
        (runset,) = grid["metadata"]["runSets"]
        assert runset["filters"]["filters"][1]["value"] == ["mvtec_ad_tile"]
    assert "mvtec_ad_tile" in about["tags"]


def test_a_dashboard_is_updated_where_it_is_and_made_once_per_project(runs, cli, tmp_path, monkeypatch):
    pytest.importorskip("wandb_workspaces")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    views = {}

    def graphql(_, query, variables):
        if "upsertView" in query:
            key = variables.get("id") or f"Vmlldzo{len(views)}"
            project = {"id": "1", "name": variables["projectName"], "entityName": variables["entityName"]}
            views[key] = {**variables, "id": key, "project": project}
            return {"upsertView": {"view": views[key], "inserted": True}}
        if "allViews" in query:
            nodes = [{"node": view} for view in views.values() if view["name"] == variables["viewName"]]
            return {"project": {"allViews": {"edges": nodes}}}
        return {
            "view": next(view for view in views.values() if view["id"].rstrip("=") == variables["reportId"].rstrip("="))
        }

    api = types.SimpleNamespace(projects=lambda _: [], create_project=lambda *_: None, default_entity="team")
    api._service_api = types.SimpleNamespace(app_url="https://wandb.test")
    monkeypatch.setattr("wandb.Api", lambda *_, **__: api)
    for module in ("workspaces.internal", "reports.v2.interface"):
        monkeypatch.setattr(f"wandb_workspaces.{module}.execute_graphql", graphql)
    with backend() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.address)
        monkeypatch.setattr("anomaly_bench.tracking.wandb.sync.base_url", lambda: server.address)
        code, first, _ = cli("dashboard", str(runs), "--entity", "team", "--project", "p")
        assert (code, len(views)) == (0, 2)
        assert cli("dashboard", str(runs), "--entity", "team", "--project", "p")[:2] == (0, first)
        assert len(views) == 2
        assert cli("dashboard", str(runs), "--entity", "team", "--project", "other")[1] != first
        assert len(views) == 4
        monkeypatch.setattr("wandb_workspaces.reports.v2.interface.execute_graphql", refuse)
        code, _, err = cli("dashboard", str(runs), "--entity", "nobody", "--project", "p")
    assert code == 2
    assert (
        "--entity nobody --project p (entity not found): check both and `wandb login`, or write it with --spec" in err
    )


def refuse(*_, **__):
    raise ValueError("entity not found\nand more")


@pytest.mark.parametrize("verb", [("wandb", "sync"), ("dashboard", "--entity", "team")])
def test_without_a_login_or_a_server_it_is_said_at_once(verb, runs, cli, monkeypatch, tmp_path):
    pytest.importorskip("wandb_workspaces")
    monkeypatch.setattr("anomaly_bench.tracking.wandb.sync.LIMIT", 0.2)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    offline(runs, "unsent")
    code, _, err = cli(*verb, str(runs))
    assert code == 2
    assert "use `wandb login`, or set WANDB_API_KEY" in err
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    for answer, said in ((500, "status 500"), (None, "Timeout"), (0, "ConnectionError")):
        with backend(answer, dead=True) as server:
            monkeypatch.setattr("anomaly_bench.tracking.wandb.sync.base_url", lambda server=server: server.address)
            code, _, err = cli(*verb, str(runs))
        assert code == 2
        assert said in err
        assert "check the network and WANDB_BASE_URL" in err


def offline(folder, name):
    place = folder / name / "wandb" / "offline-run-20260101_000000-abc"
    place.mkdir(parents=True, exist_ok=True)
    (place / "run-abc.wandb").write_bytes(b"0" * 2_000_000)
    return place / "run-abc.wandb"


def test_what_is_to_be_sent(tmp_path, cli):
    sent, grown, again = (offline(tmp_path, name) for name in "abc")
    offline(tmp_path, "d")
    for file in (sent, grown):
        file.with_name("run-abc.wandb.synced").touch()
    os.utime(grown, (2e9, 2e9))  # written to after it was sent: it was still going on
    later = again.parents[1] / "run-20260102_000000-abc" / again.name
    later.parent.mkdir()
    later.touch()  # the last attempt was online to its end
    assert cli("wandb", "sync", str(tmp_path), "--dry-run")[:2] == (0, "to send   b (2.0 MB)\nto send   d (2.0 MB)\n")
    code, _, err = cli("wandb", "sync", str(tmp_path / "none"))
    assert code == 2
    assert "expected the folder that runs were written to" in err


def test_sync_sends_what_it_can_and_says_what_not(runs, cli, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    (source,) = runs.glob("mvtec*")
    (tmp_path / "out").mkdir()
    shutil.copytree(source / "wandb", tmp_path / "out/good/wandb", symlinks=True)
    offline(tmp_path / "out", "torn")
    monkeypatch.chdir(tmp_path)
    with backend() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.address)
        monkeypatch.setattr("anomaly_bench.tracking.wandb.sync.base_url", lambda: server.address)
        code, out, err = cli("wandb", "sync", "out")
        assert code == 1
        assert re.fullmatch(r"sent      good \(\d\.\d MB\)\n1 of 2 runs sent\n", out)
        assert err.startswith("not sent  torn (2.0 MB): Failed to read")
        (file,) = source.glob("wandb/offline-run-*/run-*.wandb")
        assert len(server.history) == len(history(file))
        assert cli("wandb", "sync", "out", "--dry-run")[1] == "to send   torn (2.0 MB)\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_variables_that_are_empty_are_none_and_a_wrong_mode_is_refused_by_name(cli, monkeypatch, tmp_path, make_result):
    offline(tmp_path, "a")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    for name in ("WANDB_MODE", "WANDB_BASE_URL", "WANDB_INIT_TIMEOUT"):
        monkeypatch.setenv(name, "")
    wandb.teardown()
    code, _, err = cli("wandb", "sync", str(tmp_path))
    assert (code, err.count("\n")) == (2, 1)
    assert "not logged in to W&B at https://" in err
    monkeypatch.setenv("WANDB_MODE", "onlin")
    write_result(make_result(0, {"rec_l1": 0.8}), tmp_path / "r" / "result.json")
    for arguments in (
        ["wandb", "sync", str(tmp_path)],
        ["leaderboard", str(tmp_path), "--wandb"],
        ["bench", "dataset=tiny_texture", "logger=wandb", f"out={tmp_path / 'runs'}"],
    ):
        wandb.teardown()
        code, out, err = cli(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "WANDB_MODE=onlin: expected online, offline or disabled" in err
    assert not (tmp_path / "runs").exists()


def test_a_server_that_dies_while_a_run_is_sent_stops_it(cli, monkeypatch, tmp_path):
    monkeypatch.setattr("anomaly_bench.tracking.wandb.sync.PATIENCE", 0.2)
    monkeypatch.setattr("anomaly_bench.tracking.wandb.sync.base_url", lambda: "http://127.0.0.1:1")
    monkeypatch.setattr("anomaly_bench.tracking.wandb.sync.require_login", lambda: None)
    answers, require_answer = iter([lambda: None]), sync.require_answer
    monkeypatch.setattr(sync, "require_answer", lambda: next(answers, require_answer)())
    monkeypatch.setattr("anomaly_bench.tracking.wandb.sync.sys.executable", str(tmp_path / "slow"))
    (tmp_path / "slow").write_text("#!/bin/sh\nexec sleep 30\n")
    (tmp_path / "slow").chmod(0o755)
    offline(tmp_path, "a")
    code, out, err = cli("wandb", "sync", str(tmp_path))
    assert (code, out) == (2, "0 of 1 runs sent\n")
    assert "does not answer (ConnectionError)" in err


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


def test_a_sweep_may_be_after_a_metric_of_ones_own():
    text, _ = sweep_yaml(["seed=1,2", "localization.metrics.gap=my_package.gap"], "val/rec_l1/gap")
    assert yaml.safe_load(text)["metric"] == {"name": "val/rec_l1/gap", "goal": "maximize"}


def test_the_runs_of_a_sweep_have_one_logger():
    command = yaml.safe_load(sweep_yaml(["seed=1,2", "logger=csv"], "val/elbo")[0])["command"]
    assert [word for word in command if word.startswith("logger=")] == ["logger=wandb"]


def test_a_space_of_tune_is_searched_by_w_and_b_for_a_criterion(cli, tmp_path):
    (tmp_path / "space.yaml").write_text(
        "model.beta: {low: 0.1, high: 10, log: true}\nmodel.latent: {low: 8, high: 64, step: 8}\n"
        "trainer.batch_size: [8, 16]\nmodel.lr: {low: 0.001, high: 0.01}\ntrainer.patience: {low: 2, high: 9}\n"
    )
    space, written = str(tmp_path / "space.yaml"), tmp_path / "s.yaml"
    objective = ["--objective", "val/rec_l1/synthetic_ap", "--yaml", str(written)]
    code, out, _ = cli("wandb", "sweep", "dataset=tiny_brain", "--space", space, *objective)
    assert code == 0
    assert "(a search without an end)" in out
    document = yaml.safe_load(written.read_text())
    assert (document["method"], document["metric"]["goal"]) == ("bayes", "maximize")
    assert document["parameters"] == {
        "model.beta": {"min": 0.1, "max": 10.0, "distribution": "log_uniform_values"},
        "model.latent": {"min": 8, "max": 64, "distribution": "q_uniform", "q": 8},
        "trainer.batch_size": {"values": [8, 16]},
        "model.lr": {"min": 0.001, "max": 0.01, "distribution": "uniform"},
        "trainer.patience": {"min": 2, "max": 9, "distribution": "int_uniform"},
    }
    code, _, err = cli("wandb", "sweep", "model.beta=1,2", "--space", space, *objective)
    assert code == 2
    assert "set on the command line, too" in err


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
