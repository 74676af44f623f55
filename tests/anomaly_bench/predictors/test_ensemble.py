"""Ensembles over predictors and seeds, and the search for the best subset of members."""

import itertools
import weakref

import numpy as np
import pytest
import torch
from scipy.stats import gmean, norm
from sklearn.metrics import average_precision_score

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.predictors import Ensemble, PixelSample, SeedEnsemble, best_subset
from anomaly_bench.predictors.ensemble import combine
from anomaly_bench.predictors.subset_search import average_precision

WAYS = {"probit": np.mean, "mean": np.mean, "product": gmean, "max": np.max}


@pytest.mark.parametrize(
    ("how", "expected"), [("mean", 0.525), ("product", 0.2**0.5), ("max", 0.8), ("probit", 0.525), ("tail", 0.525)]
)
def test_ensembles_combine_calibrated_maps(how, expected):
    members = [torch.full((1, 1, 2, 2), 0.25), torch.full((1, 1, 2, 2), 0.8)]
    value = Ensemble(["a", "b"], how).combine(members)
    assert torch.allclose(value, torch.full((1, 1, 2, 2), expected))


@pytest.mark.parametrize("how", WAYS)
def test_a_seed_ensemble_combines_each_predictors_maps_and_holds_one_models_at_a_time(how):
    models = [{name: (torch.rand(2, 1, 4, 4), 0.5) for name in ("rec", "grad")} for _ in range(3)]
    alive = []

    def lazily():
        for maps in models:
            alive.append(len([one for one in held if one() is not None]))
            fresh = {name: (score.clone(), seconds) for name, (score, seconds) in maps.items()}
            held.append(weakref.ref(fresh["rec"][0]))
            yield fresh

    held = []
    found = SeedEnsemble(how).maps(lazily())
    for name in ("rec", "grad"):
        expected = WAYS[how](np.stack([maps[name][0] for maps in models]), axis=0)
        assert np.allclose(found[name][0], expected, atol=1e-6)
        assert found[name][1] == 1.5
    assert max(alive) <= 2


def test_a_seed_ensemble_needs_several_models_with_the_same_predictors():
    maps = {"rec": (torch.rand(1, 1, 2, 2), 0.1)}
    with pytest.raises(ValueError, match="at least two models, got 1"):
        SeedEnsemble().maps([maps])
    with pytest.raises(ValueError, match="expected maps of rec from every model, got grad"):
        SeedEnsemble().maps([maps, {"grad": maps["rec"]}])
    with pytest.raises(ConfigError, match="how=median: expected one of probit, mean, product, max, tail"):
        SeedEnsemble("median")


