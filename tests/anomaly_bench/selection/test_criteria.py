"""Criteria of normal images against closed forms and other libraries."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score
from small_vae import images, trained

from anomaly_bench.config.schema import SelectionConfig
from anomaly_bench.localization import Localizer
from anomaly_bench.localization.tallies.batches import completed
from anomaly_bench.models import AE
from anomaly_bench.selection.criteria import (
    bounds,
    consistency,
    false_positives,
    fingerprint,
    localized,
    rank_correlation,
)
from anomaly_bench.selection.select import select
from leaderboard.record import CRITERIA, FINGERPRINT


def batch(count=6):
    torch.manual_seed(1)
    return completed({"image": images(count)})


def identity(batch):
    return {"brightness": (batch["image"].mean(1, keepdim=True), 0.0)}


def column(batch):
    return {"column": (torch.arange(32.0).expand(len(batch["image"]), 1, 32, 32), 0.0)}


def test_bounds_lie_below_each_other_and_below_a_many_times_sampled_one():
    model, pictures = trained(), batch()["image"]
    few, many = bounds(model, pictures, draws=2), bounds(model, pictures, draws=100)
    assert few["elbo"] < few["iwae"] < many["iwae"]
    rec, kl = (
        sum(parts) / 100 for parts in zip(*(model.terms(pictures, sample=True) for _ in range(100)), strict=True)
    )
    assert many["elbo"] == pytest.approx(float(-(rec + kl).mean()), rel=0.01)
    assert bounds(model, pictures) == bounds(model, pictures), "seeded"


def test_an_autoencoder_has_no_bound():
    assert bounds(AE((2, 32, 32), latent=4, channels=(4,)), batch()["image"]) == {}


def test_a_model_whose_posterior_is_the_prior_has_equal_bounds():
    """Where z tells nothing of x, every importance weight is p(x)."""
    model = trained()
    flat = type(model)((2, 32, 32), latent=4, channels=(4,), beta=1.0)
    for parameter in flat.parameters():
        torch.nn.init.zeros_(parameter)
    found = bounds(flat, batch()["image"])
    assert found["elbo"] == pytest.approx(found["iwae"], rel=1e-9)


def test_pasted_anomalies_are_scored_as_scikit_learn_does():
    torch.manual_seed(0)
    pasted = completed({"image": images(3), "mask": torch.rand(3, 1, 32, 32) < 0.1})
    score = torch.rand(3, 1, 32, 32) + 0.3 * pasted["mask"]
    found = localized({"row": score}, pasted)["row"]
    truth, values = pasted["mask"].flatten().numpy(), score.flatten().numpy()
    assert found["synthetic_auroc"] == pytest.approx(roc_auc_score(truth, values), abs=1e-3)
    assert found["synthetic_ap"] == pytest.approx(average_precision_score(truth, values), abs=2e-3)


def test_the_mass_of_false_positives_has_no_scale_and_grows_with_the_tail():
    torch.manual_seed(0)
    everywhere = torch.ones(40, 1, 64, 64, dtype=torch.bool)
    light = torch.randn(40, 1, 64, 64)
    exponential = -torch.rand(40, 1, 64, 64).log()
    assert false_positives(light, everywhere, 0.01) == pytest.approx(false_positives(5 * light - 7, everywhere, 0.01))
    # of an exponential the mean excess is 1, and the quantiles are known
    assert false_positives(exponential, everywhere, 0.01) == pytest.approx(-1 / math.log(50), rel=0.1)
    assert false_positives(exponential, everywhere, 0.01) < false_positives(light, everywhere, 0.01)
    assert false_positives(torch.zeros(1, 1, 4, 4), everywhere[:1, :, :4, :4], 0.01) is None
    assert false_positives(light[:1], torch.zeros(1, 1, 64, 64, dtype=torch.bool), 0.01) is None


def test_maps_that_follow_the_image_are_consistent_and_those_that_do_not_are_not():
    normal = batch()
    of_image, of_place = ({name: score for name, (score, _) in maps(normal).items()} for maps in (identity, column))
    assert consistency(identity, normal, of_image) == {"brightness": pytest.approx(1.0)}
    # the mirror image of a ramp has a correlation of -1 with it; shifted or brighter copies, of 1
    assert consistency(column, normal, of_place) == {"column": pytest.approx(1 / 3)}
    flat = {"flat": torch.zeros(6, 1, 32, 32)}
    assert consistency(lambda batch: {"flat": (flat["flat"], 0.0)}, normal, flat) == {"flat": None}


def test_rank_correlation_is_spearman_s():
    random = np.random.default_rng(0)
    a, b = (torch.from_numpy(random.integers(0, 9, 50)) for _ in range(2))
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert math.isnan(rank_correlation(a, torch.zeros(50)))


def test_fingerprints_are_ranks_of_the_same_pixels():
    score = torch.arange(4 * 32 * 32.0).view(4, 1, 32, 32)
    everywhere = torch.ones_like(score, dtype=torch.bool)
    found = fingerprint(score, everywhere)
    assert len(found) == FINGERPRINT
    assert found == sorted(found)
    assert (found[0], found[-1]) == (0, 255)
    assert fingerprint(-score, everywhere) == found[::-1]
    assert len(fingerprint(score[:1, :, :2, :2], everywhere[:1, :, :2, :2])) == 4


def test_a_run_records_what_its_config_names_and_nothing_else():
    localizer = Localizer(trained(), ["rec_l1", "grad_kl"])
    localizer.calibrate([batch(16)])
    names = list(CRITERIA)
    found = select(localizer.model, localizer.maps, [batch(16)], SelectionConfig(names, images=8), 0.01)
    assert found.criteria.keys() == found.fingerprints.keys() == {"rec_l1", "grad_kl"}
    for row in found.criteria.values():
        assert row.keys() == set(CRITERIA) - {"stability"}
        assert None not in row.values()
    assert found.criteria["rec_l1"]["elbo"] == found.criteria["grad_kl"]["elbo"]
    assert found.criteria["rec_l1"]["synthetic_ap"] != found.criteria["grad_kl"]["synthetic_ap"]
    one = select(localizer.model, localizer.maps, [batch(16)], SelectionConfig(["iwae"], images=8), 0.01)
    assert one.criteria["rec_l1"].keys() == {"iwae"}
    assert one.fingerprints == {}
    nothing = select(localizer.model, localizer.maps, [batch(16)], SelectionConfig([]), 0.01)
    assert nothing.criteria == nothing.fingerprints == {}
