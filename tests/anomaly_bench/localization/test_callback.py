"""The callback against a literal recomputation of what it is meant to do."""

import numpy as np
import pytest
import torch
from PIL import Image
from small_vae import images, trained

from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.load import load_config
from anomaly_bench.localization.tally import MAX_GROUPS, NotANumberError, Tally, groups_of
from anomaly_bench.metrics import LocalizationCurve, find_regions
from anomaly_bench.models import build_model
from anomaly_bench.pictures.choice import Cases
from anomaly_bench.pictures.model import model_pictures
from anomaly_bench.pictures.panels import GAP, HEADER, MARGIN, TILE, Sample, draw_model
from anomaly_bench.predictors import build_suite
from anomaly_bench.predictors.evidence import Evidence, frozen
from anomaly_bench.runs.data import build_data
from anomaly_bench.runs.run import run


@pytest.mark.slow
def test_dice_uses_the_threshold_of_normal_validation_pixels(pictures_run, tmp_path):
    config = load_config([*pictures_run, "localization.fpr=0.05", "localization.bits=20"])
    result = run(config)
    data, suite = build_data(config, Reporter()), build_suite(config.predictors)
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
    members = "{a:{use:intensity},b:{use:reconstruction},e:{use:ensemble,members:[a,b]}}"
    config = load_config([*pictures_run, f"predictors.members={members}"])
    result = run(config)
    assert {"a", "b", "e"} <= set(result.predictors)
    data, suite = build_data(config, Reporter()), build_suite(config.predictors)
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


def wanted_by_batches(cases, flags, size):
    """What is shown in the end of images that pass by in batches, by position."""
    for first in range(0, len(flags), size):
        mask = flags[first : first + size, None, None, None].expand(-1, 1, 2, 2)
        batch = {"mask": mask, "foreground": torch.ones_like(mask)}
        chosen = cases.wanted(torch.zeros(mask.shape), batch, first)
        cases.add(first, chosen, [Sample(str(first + at), *[torch.zeros(1)] * 3, {}) for at in chosen])
    return [int(sample.caption) for sample in cases.samples()]


def test_pictures_are_of_anomalous_images_spread_over_the_set():
    flags = torch.tensor([False, True, True, False, True, True, True])
    assert wanted_by_batches(Cases(2), flags, 3) == [1, 6]
    assert wanted_by_batches(Cases(10), flags, 7) == [1, 2, 4, 5, 6]
    assert wanted_by_batches(Cases(0), flags, 7) == []
    assert wanted_by_batches(Cases(2), torch.ones(100, dtype=torch.bool), 9) == [0, 64]


def test_pictures_are_of_the_best_and_the_worst_cases_and_of_some_between():
    from sklearn.metrics import average_precision_score

    generator = torch.Generator().manual_seed(0)
    flags = torch.arange(40) % 4 > 0
    mask = (torch.rand(40, 1, 6, 6, generator=generator) < 0.2) & flags[:, None, None, None]
    foreground = torch.rand(40, 1, 6, 6, generator=generator) < 0.8
    contrast = torch.linspace(-1, 1, 40)[torch.randperm(40, generator=generator)]
    score = torch.rand(40, 1, 6, 6, generator=generator) + mask * contrast[:, None, None, None]
    cases, held = Cases(9), 0
    for first in range(0, 40, 7):
        part = slice(first, first + 7)
        chosen = cases.wanted(score[part], {"mask": mask[part], "foreground": foreground[part]}, first)
        cases.add(first, chosen, [Sample(str(first + at), *[torch.zeros(1)] * 3, {}) for at in chosen])
        held = max(held, len(cases._samples))
    shown = [int(sample.caption) for sample in cases.samples()]
    precision = {
        at: average_precision_score(mask[at][foreground[at]], score[at][foreground[at]])
        for at in range(40)
        if (mask[at] & foreground[at]).any()
    }
    order = sorted(precision, key=precision.__getitem__)
    extremes = {*order[:3], *order[-3:]}
    assert shown == sorted(shown)
    assert len(shown) == 9
    assert held <= 18
    assert extremes < set(shown)
    between = sorted(set(shown) - extremes)
    assert len(between) == 3
    assert flags[between].all()
    assert between[-1] - between[0] > 12


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


def test_the_models_picture_shows_its_reconstructions_and_samples_of_its_prior(tmp_path):
    model, batch, state = trained(), images(2), torch.get_rng_state()
    mask = torch.zeros(32, 32, dtype=torch.bool)
    draw_model([Sample("one", image, mask, image, {}) for image in batch], model, tmp_path)
    assert torch.equal(state, torch.get_rng_state())
    drawn = np.asarray(Image.open(tmp_path / "model.png"))
    for column, shown in enumerate((batch, *model_pictures(model, batch, 2).values())):
        for row, one in enumerate(shown):
            top, left = MARGIN + HEADER + row * (TILE + HEADER), MARGIN + column * (TILE + GAP)
            expected = (one.mean(0).clamp(0, 1) * 255).byte()
            tile = drawn[top : top + TILE, left : left + TILE, 0]
            assert np.array_equal(
                tile, np.asarray(Image.fromarray(expected.numpy()).resize((TILE, TILE), Image.Resampling.NEAREST))
            )
    draw_model([], model, tmp_path / "none")
    assert not (tmp_path / "none").exists()
