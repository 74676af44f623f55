"""How maps are finished is chosen on validation images: against maps finished by hand, and scikit-learn."""

from dataclasses import replace

import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from anomaly_bench import BetaVAE, LocalizationCallback, LocalizationConfig, Localizer
from anomaly_bench.base.errors import ConfigError
from anomaly_bench.localization.localizer import Kept
from anomaly_bench.localization.tallies.batches import completed
from anomaly_bench.localization.validation.learned import Learned
from anomaly_bench.localization.validation.variants import finished_as
from anomaly_bench.predictors import Combination, Ensemble, Intensity, Reconstruction
from tests.helpers.data.own_data import SHAPE, OwnData, Pictures

WIDTHS = [0.0, 1.0, 3.0]
ROWS = {
    "rec": Reconstruction(),
    "fixed": Reconstruction(smooth=1.5),
    "signed": Reconstruction(error="signed"),
    "combination_signed": Combination(error="signed", smooth=1.0),
    "median": Reconstruction(median=3),
    "both": Ensemble(members=["rec", "median"]),
}
SIGNS = ("positive", "negative")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def small():
    torch.manual_seed(0)
    return BetaVAE(SHAPE, beta=1.0, latent=4, channels=(4, 8), lr=3e-3).eval()


def after_test(model, rows, data, folder, **more):
    config = LocalizationConfig(**{"bits": 18, "resamples": 0, "pictures": 0, "smoothing": WIDTHS} | more)
    callback = LocalizationCallback(rows, config)
    settings = {"accelerator": "cpu", "enable_progress_bar": False, "logger": False, "default_root_dir": folder}
    pl.Trainer(callbacks=[callback], **settings).test(model, data, verbose=False)
    return callback


class Dark(OwnData):
    """The same squares, darker than what is around them."""

    def setup(self, stage):
        super().setup(stage)
        for name in ("val", "test"):
            if (part := getattr(self, name, None)) is not None and not getattr(part, "turned", False):
                part.images, part.turned = 1 - part.images, True


class Unseen(OwnData):
    """Without an anomalous image to validate on."""

    def setup(self, stage):
        super().setup(stage)
        if stage in ("fit", "validate"):
            self.val = Pictures(12, 0, seed=1)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    model, data = small(), OwnData()
    return model, data, after_test(model, ROWS, data, tmp_path_factory.mktemp("chosen"))


def by_hand(model, predictor, part):
    scores = Localizer(model, {"row": predictor})(part.images)["row"].flatten()
    return {
        "auroc": roc_auc_score(part.mask.flatten(), scores),
        "ap": average_precision_score(part.mask.flatten(), scores),
    }


def test_every_width_has_the_figures_that_scikit_learn_gives_and_validation_chooses(chosen):
    model, data, callback = chosen
    results = callback.results()
    for name in ("rec", "median", "signed"):
        choice, sign = results[name].map, results[name].map.sign
        assert [row.smooth for row in choice.tried] == WIDTHS
        for row in choice.tried:
            predictor = replace(ROWS[name], smooth=row.smooth, **({"error": sign} if sign else {}))
            for part, found in ((data.val, row.validation), (data.test, row.test)):
                assert set(found) == {"auroc", "ap", "dice_oracle", "aupro"}
                for metric, expected in by_hand(model, predictor, part).items():
                    assert found[metric] == pytest.approx(expected, abs=2e-3), (name, row.smooth)
        best = max(choice.tried, key=lambda row: row.validation["ap"])
        assert (choice.smooth, choice.smooth_by) == (best.smooth, "validation")
        assert results[name].test["ap"].value == pytest.approx(best.test["ap"], abs=1e-6)
        assert results[name].validation["ap"].value == pytest.approx(best.validation["ap"], abs=1e-6)
    assert results["rec"].map.smooth > 0


def test_a_width_of_the_config_is_kept_and_an_ensemble_has_none_of_its_own(chosen):
    _, _, callback = chosen
    fixed = callback.results()["fixed"].map
    assert (fixed.smooth, fixed.smooth_by, fixed.sign, fixed.tried) == (1.5, "config", None, [])
    assert callback.results()["both"].map is None


