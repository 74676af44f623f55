"""The callback in trainers of a user's own, with data of a user's own, against what is computed by hand."""

from __future__ import annotations

import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from sklearn.metrics import average_precision_score, roc_auc_score
from torch.utils.data import DataLoader

from anomaly_bench import BetaVAE, LocalizationCallback, LocalizationConfig, Localizer
from anomaly_bench.base.errors import ConfigError
from anomaly_bench.predictors import Reconstruction

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2] / "helpers"))
from distributed_script import leave

from tests.helpers.data.own_data import SHAPE, OwnData, Pictures

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

OWN = {"half": lambda curve: curve.fpr_at_tpr(0.5), "r2": "torchmetrics.regression.R2Score"}
PREDICTORS = ["rec_l1", "grad_kl", "projection", "ensemble_probit", "best_subset"]


def looking(**more: Any) -> LocalizationConfig:
    return LocalizationConfig(**{"bits": 18, "resamples": 50, "pictures": 1} | more)


def small(**more: Any) -> BetaVAE:
    torch.manual_seed(0)
    return BetaVAE(SHAPE, beta=1.0, latent=4, channels=(4, 8), lr=3e-3, **more)


def trainer_of(callback: pl.Callback, folder: Path, **more: Any) -> pl.Trainer:
    settings = {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
    settings |= {"default_root_dir": folder, "logger": CSVLogger(folder, name="", version="")}
    return pl.Trainer(callbacks=[callback], **settings | more)


def like(callback: LocalizationCallback) -> dict[str, Reconstruction]:
    """The row rec_l1, smoothed as the callback has chosen."""
    return {"rec_l1": Reconstruction(smooth=callback.localizer.suite.single["rec_l1"].smooth)}


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.Trainer, BetaVAE, LocalizationCallback, OwnData]:
    """Own data, fitted and tested in an ordinary trainer."""
    folder = tmp_path_factory.mktemp("own")
    callback, model, data = LocalizationCallback(PREDICTORS, looking(pictures=4)), small(), OwnData()
    trainer = trainer_of(callback, folder)
    trainer.fit(model, data)
    looks = set(trainer.callback_metrics)
    assert {"val/rec_l1/auroc", "val/grad_kl/ap", "val/elbo", "val/active_units"} <= looks
    assert "val/projection/ap" not in looks  # an expensive one, which looks only when it validates or tests
    assert (folder / "pictures/epoch_002/overview.png").exists()
    trainer.test(model, data, verbose=False)
    return trainer, model, callback, data


def test_the_table_is_what_the_predicted_maps_give(tested) -> None:
    trainer, model, callback, data = tested
    table = callback.table()
    assert list(table.index) == PREDICTORS
    predictions = trainer.predict(model, data)
    mask = data.test.mask.flatten()
    for name in PREDICTORS:
        scores = torch.cat([batch[name] for batch in predictions])
        assert scores.shape == (15, 1, 16, 16)
        expected = {
            "auroc": roc_auc_score(mask, scores.flatten()),
            "ap": average_precision_score(mask, scores.flatten()),
        }
        for metric, value in expected.items():
            assert table.loc[name, metric] == pytest.approx(value, abs=2e-3)
            assert table.loc[name, f"{metric}_low"] - 1e-6 <= value <= table.loc[name, f"{metric}_high"] + 1e-6
    assert {"auroc_ci_low", "auroc_ci_high"} <= set(table.columns) or "dice_ci_low" in table.columns
    reconstruction = torch.cat([batch["reconstruction"] for batch in predictions])
    assert torch.allclose(reconstruction, model(data.test.images), atol=1e-6)


def test_thresholds_come_from_normal_validation_images_alone(tested) -> None:
    _, _, callback, data = tested
    localizer = callback.localizer
    normal = data.val.images[~data.val.mask.flatten(1).any(1)]
    score = localizer(normal)["rec_l1"]
    called = localizer.segmented("rec_l1", score)
    assert 0 < called.float().mean() <= callback.config.fpr
    shares = localizer.calibrated("rec_l1", score)
    assert shares.mean() == pytest.approx(0.5, abs=1e-6)
    best = localizer.image_scores(score, torch.ones_like(score, dtype=torch.bool))
    standing = localizer.standing("rec_l1", best).sort().values.tolist()
    assert standing == pytest.approx([(place + 0.5) / 12 for place in range(12)], abs=0.05)


