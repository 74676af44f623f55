"""The callback against a literal recomputation of what it is meant to do."""

import pytest
import torch

from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.load import load_config
from anomaly_bench.localization import Localizer
from anomaly_bench.localization.tallies.tally import MAX_GROUPS, NotANumberError, Tally, groups_of
from anomaly_bench.metrics import LocalizationCurve, find_regions
from anomaly_bench.models import build_model
from anomaly_bench.predictors.evidence import Evidence, frozen
from anomaly_bench.runs.data import build_data
from anomaly_bench.runs.run import run


@pytest.mark.slow
def test_dice_uses_the_threshold_of_normal_validation_pixels(pictures_run, tmp_path):
    config = load_config([*pictures_run, "localization.fpr=0.05", "localization.bits=20"])
    result = run(config)
    data, suite = build_data(config, Reporter()), Localizer.load(next(tmp_path.glob("runs/*"))).suite
    model = build_model(config.model, data.image_shape)
    model.load_state_dict(torch.load(next(tmp_path.glob("runs/*/model.ckpt")), weights_only=True)["state_dict"])

    def scores(loader, name):
        parts, masks = [], []
        for batch in loader:
            with frozen(model):
                parts.append(suite.maps(Evidence(model, batch["image"], batch["foreground"]), [name])[name][0])
            masks.append(batch["mask"])
        return torch.cat(parts).flatten(), torch.cat(masks).flatten()

    normal, _ = scores(data.val_dataloader()[0], "rec_l1")
    test, mask = scores(data.test_dataloader(), "rec_l1")
    threshold = normal.sort(descending=True).values[int(0.05 * len(normal))]
    called = test > threshold
    dice = 2 * (called & mask).sum() / (called.sum() + mask.sum())
    assert result.predictors["rec_l1"].test["dice"].value == pytest.approx(dice.item(), abs=0.01)


@pytest.mark.slow
def test_the_ensembles_map_is_the_mean_share_of_normal_pixels_that_score_lower(pictures_run, tmp_path):
    members = "{a:{use:intensity},b:{use:reconstruction},e:{use:ensemble,how:mean,members:[a,b]}}"
    config = load_config([*pictures_run, f"predictors.members={members}"])
    result = run(config)
    assert {"a", "b", "e"} <= set(result.predictors)
    data, suite = build_data(config, Reporter()), Localizer.load(next(tmp_path.glob("runs/*"))).suite
    model = build_model(config.model, data.image_shape)
    model.load_state_dict(torch.load(next(tmp_path.glob("runs/*/model.ckpt")), weights_only=True)["state_dict"])

    def scores(loader, name):
        out = []
        for batch in loader:
            with frozen(model):
                out.append(suite.maps(Evidence(model, batch["image"], batch["foreground"]), [name])[name][0])
        return torch.cat(out).flatten()

    shares = []
    for name in ("a", "b"):
        normal, test = scores(data.val_dataloader()[0], name).sort().values, scores(data.test_dataloader(), name)
        shares.append(
            (torch.searchsorted(normal, test) + torch.searchsorted(normal, test, right=True)) / 2 / len(normal)
        )
    from sklearn.metrics import roc_auc_score

    mask = torch.cat([batch["mask"].flatten() for batch in data.test_dataloader()])
    expected = roc_auc_score(mask, sum(shares) / 2)
    assert result.predictors["e"].test["auroc"].value == pytest.approx(expected, abs=2e-3)


def test_nan_in_a_map_names_predictor_subject_and_slice():
    tally = Tally("mine", LocalizationCurve(10), 0.01)
    score = torch.rand(2, 1, 4, 4)
    score[1, 0, 2, 2] = float("nan")
    ones = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    batch = {"mask": ~ones, "foreground": ones, "region_weight": torch.zeros(2, 1, 4, 4)}
    batch |= {"subject": torch.tensor([3, 7]), "slice": torch.tensor([0, 5]), "image": score}
    with pytest.raises(NotANumberError, match="predictor mine: its map of subject 7, slice 5 holds NaN"):
        tally.update(score, 0.0, batch, None)


def test_groups_are_the_values_of_an_attribute_and_have_metrics_of_their_own():
    tally = Tally("mine", LocalizationCurve(12, pivot=0.0), 0.5, threshold=2**11, per_subject=True)
    mask = torch.zeros(4, 1, 4, 4, dtype=torch.bool)
    mask[[1, 3], :, 0] = True
    score = mask.float()
    score[3] = 1 - score[3]  # category b is ranked the wrong way round
    batch = {"mask": mask, "foreground": torch.ones_like(mask), "region_weight": mask / 4.0, "image": score}
    batch |= {"subject": torch.arange(4), "slice": torch.zeros(4, dtype=torch.int64)}
    tally.update(score, 0.0, batch, find_regions(mask))
    attributes = [{"category": name, "age": str(at)} for at, name in enumerate("aabb")]
    result = tally.result({}, dict(enumerate("wxyz")), dict(enumerate(attributes)), resamples=0)
    assert sorted(result.groups) == ["age", "category"]
    assert result.groups["category"]["a"]["auroc"].value == 1.0
    assert result.groups["category"]["b"]["auroc"].value < 0.4
    assert result.groups["category"]["a"]["image_auroc"].value == 1.0
    assert [row.attributes for row in result.subjects] == attributes
    assert sum(row.lesions for row in result.lesions) == 2


def test_only_a_category_may_have_very_many_values():
    attributes = [{"category": str(at), "age": str(at), "site": "one"} for at in range(MAX_GROUPS + 1)]
    assert list(groups_of(range(MAX_GROUPS + 1), dict(enumerate(attributes)))) == ["category"]
    assert list(groups_of(range(3), dict(enumerate(attributes)))) == ["category", "age"]
