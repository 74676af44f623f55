import json
import platform
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from PIL import Image
from small_runs import tiles
from wandb_stub import history, records, server, summary

from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.load import load_config
from anomaly_bench.metrics import LocalizationCurve
from anomaly_bench.pictures.panels import Calibrated, Sample
from anomaly_bench.runs.run import run
from anomaly_bench.tracking import media
from anomaly_bench.tracking.results import final_numbers, predictor_table
from leaderboard.record import LOWER_IS_BETTER, METRICS, MapChoice, Measure

pytestmark = pytest.mark.slow

NAMES = ["rec_l1", "grad_elbo"]
FAST = [
    "trainer.max_epochs=2", "localization.monitor_every=1", "localization.pictures=2", "localization.resamples=20",
    "localization.bits=20",
]  # fmt: skip
SECRET = "b" * 40


def overrides_of(folder: Path) -> list[str]:
    return [*tiles(folder), *FAST, f"predictors.only=[{','.join(NAMES)}]"]


def run_file(out: Path) -> Path:
    """The one W&B file of the one run in a folder."""
    (file,) = out.glob("mvtec*/wandb/offline-run-*/run-*.wandb")
    return file


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """Overrides, the result without a tracker, the result with W&B offline, its file, and what a server there was asked."""
    folder = tmp_path_factory.mktemp("tracking")
    overrides = overrides_of(folder)
    plain = run(load_config([*overrides, f"out={folder / 'plain'}"]))
    with pytest.MonkeyPatch.context() as patch, server(500) as (address, asked):
        patch.setenv("HOME", str(folder))
        patch.setenv("NETRC", str(folder / "none"))
        patch.setenv("A_TOKEN_OF_MINE", SECRET)
        for name in ("WANDB_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            patch.setenv(name, address)
        for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_HOST", "NO_PROXY", "no_proxy"):
            patch.delenv(name, raising=False)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # the least trouble with W&B is a warning
            result = run(load_config([*overrides, f"out={folder / 'wandb'}", "logger=wandb"]))
    return overrides, plain, result, run_file(folder / "wandb"), asked


def test_a_tracker_moves_no_number(logged):
    _, plain, result, file, _ = logged
    assert result.run_id == plain.run_id

    def numbers(one):
        return {name: (row.test, row.validation) for name, row in one.predictors.items()}

    assert numbers(result) == numbers(plain)
    assert (file.parents[2] / "metrics.csv").exists()


def test_offline_asks_nothing_of_any_server(logged):
    assert logged[4] == []


def test_a_run_has_a_name_a_group_tags_and_its_config(logged):
    _, _, result, file, _ = logged
    (about,) = records(file, "run")
    assert about["run_id"] == result.run_id
    assert about["display_name"] == "mvtec_ad_tile-beta_vae-beta4-seed0"
    assert about["run_group"] == "mvtec_ad_tile/beta_vae/beta4"
    assert about["job_type"] == "run"
    assert about["tags"] == ["mvtec_ad_tile", "mvtec_ad", "tile", "natural", "beta_vae", "beta=4"]
    config = summary(file)["config"]
    assert (config["model"]["latent"], config["seed"], config["beta"]) == (4, 0, 4)
    assert config["data"]["fingerprint"] == result.provenance.data_fingerprint
    assert config["code"]["source_digest"] == result.provenance.source_digest


def test_the_history_has_a_row_for_each_epoch_and_one_for_the_results(logged):
    rows = history(logged[3])
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    for row in rows[:2]:
        curves = {
            "train/loss",
            "train/rec",
            "train/kl",
            "train/beta",
            "val/elbo",
            "val/rec",
            "val/kl",
            "val/active_units",
        }
        assert curves <= row.keys()
        assert {f"monitor/{name}/auroc" for name in NAMES} <= row.keys()
        assert row["monitor/overview._type" if "monitor/overview._type" in row else "monitor/overview"]
    assert not any(key.startswith("monitor/") for key in rows[2])


def test_every_metric_is_logged_with_the_summary_that_is_better(logged):
    _, _, result, file, _ = logged
    found, last = summary(file)["summary"], history(file)[-1]
    goals = {record["name"]: record.get("summary") for record in records(file, "metric") if "name" in record}
    for name, row in result.predictors.items():
        for part, measures in (("val", row.validation), ("test", row.test)):
            for metric, measure in measures.items():
                key, goal = f"{part}/{name}/{metric}", "min" if metric in LOWER_IS_BETTER else "max"
                if measure.value is not None:
                    assert last[key] == pytest.approx(measure.value)
                    assert goals[key] == {goal: True}
                    assert found[key] == {goal: pytest.approx(measure.value)}
    assert found["val/elbo"]["max"] == pytest.approx(result.training["best_elbo"])
    assert found["time/fit_seconds"] == pytest.approx(result.provenance.durations["fit"])


def test_the_predictors_table_has_a_row_for_each(logged):
    _, _, result, file, _ = logged
    table = json.loads((file.parent / "files" / summary(file)["summary"]["predictors"]["path"]).read_text())
    rows = [dict(zip(table["columns"], cells, strict=True)) for cells in table["data"]]
    assert [row["predictor"] for row in rows] == list(result.predictors)
    for row in rows:
        measures = result.predictors[row["predictor"]].test
        assert {name: row[name] for name in METRICS} == {name: measures[name].value for name in METRICS}
        assert row["ap 95 % low"] == measures["ap"].ci_low


def test_metrics_of_ones_own_are_columns_of_the_table_and_numbers_of_the_run(make_result):
    result = make_result()
    row, measure = result.predictors["grad_kl"], {"gap": Measure(value=-3.5, low=None, high=None)}
    own = replace(row, test=row.test | measure, validation=measure, own_metrics=["gap"])
    own = replace(own, map=MapChoice(smooth=2.0, smooth_by="validation", sign="negative", sign_by="dataset"))
    result = replace(result, predictors={"grad_kl": own})
    header, (cells,) = predictor_table(result)
    found = dict(zip(header, cells, strict=True))
    assert (found["gap"], found["validation gap"]) == (-3.5, -3.5)
    assert (found["smooth px"], found["sign"]) == (2.0, "negative, by dataset")
    numbers = final_numbers(replace(result, training={"best_elbo": None}))
    assert (numbers["test/grad_kl/gap"], numbers["val/grad_kl/gap"]) == (-3.5, -3.5)


def test_pictures_have_captions_and_what_was_found_and_missed_over_them(logged):
    file = logged[3]
    found = summary(file)["summary"]
    for key in ("images/input", "images/reconstruction", *(f"maps/{name}" for name in NAMES)):
        pictures = found[key]
        assert (pictures["count"], pictures["width"], pictures["height"]) == (2, 16, 16)
        assert all("·" in caption for caption in pictures["captions"])
        for at, masks in enumerate(pictures["all_masks"]):
            (layer,) = masks.values()
            mask = np.asarray(Image.open(file.parent / "files" / layer["path"]))
            truth = np.asarray(Image.open(file.parent / "files" / first_mask(found, at)["path"])) > 0
            assert truth.any()
            assert (np.isin(mask, (1, 2)) == truth).all()
    for caption in found["maps/grad_elbo"]["captions"]:
        assert "grad_elbo: share of normal pixels that score lower, up to 99.99 %" in caption
        assert " · between, AP 0." in caption  # of so few pictures none is among the best or the worst
    for key in ("pictures/overview", "pictures/model", "monitor/overview"):
        assert found[key]["_type"] == "image-file"


def first_mask(found, at):
    return found["images/input"]["all_masks"][at]["mask"]


def test_curves_and_score_histograms_are_charts_of_every_predictor(logged):
    _, _, result, file, _ = logged
    found, folder = summary(file)["summary"], file.parent / "files"
    for kind in ("roc", "pr", "pro"):
        table = json.loads((folder / found[f"curves/{kind}_table"]["path"]).read_text())
        assert {row[0] for row in table["data"]} == set(NAMES)
    for name in NAMES:
        points = np.array([row[1:] for row in roc_rows(folder, found) if row[0] == name])
        area = np.trapezoid(points[:, 1], points[:, 0])
        assert area == pytest.approx(result.predictors[name].test["auroc"].value, abs=0.01)
        table = json.loads((folder / found[f"scores/{name}_table"]["path"]).read_text())
        shares: dict[str, float] = {}
        for row in table["data"]:
            cells = dict(zip(table["columns"], row, strict=True))
            shares[cells["lineKey"]] = shares.get(cells["lineKey"], 0) + cells["lineVal"]
        assert shares == {"normal": pytest.approx(1), "anomalous": pytest.approx(1)}


def roc_rows(folder, found):
    return json.loads((folder / found["curves/roc_table"]["path"]).read_text())["data"]


def test_nothing_of_the_machine_is_logged(logged):
    file = logged[3]
    files = [file, *(path for path in (file.parent / "files").rglob("*") if path.is_file())]
    content = b"".join(path.read_bytes() for path in files)
    folder = str(file.parents[4])
    for word in (folder, str(Path.cwd()), SECRET, str(Path.home()) + "/", "A_TOKEN_OF_MINE"):
        assert word.encode() not in content
    assert not records(file, "environment")
    assert platform.node() not in json.dumps(records(file, "run"))
    assert not list((file.parent / "files").rglob("wandb-metadata.json"))
    assert not list((file.parent / "files").rglob("requirements.txt"))
    assert not (file.parent / "logs").exists()


class Stopping(Reporter):
    """Interrupts the run after its first epochs, as Ctrl-C would."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def note(self, text: str) -> None:
        self.left -= text.startswith("epoch")
        if not self.left:
            self.left = -1
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_as_one_history(logged, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    more = ["logger=wandb", "trainer.max_epochs=4", "trainer.checkpoint_share=1", "localization.monitor_every=2"]
    config = load_config([*logged[0], *more, f"out={tmp_path / 'runs'}"])
    with pytest.raises(KeyboardInterrupt):
        run(config, Stopping(3))
    (first,) = (tmp_path / "runs").glob("mvtec*/wandb/offline-run-*/run-*.wandb")
    run(config)
    file = run_file(tmp_path / "runs")
    assert file.name == first.name
    rows = history(file)
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3, 4]
    assert all("val/elbo" in row and "train/loss" in row for row in rows[:4])
    assert [any(key.startswith("monitor/overview") for key in row) for row in rows] == [False, True, False, True, False]


def test_pictures_stop_at_their_budget(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    curve = LocalizationCurve(16)
    score = torch.rand(1, 1, 256, 256, generator=generator)
    curve.update(score, score > 0.9)
    names = [f"p{at}" for at in range(4)]
    mask = score[0, 0] > 0.9
    sample = Sample("a · 0", score[0], mask, mask | True, score[0], dict.fromkeys(names, score[0, 0]))
    localization = SimpleNamespace(
        samples=[sample, sample],
        tallies={name: SimpleNamespace(curve=curve) for name in names},
        scale=Calibrated(lambda name, scores: scores, 0.99, "p0"),
        validation=SimpleNamespace(thresholds=dict.fromkeys(names, 0)),
    )
    every = media.wandb_pictures(localization)
    assert list(every) == ["images/input", "images/reconstruction", *(f"maps/{name}" for name in names)]
    sizes = [len(Path(images[0]._path).read_bytes()) + 256 * 256 // 8 for images in every.values()]
    assert 10_000 < min(sizes) < max(sizes) < 60_000  # six pictures of 25 predictors stay below the budget
    monkeypatch.setattr(media, "BUDGET", sum(sizes) + sizes[0] + sizes[1])
    assert {len(images) for images in media.wandb_pictures(localization).values()} == {1, 2}  # of each predictor one
    assert len(media.wandb_pictures(localization)) == len(every)


def test_tensorboard_has_the_same_names(logged, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    result = run(load_config([*logged[0], f"out={tmp_path}", "logger=tensorboard"]))
    (folder,) = tmp_path.glob("mvtec*/tensorboard")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    for name, row in result.predictors.items():
        (last,) = events.Scalars(f"val/{name}/auroc")
        assert last.value == pytest.approx(row.validation["auroc"].value)
        assert events.Scalars(f"test/{name}/auroc")[-1].value == pytest.approx(row.test["auroc"].value)
        assert len(events.Scalars(f"monitor/{name}/auroc")) == 2
    assert len(events.Scalars("val/elbo")) == 2