def test_validating_logs_every_metric_of_the_validation_images(tested, tmp_path: Path) -> None:
    _, model, _, data = tested
    callback = LocalizationCallback(["rec_l1"], looking())
    trainer = trainer_of(callback, tmp_path)
    (logged,) = trainer.validate(model, data, verbose=False)
    scores = callback.localizer(data.val.images)["rec_l1"]
    assert logged["val/rec_l1/auroc"] == pytest.approx(
        roc_auc_score(data.val.mask.flatten(), scores.flatten()), abs=1e-4
    )
    assert callback.table("validation").loc["rec_l1", "auroc"] == pytest.approx(logged["val/rec_l1/auroc"])
    normal = data.val.images[~data.val.mask.flatten(1).any(1)]
    with torch.no_grad():
        rec, kl = model.eval().terms(normal, sample=False)  # in training a batch would move sigma
    assert logged["val/elbo_mean"] == pytest.approx(float(-(rec + kl).mean()), rel=1e-5)
    assert logged["val/elbo"] < logged["val/elbo_mean"]


def test_loaders_without_a_data_module_do(tested, tmp_path: Path) -> None:
    _, model, callback, data = tested
    other = LocalizationCallback(PREDICTORS, looking(pictures=0))
    trainer = trainer_of(other, tmp_path)
    trainer.validate(model, data.val_dataloader(), verbose=False)
    trainer.test(model, data.test_dataloader(), verbose=False)
    pd.testing.assert_frame_equal(other.table(), callback.table(), atol=1e-6)


@pytest.mark.parametrize("loader", [2, 3], ids=["two validation loaders", "three"])
def test_several_validation_loaders_are_one_set(tested, tmp_path: Path, loader: int) -> None:
    _, model, callback, data = tested
    cuts = [0, 5, 19] if loader == 2 else [0, 5, 12, 19]
    parts = [torch.utils.data.Subset(data.val, range(*span)) for span in pairwise(cuts)]
    other = LocalizationCallback(PREDICTORS, looking(pictures=0))
    trainer = trainer_of(other, tmp_path)
    (*logged,) = trainer.validate(model, [DataLoader(part, batch_size=8) for part in parts], verbose=False)
    assert sum("val/elbo" in row for row in logged) >= 1
    trainer.test(model, data.test_dataloader(), verbose=False)
    pd.testing.assert_frame_equal(other.table(), callback.table(), atol=1e-5)


def test_a_second_test_with_one_callback_is_as_the_first(tested) -> None:
    trainer, model, callback, data = tested
    first = callback.table()
    trainer.validate(model, data, verbose=False)
    pd.testing.assert_frame_equal(callback.table(), first)
    trainer.test(model, data, verbose=False)
    pd.testing.assert_frame_equal(callback.table(), first)


def test_a_look_at_given_images_is_at_those_alone(tested, tmp_path: Path) -> None:
    """Whatever data module a trainer had before, what it is given counts."""
    _, model, _, _ = tested
    callback = LocalizationCallback(["rec_l1"], looking())
    trainer = trainer_of(callback, tmp_path)
    trainer.validate(model, OwnData(), verbose=False)
    other = Pictures(9, 9, seed=8)
    (logged,) = trainer.validate(model, DataLoader(other, batch_size=6), verbose=False)
    scores = callback.localizer(other.images)["rec_l1"]
    assert logged["val/rec_l1/ap"] == pytest.approx(
        average_precision_score(other.mask.flatten(), scores.flatten()), abs=2e-3
    )


def test_images_without_foreground_alone_in_a_batch_count_nowhere(tested, tmp_path: Path) -> None:
    _, model, _, data = tested
    items = [{"image": image, "mask": mask} for image, mask in zip(data.val.images, data.val.mask, strict=True)]
    nothing = {"image": items[0]["image"], "foreground": torch.zeros(SHAPE, dtype=torch.bool)}
    whole = torch.ones(SHAPE, dtype=torch.bool)
    tables = []
    for more in ([], [nothing]):
        loader = DataLoader(
            [{"foreground": whole} | item for item in [*items, *more]], batch_size=1, collate_fn=stacked
        )
        callback = LocalizationCallback(["rec_l1"], looking())
        trainer_of(callback, tmp_path).validate(model, loader, verbose=False)
        tables.append(callback.table("validation"))
    pd.testing.assert_frame_equal(*tables)