@pytest.mark.parametrize(("kind", "sign"), [(OwnData, "positive"), (Dark, "negative")])
def test_a_sign_is_the_one_of_the_higher_average_precision_on_validation(kind, sign, tmp_path):
    model, data = small(), kind()
    rows = {name: ROWS[name] for name in ("signed", "combination_signed")}
    results = after_test(model, rows, data, tmp_path).results()
    for name, row in rows.items():
        choice = results[name].map
        settled = {each: replace(row, error=each, smooth=choice.smooth) for each in SIGNS}
        reached = {each: by_hand(model, one, data.val)["ap"] for each, one in settled.items()}
        assert choice.sign == max(reached, key=reached.get)
        assert choice.sign_by == "validation"
    assert results["signed"].map.sign == sign


def test_a_polarity_decides_the_sign_before_any_image_is_seen():
    localizer, data = Localizer(small(), {"signed": ROWS["signed"]}), OwnData()
    data.setup("validate")
    localizer.calibrate([{"image": data.val.images}], polarity="dark")
    choice = localizer.learned.finishing["signed"]
    assert (choice.sign, choice.sign_by, choice.smooth, choice.smooth_by) == ("negative", "dataset", 0.5, "size")
    expected = Localizer(localizer.model, {"row": Reconstruction(error="negative", smooth=0.5)})(data.val.images)["row"]
    assert torch.equal(localizer(data.val.images)["signed"], expected)


def test_a_sign_without_grounds_is_refused_and_says_what_to_do():
    localizer, data = Localizer(small(), {"mine": ROWS["signed"]}), OwnData()
    data.setup("validate")
    with pytest.raises(ConfigError, match=r"error=signed: which sign .*error=positive or error=negative.*anomalous"):
        localizer(data.val.images)
    with pytest.raises(
        ConfigError, match=r"predictors\.members\.mine: error=signed needs anomalous.*dataset\.polarity"
    ):
        localizer.calibrate([{"image": data.val.images}])


def test_without_an_anomalous_image_the_width_goes_by_the_images_size_and_all_are_measured(tmp_path):
    results = after_test(small(), {"rec": ROWS["rec"]}, Unseen(), tmp_path).results()
    choice = results["rec"].map
    assert (choice.smooth, choice.smooth_by) == (16 / 32, "size")
    assert [row.smooth for row in choice.tried] == [0.0, 0.5, 1.0, 3.0]
    assert all(row.validation["ap"] is None and row.test["ap"] is not None for row in choice.tried)


def test_a_single_width_to_choose_from_is_the_configs(tmp_path):
    choice = after_test(small(), {"rec": ROWS["rec"]}, OwnData(), tmp_path, smoothing=[2.0]).results()["rec"].map
    assert (choice.smooth, choice.smooth_by, choice.tried) == (2.0, "config", [])


def test_what_was_chosen_is_kept_with_the_run(chosen, tmp_path):
    model, data, callback = chosen
    callback.localizer.learned.write(tmp_path / "calibration.npz")
    loaded = Localizer(model, ROWS)
    loaded.learned = Learned.read(tmp_path / "calibration.npz")
    loaded.suite = finished_as(loaded.suite, loaded.learned.finishing)
    before, after = callback.localizer(data.test.images), loaded(data.test.images)
    assert before.keys() == after.keys() == ROWS.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert loaded.learned.finishing["rec"].smooth == callback.results()["rec"].map.smooth


def test_an_intensity_map_is_smoothed_like_the_others(tmp_path):
    results = after_test(small(), {"intensity": Intensity()}, OwnData(), tmp_path).results()
    assert results["intensity"].map.smooth_by == "validation"


def test_images_that_come_again_before_a_test_are_localized_once(monkeypatch):
    met = []
    unfinished = Reconstruction.unfinished
    monkeypatch.setattr(Reconstruction, "unfinished", lambda self, given: met.append(1) or unfinished(self, given))
    images = Pictures(6, 0, seed=1).images
    localizer = Localizer(small(), {"rec": Reconstruction()})
    batches = [{"image": images[:3]}, {"image": images[3:]}, {"image": images[3:], "foreground": images[3:, :1] > 0.5}]
    with localizer.remembering():
        localizer.calibrate(batches)
        seen = [localizer.maps(completed(batch))["rec"][0] for batch in batches]
    assert len(met) == 3, "the third has other pixels that count"
    again = [localizer.maps(completed(batch))["rec"][0] for batch in batches]
    assert len(met) == 6, "nothing is kept afterwards"
    for one, other in zip(seen, again, strict=True):
        assert torch.equal(one, other)
    kept = Kept(limit=0)
    with localizer.evidence(completed(batches[0])) as evidence:
        for _ in range(2):
            kept.get(evidence, ["rec"], localizer.suite.unfinished)
    assert len(met) == 8, "what has no room is localized again"