def batches(count=4, members=4):
    """Calibrated maps of members that see the anomalous pixels more or less well, the last one not at all."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        mask = torch.rand(2, 1, 12, 12, generator=generator) < 0.1
        foreground = torch.rand(2, 1, 12, 12, generator=generator) < 0.8
        noise = torch.rand(members, 2, 1, 12, 12, generator=generator)
        pull = torch.linspace(0.7, 0, members).view(-1, 1, 1, 1, 1)
        yield dict(zip("abcdefghijklmnop", noise + pull * (1 - noise) * mask, strict=False)), mask, foreground


def calibrate(name, scores, scale):
    """Of scores that are shares already."""
    return {"share": scores, "probit": torch.special.ndtri(scores.double())}[scale]


def sample_of(size, **kwargs):
    sample = PixelSample(size, seed=1)
    for maps_, mask, foreground in batches(**kwargs):
        sample.update(maps_, mask, foreground)
    return sample


def test_a_sample_that_is_large_enough_holds_every_foreground_pixel_with_its_scores():
    scores, labels, weights = sample_of(10_000).pixels()
    expected = set()
    for maps_, mask, foreground in batches():
        rows = torch.stack([maps_[name][foreground] for name in "abcd"], dim=1)
        expected |= {(*row, label) for row, label in zip(rows.tolist(), mask[foreground].tolist(), strict=True)}
    assert {(*row, label) for row, label in zip(scores.tolist(), labels.tolist(), strict=True)} == expected
    assert (weights == 1).all()


def test_a_small_sample_is_uniform_over_batches_stands_for_all_pixels_and_is_the_same_again():
    everything, small = sample_of(10_000, count=40).pixels(), sample_of(300, count=40).pixels()
    assert small[1].sum() == 300
    assert (~small[1]).sum() == 300
    for label in (False, True):
        inside = everything[1] == label
        assert small[2][small[1] == label].sum().item() == pytest.approx(inside.sum().item())
        means = [scores[labels == label].mean(dim=0) for scores, labels, _ in (everything, small)]
        assert torch.allclose(*means, atol=0.06)
    again = sample_of(300, count=40).pixels()
    assert all(torch.equal(one, other) for one, other in zip(small, again, strict=True))


def test_a_sample_refuses_other_members():
    sample = sample_of(10)
    with pytest.raises(ValueError, match="expected maps of a, b, c, d, got a"):
        sample.update({"a": torch.zeros(1, 1, 2, 2)}, *torch.zeros(2, 1, 1, 2, 2, dtype=torch.bool))


def test_average_precision_is_that_of_scikit_learn_with_ties_and_weights():
    generator = torch.Generator().manual_seed(0)
    scores = (torch.rand(500, generator=generator) * 40).round() / 40
    labels = torch.rand(500, generator=generator) < scores
    weights = torch.rand(500, generator=generator).double() + 0.5
    expected = average_precision_score(labels, scores, sample_weight=weights)
    assert average_precision(scores, labels, weights) == pytest.approx(expected)


def test_all_subsets_are_searched_and_the_best_one_is_chosen():
    sample = sample_of(100)
    scores, labels, weights = sample.pixels()
    reached = {}
    for size in (2, 3, 4):
        for subset, how in itertools.product(itertools.combinations(range(4), size), WAYS):
            members = scores[:, list(subset)].numpy()
            combined = WAYS[how](norm.ppf(members) if how == "probit" else members, axis=1)
            names = tuple("abcd"[at] for at in subset)
            reached[names, how] = average_precision_score(labels, combined, sample_weight=weights)
    choice = best_subset(sample, calibrate)
    assert choice.ap == pytest.approx(max(reached.values()))
    assert reached[choice.members, choice.how] == pytest.approx(choice.ap)
    assert "d" not in choice.members
    assert choice.tried == len(reached)
    only = best_subset(sample, calibrate, ways=["max"])
    assert only.how == "max"
    assert only.ap == pytest.approx(max(value for (_, how), value in reached.items() if how == "max"))


def test_the_greedy_search_starts_from_the_best_pair_and_only_adds_what_helps():
    sample = sample_of(200, members=6)
    scores, labels, weights = sample.pixels()

    def value(subset):
        return average_precision(combine([scores[:, at] for at in subset], "mean"), labels, weights)

    chosen = max(itertools.combinations(range(6), 2), key=value)
    while len(chosen) < 6:
        longer = max(((*chosen, at) for at in range(6) if at not in chosen), key=value)
        if value(longer) <= value(chosen):
            break
        chosen = longer
    found = best_subset(sample, calibrate, ways=["mean"], exhaustive=5)
    assert found.members == tuple("abcdef"[at] for at in chosen)
    assert found.ap == pytest.approx(value(chosen))
    assert found.ap <= best_subset(sample, calibrate, ways=["mean"]).ap + 1e-12
    assert found.tried >= 15 + 4


def test_a_search_without_anomalous_pixels_or_members_says_so():
    with pytest.raises(ValueError, match="at least two members to choose from, got 0"):
        best_subset(PixelSample(), calibrate)
    sample = PixelSample()
    ones = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    sample.update({"a": torch.rand(1, 1, 4, 4), "b": torch.rand(1, 1, 4, 4)}, ~ones, ones)
    with pytest.raises(ValueError, match="there are none of one kind"):
        best_subset(sample, calibrate)