def stacked(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {key: value[None] for key, value in items[0].items()}


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions_do(tmp_path: Path, precision: Any) -> None:
    callback = LocalizationCallback(["rec_l1", "projection"], looking())
    trainer = trainer_of(callback, tmp_path, precision=precision, max_epochs=1)
    trainer.fit(model := small(), OwnData())
    trainer.test(model, OwnData(), verbose=False)
    assert callback.table()["auroc"].between(0, 1).all()


def test_half_a_precision_is_refused_before_training(tmp_path: Path) -> None:
    trainer = trainer_of(LocalizationCallback(["rec_l1"]), tmp_path, precision="bf16-true")
    with pytest.raises(ConfigError, match="precision=bf16-true: maps need float32; bf16-mixed trains as quickly"):
        trainer.fit(small(), OwnData())


def test_prediction_needs_validation_images_only_where_maps_depend_on_them(tested, tmp_path: Path) -> None:
    _, model, callback, data = tested
    images = DataLoader([{"image": image} for image in data.test.images], batch_size=4)
    alone = trainer_of(LocalizationCallback(like(callback), looking()), tmp_path).predict(model, images)
    scores = torch.cat([batch["rec_l1"] for batch in alone])
    assert torch.allclose(scores, callback.localizer(data.test.images)["rec_l1"], atol=1e-6)
    with pytest.raises(ValueError, match="expected normal validation images, which calibrate the maps, got none"):
        trainer_of(LocalizationCallback(["ensemble_probit"], looking()), tmp_path).predict(model, images)


def test_normal_images_that_can_be_gone_through_once_calibrate_as_others_do(tested) -> None:
    _, _, _, data = tested
    batches = [{"image": data.train.images[at : at + 16]} for at in (0, 16, 32)]
    shares = []
    for normal in (batches, iter(batches)):
        localizer = Localizer(small(), ["rec_l1"])
        localizer.calibrate(normal)
        shares.append(localizer.learned.calibration["rec_l1"])
    assert shares[0].pixels.sum() == shares[1].pixels.sum() == data.train.images.numel()
    assert torch.equal(shares[0].filled, shares[1].filled)


def test_two_callbacks_cannot_log_under_one_name(tested, tmp_path: Path) -> None:
    _, model, _, data = tested
    callbacks = [LocalizationCallback(["rec_l1"]), LocalizationCallback({"rec_l1": "grad_kl"})]
    trainer = pl.Trainer(callbacks=callbacks, logger=False, accelerator="cpu", default_root_dir=tmp_path)
    with pytest.raises(ConfigError, match="two callbacks have a row rec_l1"):
        trainer.test(model, data, verbose=False)


def test_levels_are_those_of_the_data_tested_last(tmp_path: Path) -> None:
    callback, model = LocalizationCallback(["rec_l1"], looking()), small()
    trainer = trainer_of(callback, tmp_path)
    trainer.test(model, OwnData(), verbose=False)
    first = model.rec_levels.clone()
    trainer.validate(model, DataLoader(Pictures(9, 9, seed=8), batch_size=6), verbose=False)
    assert not torch.equal(model.rec_levels, first)


def test_a_dry_run_a_sanity_check_and_limits_do(tmp_path: Path) -> None:
    callback = LocalizationCallback(["rec_l1", "ensemble_probit"], looking())
    trainer = trainer_of(callback, tmp_path, fast_dev_run=True)
    model = small()
    trainer.fit(model, OwnData())
    assert {"val/rec_l1/ap", "val/elbo"} <= set(trainer.callback_metrics)
    trainer.test(model, OwnData(), verbose=False)
    assert len(callback.table()) == 2
    assert not list(tmp_path.iterdir())
    limited = trainer_of(callback, tmp_path, num_sanity_val_steps=2, limit_val_batches=2, limit_test_batches=3)
    model = small()
    limited.fit(model, OwnData())
    limited.test(model, OwnData(), verbose=False)
    val = Pictures(12, 7, seed=1)
    normal = int((~val.mask[:16].flatten(1).any(1)).sum())
    assert callback.localizer.learned.normal_scores["rec_l1"].shape == (normal,)
    assert sum(len(row.subjects) for row in callback.results().values()) == 2 * 12


def test_a_resumed_training_ends_as_one_that_was_not_interrupted(tmp_path: Path) -> None:
    def trained(epochs: int, folder: Path, checkpoint: Path | None = None) -> pd.DataFrame:
        pl.seed_everything(3, verbose=False)
        callback, model = LocalizationCallback(["rec_l1"], looking(monitor_every=1)), small()
        trainer = trainer_of(callback, folder, max_epochs=epochs)
        trainer.fit(model, OwnData(), ckpt_path=checkpoint)
        trainer.save_checkpoint(folder / "last.ckpt")
        trainer.test(model, OwnData(), verbose=False)
        return callback.table()

    trained(1, tmp_path)
    resumed = trained(2, tmp_path, tmp_path / "last.ckpt")
    assert resumed.loc["rec_l1", "auroc"] > 0.6


def test_pictures_go_to_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="", version="")
    trainer = trainer_of(LocalizationCallback(["rec_l1"], looking()), tmp_path, max_epochs=1, logger=logger)
    trainer.fit(small(), OwnData())
    logger.experiment.flush()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Tags()["images"] == ["maps"]


