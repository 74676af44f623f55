"""The verbs on a folder of results: what they print, write and return."""

import json
from xml.etree import ElementTree

import pytest
from msgspec.structs import replace

from anomaly_bench.cli.main import main
from leaderboard.record import read_result, write_result
from leaderboard.results.collect import PlannedRun, Sweep, write_sweep
from leaderboard.show.sheets.views import VIEWS

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path, make_result):
    """A sweep of three seeds of two predictors."""
    runs = [make_result(seed, {"rec_l1": 0.8 + seed / 100, "grad_kl": 0.6 - seed / 100}) for seed in range(3)]
    return _stored(tmp_path / "runs", runs)


def _stored(root, runs):
    for run in runs:
        write_result(run, root / run.run_id / "result.json")
    shared = ("run_id", "setting_id", "dataset", "model", "beta", "seed")
    plan = [PlannedRun(**{name: getattr(run, name) for name in shared}, folder=run.run_id) for run in runs]
    write_sweep(Sweep(runs=plan), root, "s")
    return root


def test_leaderboard_writes_what_it_is_asked_for(folder, tmp_path, capsys):
    files = {name: tmp_path / "out" / f"board.{name}" for name in ("markdown", "csv", "json", "latex")}
    (folder / "x").mkdir()
    (folder / "x" / "result.json").write_text("{")
    (folder / "y").mkdir()
    (folder / "y" / "failure.txt").write_text("loss is NaN")
    options = [text for name, path in files.items() for text in (f"--{name}", str(path))]
    assert main(["leaderboard", str(folder), "--view", "claims", *options]) == 0
    out, err = capsys.readouterr()
    assert err.startswith(f"left out: {folder}/x/result.json: damaged JSON")
    assert "failed: y: loss is NaN" in err
    assert "0.810 ± 0.010" in out
    assert "Localization depends on beta." in " ".join(out.split())
    assert all(f"wrote     {path}" in out for path in files.values())
    assert "left out" in files["markdown"].read_text()
    assert "- failed: y: loss is NaN" in files["markdown"].read_text()
    assert files["csv"].read_text() == (folder / "leaderboard.csv").read_text()
    assert json.loads(files["json"].read_text())["damaged"]
    assert (folder / "leaderboard.md").read_text() in files["markdown"].read_text()


def test_long_tables_say_which_runs_have_no_scores_of_images(folder, tmp_path, capsys):
    done = sorted(path.parent for path in folder.glob("*/result.json"))
    rows = read_result(done[0] / "result.json").predictors
    lines = [",".join(["subject", "slice", "anomalous", *rows]), ",".join(["s0", "0", "1", *["0.5"] * len(rows)])]
    (done[0] / "images.csv").write_text("\n".join(lines) + "\n")
    assert main(["leaderboard", str(folder), "--long", str(tmp_path / "long")]) == 0
    assert f"images    {len(done) - 1} of {len(done)} runs have no images.csv" in capsys.readouterr().out
    assert len((tmp_path / "long/images.csv").read_text().splitlines()) == 1 + len(rows)


def test_tables_that_cannot_be_written_beside_the_runs_keep_nothing_else_from_being_written(folder, tmp_path, capsys):
    assert main(["leaderboard", str(folder)]) == 0
    assert f"Tables    {folder}/leaderboard.md, {folder}/leaderboard.csv (all runs" in capsys.readouterr().out
    (folder / "leaderboard.md").unlink()
    (folder / "leaderboard.md").mkdir()  # as nothing keeps root from writing to a folder
    assert main(["leaderboard", str(folder), "--html", str(tmp_path / "a.html")]) == 0
    out, err = capsys.readouterr()
    assert err.startswith(f"not written: {folder}/leaderboard.md: ")
    assert "name files elsewhere with --markdown and --csv" in err
    assert "Tables  " not in out
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")


def test_every_view_is_on_offer():
    from anomaly_bench.cli.results.leaderboard import VIEWS as OFFERED

    assert ("settings", *VIEWS) == OFFERED


def test_an_unknown_metric_is_refused_by_name(folder, capsys):
    assert main(["claims", str(folder), "--metric", "f1"]) == 2
    assert "--metric f1: expected one of auroc, ap" in capsys.readouterr().err


