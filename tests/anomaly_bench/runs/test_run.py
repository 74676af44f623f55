import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score
from small_runs import tiles

from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.load import load_config
from anomaly_bench.localization import Localizer
from anomaly_bench.models import build_model
from anomaly_bench.predictors.evidence import Evidence, frozen
from anomaly_bench.runs.data import build_data
from anomaly_bench.runs.run import run
from leaderboard.record import METRICS, comparable, read_result

pytestmark = pytest.mark.slow

ONE_ROW = "predictors.only=[rec_l1]"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with the defaults, for tests that change nothing of it: (its overrides, its config, its result)."""
    folder = tmp_path_factory.mktemp("finished")
    overrides = [*tiles(folder), f"out={folder / 'runs'}"]
    config = load_config(overrides)
    return overrides, config, run(config)


def folder_of(config):
    (path,) = Path(config.out).glob("*/result.json")
    return path.parent


def test_a_run_leaves_everything_that_is_promised(finished):
    _, config, result = finished
    folder = folder_of(config)
    assert read_result(folder / "result.json") == result
    assert set(result.predictors) == set(config.predictors.members)
    for name, predictor in result.predictors.items():
        assert set(predictor.test) == set(METRICS)
        assert (predictor.converged is not None) == name.startswith("projection")
        assert predictor.validation["auroc"].value is not None
        assert len(predictor.subjects) == predictor.subjects[0].images * len(predictor.subjects) > 0
        assert predictor.seconds_per_image > 0
    split = json.loads((folder / "split.json").read_text())
    tested = {row.subject for row in result.predictors["rec_l1"].subjects}
    assert tested == set(split["test"])
    assert not tested & (set(split["train"]) | set(split["val"]))
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    logged = [float(row["test/rec_l1/auroc"]) for row in rows if row.get("test/rec_l1/auroc")]
    assert logged == [pytest.approx(result.predictors["rec_l1"].test["auroc"].value)]
    assert {path.stem for path in (folder / "pictures").glob("*.png")} == {*result.predictors, "overview", "model"}
    assert np.asarray(Image.open(folder / "pictures/overview.png")).std() > 10
    assert not (folder / "best.ckpt").exists()
    images = pd.read_csv(folder / "images.csv")
    assert list(images) == ["subject", "slice", "anomalous", *result.predictors]
    assert set(images.subject.astype(str)) == tested
    for name, predictor in result.predictors.items():
        recomputed = roc_auc_score(images.anomalous, images[name])
        assert recomputed == pytest.approx(predictor.test["image_auroc"].value, abs=1e-6), name


def test_metrics_are_those_of_scikit_learn_on_the_saved_models_maps(finished):
    _, config, result = finished
    data, suite = build_data(config, Reporter()), Localizer.load(folder_of(config)).suite
    model = build_model(config.model, data.image_shape)
    model.load_state_dict(torch.load(folder_of(config) / "model.ckpt", weights_only=True)["state_dict"])
    scores, truth = {name: [] for name in suite.single}, []
    for batch in data.test_dataloader():
        with frozen(model):
            maps = suite.maps(Evidence(model, batch["image"], batch["foreground"]), list(suite.single))
        for name, (score, _) in maps.items():
            scores[name].append(score[batch["foreground"]])
        truth.append(batch["mask"][batch["foreground"]])
    labels = torch.cat(truth).numpy()
    for name, parts in scores.items():
        values, measures = torch.cat(parts).numpy(), result.predictors[name].test
        for metric, expected in (
            ("auroc", roc_auc_score(labels, values)),
            ("ap", average_precision_score(labels, values)),
        ):
            assert measures[metric].low - 1e-9 <= expected <= measures[metric].high + 1e-9, (name, metric)


@pytest.mark.parametrize(
    ("kind", "rows"), [("pictures_run", []), ("volumes_run", [ONE_ROW])], ids=["pictures", "volumes"]
)
def test_the_same_seed_gives_the_same_numbers_to_the_last_bit(kind, rows, request, tmp_path):
    overrides = [*request.getfixturevalue(kind), *rows]
    first = run(load_config([*overrides, f"out={tmp_path / 'a'}"]))
    second = run(load_config([*overrides, f"out={tmp_path / 'b'}"]))
    other = run(load_config([*overrides, f"out={tmp_path / 'c'}", "seed=1"]))
    assert first.run_id == second.run_id != other.run_id
    assert first.setting_id == other.setting_id
    assert comparable(first, second)
    assert not comparable(first, other)
    one, two = ((next((tmp_path / name).glob("*/model.ckpt"))) for name in "ab")
    weights = [torch.load(path, weights_only=True)["state_dict"] for path in (one, two)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_no_anomaly_and_no_test_image_decides_which_model_is_kept(pictures_run, mvtec_root, tmp_path):
    before = run(load_config([*pictures_run, ONE_ROW, f"out={tmp_path / 'a'}"]))
    for path in mvtec_root.glob("tile/test/square/*.png"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    after = run(load_config([*pictures_run, ONE_ROW, f"out={tmp_path / 'b'}"]))
    chosen = [
        {key: value for key, value in result.training.items() if not key.startswith("normal_error_")}  # of test images
        for result in (before, after)
    ]
    assert chosen[0] == chosen[1]
    assert before.run_id != after.run_id
    assert before.predictors["rec_l1"].test != after.predictors["rec_l1"].test


def test_a_dataset_without_anomalies_to_validate_on_still_has_thresholds_and_ensembles(pictures_run):
    result = run(load_config([*pictures_run, "dataset.split.holdout=0"]))
    ensemble = result.predictors["ensemble_probit"]
    assert ensemble.test["dice"].value is not None
    assert ensemble.validation["auroc"].value is None


def test_monitoring_draws_and_logs_but_does_not_change_the_result(pictures_run, tmp_path):
    pictures_run.append("predictors.only=[rec_l1,grad_kl,projection]")
    quiet = run(load_config([*pictures_run, "localization.monitor_every=0", f"out={tmp_path / 'a'}"]))
    looking = run(load_config([*pictures_run, "localization.monitor_every=1", f"out={tmp_path / 'b'}"]))
    assert quiet.training == looking.training
    assert all(quiet.predictors[name].test == looking.predictors[name].test for name in quiet.predictors)
    (folder,) = (tmp_path / "b").glob("mvtec*")
    assert (folder / "pictures/epoch_001/rec_l1.png").exists()
    header = (folder / "metrics.csv").read_text().splitlines()[0]
    assert "val/rec_l1/auroc" in header
    assert "val/projection/auroc" not in header


def test_training_that_diverges_says_so(pictures_run):
    with pytest.raises(RuntimeError, match=r"training diverged.*lower model\.lr"):
        run(load_config([*pictures_run, "model.lr=1e9"]))


def test_learned_sigma_and_two_channels_and_normalised_beta_run(volumes_run, brats_root):
    for path in list(brats_root.glob("*/*_flair.nii.gz")):
        (path.parent / path.name.replace("flair", "t1")).write_bytes(path.read_bytes())
    options = [
        "dataset.modality=[flair,t1]",
        "model.variance=scalar",
        "model.beta=0.5",
        "model.normalised=true",
        "model.warmup_epochs=1",
    ]
    result = run(load_config([*volumes_run, *options]))
    assert result.beta == pytest.approx(0.5 * 2 * 16 * 16 / 4)
    assert result.beta_normalised == pytest.approx(0.5)
    assert result.training["sigma"] != 0.1