def test_objects_and_names_of_ones_own() -> None:
    rows = {
        "wide": Reconstruction(smooth=3.0),
        "plain": "rec_l1",
        "both": {"use": "ensemble", "members": ["wide", "plain"]},
    }
    assert LocalizationCallback(rows).suite.shown == ("wide", "plain", "both")
    assert LocalizationCallback([Reconstruction(), "grad_kl"]).suite.shown == ("reconstruction", "grad_kl")
    with pytest.raises(ConfigError, match="two rows are called reconstruction; name them"):
        LocalizationCallback([Reconstruction(), Reconstruction(smooth=1.0)])
    with pytest.raises(ConfigError, match=r"there is no predictor 'rec_11'.*rec_l1"):
        LocalizationCallback(["rec_11"])
    with pytest.raises(ConfigError, match="localization: expected a LocalizationConfig, got dict"):
        LocalizationCallback(["rec_l1"], {"fpr": 0.05})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"localization\.fpr=2"):
        LocalizationCallback(["rec_l1"], LocalizationConfig(fpr=2.0))


def test_a_test_without_an_anomalous_pixel_says_so(tested, tmp_path: Path) -> None:
    _, model, callback, data = tested
    normal = DataLoader([{"image": image, "label": 1} for image in data.test.images], batch_size=4)
    trainer = trainer_of(LocalizationCallback(like(callback), looking()), tmp_path)
    trainer.validate(model, data, verbose=False)
    with pytest.warns(UserWarning, match="test: no metric is defined, as no foreground pixel is anomalous"):
        trainer.test(model, normal, verbose=False)


class NaNs(Reconstruction):
    def score(self, evidence: Any) -> torch.Tensor:
        return super().score(evidence) * torch.nan


def test_a_map_of_nan_is_told_with_its_row_before_any_test(tmp_path: Path) -> None:
    trainer = trainer_of(LocalizationCallback({"mine": NaNs(), "rec_l1": "rec_l1"}, looking()), tmp_path)
    with pytest.raises(ValueError, match=r"predictor mine: .*NaN"):
        trainer.test(small(), OwnData(), verbose=False)


def test_a_row_that_is_none_is_told_from_one_that_is_not_calibrated(tested) -> None:
    _, _, callback, _ = tested
    with pytest.raises(ValueError, match="there is no row 'rec_l'; did you mean rec_l1"):
        callback.localizer.calibrated("rec_l", torch.zeros(1, 1, 16, 16))


class Tuples(OwnData):
    def val_dataloader(self) -> Any:
        return DataLoader([(torch.zeros(SHAPE), 0)] * 4, batch_size=2)


class WrongMasks(OwnData):
    def val_dataloader(self) -> Any:
        items = [{"image": torch.zeros(SHAPE), "mask": torch.zeros(1, 8, 8)}] * 4
        return DataLoader(items, batch_size=2)


class GreyMasks(OwnData):
    def val_dataloader(self) -> Any:
        return DataLoader([{"image": torch.zeros(SHAPE), "mask": torch.full(SHAPE, 255)}] * 4, batch_size=2)