def test_claims_are_printed_and_written(folder, tmp_path, capsys):
    assert main(["claims", str(folder), "--json", str(tmp_path / "claims.json")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "these datasets: UNDECIDED" in said
    found = json.loads((tmp_path / "claims.json").read_text())
    assert {one["verdict"] for one in found} == {"undecided"}
    assert all(one["decide"] and one["beyond_decide"] in said and one["sentence"] in said for one in found)


def test_check_passes_fails_on_a_broken_predictor_and_reports_both(folder, tmp_path, make_result, capsys, monkeypatch):
    """A baseline is made; then one predictor is broken on purpose."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    command = ["--baseline", str(tmp_path / "tiny.json"), "--junit", str(tmp_path / "junit.xml")]
    assert main(["check", str(folder), *command, "--update"]) == 0
    assert main(["check", str(folder), *command]) == 0
    assert ElementTree.parse(tmp_path / "junit.xml").find("testsuite").get("failures") == "0"
    assert "✅ tiny, auroc: passed: 2 predictors" in (tmp_path / "summary.md").read_text()
    config = {"seed": 0, "model": {"latent": 8}}
    runs = [make_result(seed, {"rec_l1": 0.5, "grad_kl": 0.6 - seed / 100}, config=config) for seed in range(3)]
    broken = _stored(tmp_path / "broken", runs)
    capsys.readouterr()
    assert main(["check", str(broken), *command]) == 1
    out = capsys.readouterr().out
    assert "FAILED: 1 of 2 checked predictors" in out
    assert "settings differ from the baseline's: vae|beta=1: model.latent 16 → 8" in out
    assert ElementTree.parse(tmp_path / "junit.xml").find("testsuite").get("failures") == "1"
    assert "❌ tiny, auroc: FAILED: 1 of 2 checked predictors" in (tmp_path / "summary.md").read_text()


def test_a_damaged_result_fails_the_check_and_is_an_error_in_junit(folder, tmp_path):
    command = ["check", str(folder), "--baseline", str(tmp_path / "tiny.json"), "--junit", str(tmp_path / "junit.xml")]
    assert main([*command, "--update"]) == 0
    path = folder / "aaaa0000-2" / "result.json"
    path.write_text(path.read_text()[:-9])
    assert main(command) == 1
    assert [suite.get("errors") for suite in ElementTree.parse(tmp_path / "junit.xml").iter("testsuite")] == ["0", "1"]


def test_an_updated_baseline_keeps_its_dataset_and_metric_whatever_its_file_is_called(folder, tmp_path):
    path = tmp_path / "tiny.json"
    assert main(["check", str(folder), "--baseline", str(path), "--update"]) == 0
    renamed = tmp_path / "precision.json"
    renamed.write_text(json.dumps(json.loads(path.read_text()) | {"metric": "ap"}))
    assert main(["check", str(folder), "--baseline", str(renamed), "--update"]) == 0
    found = json.loads(renamed.read_text())
    assert (found["dataset"], found["metric"]) == ("tiny", "ap")
    assert main(["check", str(folder), "--baseline", str(renamed)]) == 0


def test_a_new_baseline_is_of_the_dataset_of_the_results_and_never_of_its_files_name(
    folder, tmp_path, make_result, cli
):
    path = tmp_path / "other.json"
    assert cli("check", str(folder), "--baseline", str(path), "--update")[0] == 0
    assert json.loads(path.read_text())["dataset"] == "tiny"
    runs = [make_result(seed, {"rec_l1": 0.8}, dataset=name) for name in ("tiny", "other") for seed in range(2)]
    both = _stored(tmp_path / "both", [replace(run, run_id=f"{run.dataset}{run.seed}") for run in runs])
    new = ["check", str(both), "--baseline", str(tmp_path / "tiny.json"), "--update"]
    code, _, err = cli(*new)
    assert (code, err.count("\n")) == (2, 1)
    assert (
        "tiny.json: it is new, and says no dataset; there are results of other, tiny; choose with --dataset NAME" in err
    )
    assert not (tmp_path / "tiny.json").exists()
    assert cli(*new, "--dataset", "other")[0] == 0
    assert json.loads((tmp_path / "tiny.json").read_text())["dataset"] == "other"
    path.write_text(path.read_text().replace('"tiny"', '"third"'))
    code, _, err = cli("check", str(both), "--baseline", str(path), "--update")
    assert code == 2
    assert f"--baseline {path}: it is of third; there are results of other, tiny" in err


def test_check_passes_on_its_own_baseline_and_fails_when_a_predictor_is_broken(cli, pictures_run, tmp_path):
    cli("bench", *pictures_run, "seed=0,1", "predictors.only=[rec_l1,intensity]")
    baseline = tmp_path / "mvtec_ad_tile.json"
    assert cli("check", str(tmp_path / "runs"), "--baseline", str(baseline), "--update")[0] == 0
    assert cli("check", str(tmp_path / "runs"), "--baseline", str(baseline))[0] == 0
    document = json.loads(baseline.read_text())
    document["predictors"]["beta_vae|beta=4|rec_l1"]["mean"] += 0.3
    baseline.write_text(json.dumps(document))
    code, out, _ = cli("check", str(tmp_path / "runs"), "--baseline", str(baseline))
    assert code == 1
    assert "worse" in out
    assert "rec_l1" in out


def test_leaderboard_of_an_empty_folder_says_how_to_fill_it(cli, tmp_path):
    code, _, err = cli("leaderboard", str(tmp_path))
    assert code == 2
    assert "anomaly-bench bench" in err


def test_check_of_a_folder_that_is_not_there_says_so(cli, tmp_path):
    code, _, err = cli("check", str(tmp_path / "none"), "--baseline", "a.json")
    assert code == 2
    assert f"{tmp_path / 'none'}: there is no such folder" in err


def test_check_of_an_empty_folder_says_what_makes_its_results(cli, tmp_path):
    code, _, err = cli("check", str(tmp_path), "--baseline", "a.json")
    assert code == 2
    assert "no sweep was started here; do the runs that the baseline is of; " in err
    assert "`anomaly-bench bench experiment=check`" in err
