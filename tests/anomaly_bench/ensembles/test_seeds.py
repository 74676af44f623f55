"""Ensembles over seeds: against a literal recomputation from the saved models, and what is refused."""

import re
import shutil
from dataclasses import replace

import pytest
import torch
from fakes import write_mvtec
from msgspec import structs
from sklearn.metrics import roc_auc_score
from small_runs import SMALL

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.load import load_config
from anomaly_bench.ensembles import seeds
from anomaly_bench.ensembles.finished import check_alike, find_settings
from anomaly_bench.ensembles.seeds import combine_all, combine_seeds
from anomaly_bench.localization import Localizer
from anomaly_bench.models import build_model
from anomaly_bench.predictors.evidence import Evidence, frozen
from anomaly_bench.runs.data import build_data
from anomaly_bench.runs.run import run
from data_modules.base.errors import DataError
from leaderboard.json_file import ResultError
from leaderboard.record import read_result, write_result

pytestmark = pytest.mark.slow

MEMBERS = (
    "{b:{use:reconstruction,smooth:1},p:{use:projection,iterations:2},"
    "e:{use:ensemble,members:[b,p]},s:{use:subset_search,members:[b,p]},i:{use:intensity}}"
)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A runs folder with two seeds of one setting, and their config."""
    root = tmp_path_factory.mktemp("swept")
    write_mvtec(root / "mvtec" / "tile")
    overrides = [
        "dataset=mvtec_ad",
        "dataset.category=tile",
        "dataset.split.holdout=0.3",
        f"dataset.root={root / 'mvtec'}",
        f"out={root / 'runs'}",
        f"cache_dir={root / 'cache'}",
        f"predictors.members={MEMBERS}",
        "predictors.only=[b,p,e,s,i]",
        *SMALL,
        "localization.bits=20",
        "localization.pictures=0",
    ]
    for seed in (0, 1):
        run(load_config([*overrides, f"seed={seed}"]))
    return root / "runs", load_config(overrides)


@pytest.fixture
def runs(swept, tmp_path):
    """The two runs, in a folder of the test's own."""
    shutil.copytree(swept[0], tmp_path / "runs")
    ((one, two),), damaged = find_settings(tmp_path / "runs")
    assert not damaged
    return [one, two]


def calibrated(run_, config, data, name, how):
    """The calibrated scores of normal validation pixels and of all test pixels.

    mean: by ranks, the shares of normal validation pixels that score lower. probit: as the run's own calibration has it.
    """
    suite, model = Localizer.load(run_.folder).suite, build_model(config.model, data.image_shape)
    model.load_state_dict(torch.load(run_.folder / "model.ckpt", weights_only=True)["state_dict"])

    def scores(loader):
        out = []
        for batch in loader:
            with frozen(model):
                out.append(suite.maps(Evidence(model, batch["image"], batch["foreground"]), [name])[name][0].flatten())
        return torch.cat(out)

    normal, test = scores(data.val_dataloader()[0]), scores(data.test_dataloader())
    if how == "probit":
        return [Localizer.load(run_.folder).calibrated(name, part, "probit") for part in (normal, test)]
    ranked = normal.sort().values
    return [
        (torch.searchsorted(ranked, part) + torch.searchsorted(ranked, part, right=True)) / 2 / len(ranked)
        for part in (normal, test)
    ]


@pytest.mark.parametrize("how", ["probit", "mean"])
def test_maps_are_calibrated_by_their_own_model_and_averaged_over_seeds(how, runs, swept, tmp_path, monkeypatch):
    result, made = combine_seeds(runs, tmp_path / "runs", how)
    assert made
    end = "@seeds" if how == "probit" else "@seeds_mean"
    members = [run_.result for run_ in runs]
    assert result.ensemble_of == [member.run_id for member in members]
    assert (result.setting_id, result.seed) == (members[0].setting_id, members[0].seed)
    assert result.provenance.split_digest == members[0].provenance.split_digest
    assert set(result.predictors) == {name + end for name in "bpes"}

    data = build_data(swept[1], Reporter())
    mask = torch.cat([batch["mask"].flatten() for batch in data.test_dataloader()])
    for name in ("b", "p"):
        normal, test = (
            sum(parts) / 2 for parts in zip(*(calibrated(one, swept[1], data, name, how) for one in runs), strict=True)
        )
        reached = result.predictors[name + end].test
        assert reached["auroc"].value == pytest.approx(roc_auc_score(mask, test), abs=2e-3)
        called = test > normal.sort(descending=True).values[int(swept[1].localization.fpr * len(normal))]
        expected = 2 * (called & mask).sum() / (called.sum() + mask.sum())
        assert reached["dice"].value == pytest.approx(expected.item(), abs=0.02)

    monkeypatch.setattr(seeds, "localize", None)
    assert combine_seeds(runs, tmp_path / "runs", how) == (result, False)
    (again,), _ = find_settings(tmp_path / "runs")
    assert [run_.folder for run_ in again] == [run_.folder for run_ in runs]


def test_one_model_twice_ranks_as_it_does_alone(runs):
    """Calibration keeps the order of scores, so that a model in company of itself reaches what it reached."""
    data = build_data(runs[0].config(), Reporter())
    member = Localizer.load(runs[0].folder)
    look = runs[0].config().localization
    reached, _ = seeds.localize([member, member], data, look, "max", Reporter())
    for name, alone in runs[0].result.predictors.items():
        for part in ("validation", "test"):
            one, two = getattr(alone, part), getattr(reached[f"{name}@seeds_max"], part)
            assert two["auroc"].value == pytest.approx(one["auroc"].value, abs=1e-2)  # scores above all normal ones tie
            assert two["dice"].value == pytest.approx(one["dice"].value, abs=0.03)