class NothingNormal(OwnData):
    def val_dataloader(self) -> Any:
        return DataLoader(Pictures(0, 6, seed=4), batch_size=4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Tuples, r'expected a batch \{"image": floating \(B, C, H, W\), .* got list'),
        (WrongMasks, r"batch\['mask'\]: expected \[2, 1, 16, 16\], as the image's pixels, got \[2, 1, 8, 8\]"),
        (GreyMasks, r"batch\['mask'\]: expected bool or 0 and 1, got values from 255 to 255; say what counts"),
        (NothingNormal, "expected normal validation images, which calibrate the maps, got none; .*limit_val_batches"),
    ],
)
def test_a_batch_that_is_none_is_named(tmp_path: Path, data: type[OwnData], message: str) -> None:
    trainer = trainer_of(LocalizationCallback(["rec_l1"], looking()), tmp_path)
    with pytest.raises(ValueError, match=message):
        trainer.test(small(), data(), verbose=False)


def test_images_of_another_shape_than_the_models_are_named(tmp_path: Path) -> None:
    model = BetaVAE((3, 16, 16), latent=4, channels=(4, 8))
    with pytest.raises(ValueError, match=r"expected images \['B', 3, 16, 16\].*got \[16, 1, 16, 16\]"):
        trainer_of(LocalizationCallback(["rec_l1"], looking()), tmp_path, num_sanity_val_steps=0).fit(model, OwnData())


def test_a_checkpoint_loads_by_itself(tested, tmp_path: Path) -> None:
    trainer, model, callback, data = tested
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = BetaVAE.load_from_checkpoint(tmp_path / "model.ckpt")
    assert torch.equal(loaded(data.test.images), model(data.test.images))
    localizer = Localizer(loaded, like(callback))
    localizer.calibrate([{"image": data.val.images[~data.val.mask.flatten(1).any(1)]}])
    score = localizer(data.test.images)["rec_l1"]
    assert torch.equal(score, callback.localizer(data.test.images)["rec_l1"])
    assert torch.allclose(
        localizer.calibrated("rec_l1", score), callback.localizer.calibrated("rec_l1", score), atol=1e-3
    )


def table_of_a_test(devices: int, folder: Path) -> None:
    """Train for nothing, test, and write the table, in one process or several."""
    warnings.filterwarnings("ignore")
    callback, model = LocalizationCallback(PREDICTORS, looking(monitor_every=1, metrics=OWN)), small(variance="fixed")
    strategy = "ddp" if devices > 1 else "auto"
    trainer = trainer_of(callback, folder, devices=devices, strategy=strategy, max_epochs=1)
    model.lr = 0.0
    trainer.fit(model, OwnData())
    looks = {key: float(value) for key, value in trainer.callback_metrics.items() if "/rec_l1/" in key}
    assert set(looks) == {"val/rec_l1/auroc", "val/rec_l1/ap"}
    trainer.test(model, OwnData(), verbose=False)
    assert callback.table().equals(callback.table())
    table = callback.table().assign(**looks, surroundings=callback.surroundings.means()["normal_error_near"])
    results = callback.results()
    table["without_first"] = [result.without["auroc"][0] for result in results.values()]
    for at, width in enumerate(looking().smoothing):  # every width of smoothing, of rows that have a choice
        known = {
            name: result.map.tried[at].test["ap"] for name, result in results.items() if result.map and result.map.tried
        }
        table[f"tried_{width:g}"] = pd.Series(known)
    table.to_csv(folder / f"table_{devices}_{trainer.global_rank}.csv")


def test_two_processes_reach_the_numbers_of_one(tmp_path: Path) -> None:
    command = [sys.executable, __file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    table_of_a_test(1, tmp_path)
    alone, *both = (pd.read_csv(tmp_path / f"table_{name}.csv", index_col=0) for name in ("1_0", "2_0", "2_1"))
    assert set(OWN) < set(alone)
    assert alone.loc["rec_l1", "tried_2"] > 0
    for table in both:
        pd.testing.assert_frame_equal(table.filter(regex="^[^/]*$"), alone.filter(regex="^[^/]*$"), rtol=1e-5)
        pd.testing.assert_frame_equal(table.filter(like="/"), alone.filter(like="/"), atol=5e-3)  # the pivot is another


if __name__ == "__main__":
    torch.set_num_threads(1)
    table_of_a_test(2, Path(sys.argv[1]))
    leave()