def test_a_run_without_its_model_is_named_with_a_remedy_and_the_other_settings_are_done(runs, swept, tmp_path):
    whole, _ = find_settings(swept[0])
    checkpoint = runs[1].folder / "model.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    out = tmp_path / "out"
    done, failed = combine_all([runs, *whole], out, "product", ["b"], Reporter())
    (message,) = map(str, failed.values())
    assert message.startswith(f"{checkpoint}: expected the model of a finished run")
    assert "move that run's folder away and repeat the run" in message
    ((_, result),) = done
    (path,) = out.glob("*/result.json")
    assert read_result(path) == result
    assert set(result.predictors) == {"b@seeds_product"}
    checkpoint.unlink()
    with pytest.raises(ResultError, match="No such file or directory"):
        combine_seeds(runs, out)
    (runs[0].folder / "config.yaml").write_text("dataset: 1")
    with pytest.raises(ConfigError, match=r"config\.yaml: cannot be read"):
        combine_seeds(runs, out)


def test_an_ensemble_that_was_made_in_the_meantime_is_told_as_found(runs, tmp_path):
    class Heard(Reporter):
        def finished(self, line, timed=True):
            told.append((line.rpartition(": ")[2], timed))

    told: list = []
    combine_all([runs, runs], tmp_path / "out", "max", ["b"], Heard())
    assert told == [("combined by max", True), ("done before", False)]


def test_runs_that_do_not_belong_together_are_refused(runs, swept, tmp_path):
    def changed(run_, **provenance):
        made = structs.replace(run_.result.provenance, **provenance)
        return replace(run_, result=structs.replace(run_.result, provenance=made))

    for name in ("data_fingerprint", "split_digest"):
        with pytest.raises(ResultError, match=f"its {name} is not that of"):
            check_alike([runs[0], changed(runs[1], **{name: "other"})])
    with pytest.raises(ResultError, match="two of these have the same seed"):
        check_alike([runs[0], runs[0]])
    with pytest.raises(DataError, match=r"not those that .* was trained on"):
        combine_seeds([changed(run_, data_fingerprint="other") for run_ in runs], tmp_path / "out")
    with pytest.raises(ConfigError, match=r"predictor x: .* has no such row; there are"):
        combine_seeds(runs, tmp_path / "out", predictors=["x"])
    with pytest.raises(ConfigError, match="predictor i: knows no model, and so is the same for every seed"):
        combine_seeds(runs, tmp_path / "out", predictors=["b", "i"])


def test_the_verb_tells_settings_alike_apart(cli, runs, tmp_path):
    for run_ in runs:
        other = run_.folder.with_name(f"other-{run_.folder.name}")
        shutil.copytree(run_.folder, other)
        changed = structs.replace(run_.result, run_id=f"other{run_.result.seed}", setting_id="other")
        (other / "result.json").unlink()
        write_result(changed, other / "result.json")
        text = (other / "config.yaml").read_text()
        (other / "config.yaml").write_text(re.sub(r"\n  lr: .*", "\n  lr: 0.5", text))
    code, out, err = cli("ensemble", str(tmp_path / "runs"), "--how", "max", "--predictors", "b")
    assert code == 0, err
    assert "lr=0.5: mean of seeds 0, 1" in " ".join(out.split())
    assert re.search(r" beta=4 lr=0\.5 seeds=0,1: combined by max", err)
    assert err.count(" lr=") == 2


def test_the_verb_prints_the_ensemble_beside_its_seeds(cli, runs, tmp_path):
    folder = str(tmp_path / "runs")
    code, out, err = cli("ensemble", folder, "--how", "max", "--predictors", "b", "e")
    assert code == 0, err
    assert "mean of seeds 0, 1 → their ensemble" in " ".join(out.split())
    one, two = (run_.result.predictors["b"].test["auroc"].value for run_ in runs)
    (path,) = (tmp_path / "runs").glob("*-2seeds-max-*/result.json")
    together = read_result(path).predictors["b@seeds_max"].test["auroc"].value
    assert f"{(one + two) / 2:.3f} → {together:.3f}" in out
    assert "combined by max" in err
    again = cli("ensemble", folder, "--how", "max", "--predictors", "b", "e")
    assert again[:2] == (0, out)
    assert again[2].endswith(": done before\n")
    code, _, err = cli("ensemble", folder, "--members", runs[0].result.run_id[:8], "nothing")
    assert (code, "--members nothing: no run in" in err) == (2, True)
    code, _, err = cli("ensemble", folder, "--members", runs[0].result.run_id[:8])
    assert (code, "--members names one run; name two or more of a setting" in err) == (2, True)
    (runs[0].folder / "model.ckpt").unlink()
    code, _, err = cli("ensemble", folder, "--predictors", "p")
    assert (code, "failed: mvtec_ad" in err, "model.ckpt" in err) == (1, True, True)
    damaged = runs[1].folder / "result.json"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    code, _, err = cli("ensemble", folder)
    assert (code, "no setting has two finished seeds" in err, f"left out: {damaged}: " in err) == (2, True, True)
