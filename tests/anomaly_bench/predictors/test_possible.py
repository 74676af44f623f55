"""Which rows a model can have."""

import itertools
from functools import cache

import pytest
import torch

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.load import load_config
from anomaly_bench.models import AE, NETWORKS, VAE
from anomaly_bench.models.networks import VOLUMES
from anomaly_bench.predictors import (
    Combination,
    Ensemble,
    Gradient,
    Reconstruction,
    SubsetSearch,
    build_suite,
    suite_of,
)
from anomaly_bench.predictors.evidence import Evidence, frozen
from anomaly_bench.predictors.possible import possible

SHAPE, SMALL = (1, 16, 16), {"latent": 3, "channels": (4, 4)}
SILENT = {"grad_kl", "combination", "combination_sum", "grad_kl_smoothgrad", "latent_variance", "combination_signed"}
LEVELS = {"grad_kl_level1", "grad_kl_level2", "latent_kl_level2"}
SILENT |= {*LEVELS, "latent_kl"}


@cache
def extended():
    return build_suite(load_config(["predictors=extended"]).predictors)


def test_an_autoencoder_loses_what_says_nothing_with_it_and_what_it_would_say_twice():
    suite, left_out = possible(extended(), AE(SHAPE, **SMALL))
    same = {"grad_elbo": "grad_rec", "rec_l1_sampled": "rec_l1", "rec_weighted": "rec_l2"}
    assert set(left_out) == SILENT | set(same)
    assert all(left_out[name] == f"ranks as {kept} with this model" for name, kept in same.items())
    assert "no KL divergence" in left_out["grad_kl"]
    assert "no posterior to sample" in left_out["latent_variance"]
    assert "ensemble_probit goes without it" in left_out["combination"]
    assert "combination" not in suite.ensembles["ensemble_probit"].members
    assert "combination" not in suite.searches["best_subset"].members
    assert "grad_elbo" in suite.single  # a member still
    assert not SILENT & {*suite.single, *suite.shown}


def test_what_is_left_out_is_silent_or_ranks_as_the_row_that_is_kept():
    model, batch = AE(SHAPE, **SMALL), torch.rand(2, *SHAPE)
    every = extended()
    _, left_out = possible(every, model)
    foreground = torch.ones_like(batch, dtype=torch.bool)
    with frozen(model):  # smoothing leaves constants constant, and equal maps equal
        maps = every.unfinished(Evidence(model, batch, foreground), [*left_out, "rec_l1", "rec_l2", "grad_rec"])
    for name in SILENT - {"combination_sum"}:  # that one is the reconstruction error alone
        assert maps[name][0].amax() == maps[name][0].amin() == 0
    for name in set(left_out) - SILENT:
        kept = left_out[name].split()[2]
        assert torch.equal(*(maps[row][0].flatten(1).argsort(stable=True) for row in (name, kept))), name


def test_a_vae_has_all_but_one_of_two_that_rank_alike():
    everything, left_out = possible(extended(), VAE(SHAPE, **SMALL))
    assert set(left_out) == {"rec_weighted", "latent_kl", *LEVELS}
    assert {"grad_elbo", "grad_kl", "latent_variance"} <= set(everything.shown)
    for likelihood in ({"variance": "pixel"}, {"likelihood": "bernoulli"}):
        assert set(possible(extended(), VAE(SHAPE, **likelihood, **SMALL))[1]) == {"latent_kl", *LEVELS}


@pytest.mark.parametrize("spatial", [False, True])
@pytest.mark.parametrize("network", [name for name in NETWORKS if name != "bergmann"])
def test_rows_of_levels_and_of_places_go_with_latents_that_have_them(network, spatial):
    arguments = {"network": network, "spatial": spatial, "patch": 4, "variance": "pixel", **SMALL}
    shape = (SHAPE[0], 2, *SHAPE[1:]) if network in VOLUMES else SHAPE
    left_out = possible(extended(), VAE(shape, **arguments))[1]
    no_levels = LEVELS if network != "hierarchical" else set() if spatial else {"latent_kl_level2"}
    assert set(left_out) == no_levels | (set() if spatial else {"latent_kl"})
    if network != "hierarchical":
        assert left_out["grad_kl_level2"] == "the model's latents have 1 level; model.network=hierarchical has 2"
    assert ("model.spatial=true" in left_out.get("latent_kl", "")) is not spatial


@pytest.mark.parametrize("name", ["grad_kl", "combination", "latent_variance"])
def test_a_row_that_is_named_is_refused_with_the_reason(name):
    config = load_config(["predictors=extended", f"predictors.only=[rec_l1,{name}]"]).predictors
    with pytest.raises(
        ConfigError, match=rf"predictors\.only: {name} says nothing here: an autoencoder has no .*model=vae"
    ):
        possible(build_suite(config), AE(SHAPE, **SMALL), config.only)
    assert possible(build_suite(config), VAE(SHAPE, **SMALL), config.only)[1] == {}


def test_an_ensemble_of_fewer_than_two_goes_too():
    rows = {"a": Reconstruction(), "b": Gradient(of="kl"), "e": Ensemble(["a", "b"]), "s": SubsetSearch(["b", "a"])}
    suite, left_out = possible(suite_of(rows), AE(SHAPE, **SMALL))
    assert suite.shown == ("a",)
    assert set(left_out) == {"b", "e", "s"}
    with pytest.raises(ConfigError, match=r"predictors\.only: e says nothing here: fewer than two of its members"):
        possible(suite_of(rows), AE(SHAPE, **SMALL), ["e"])
    with pytest.raises(ConfigError, match="no row is left with this model: kl: an autoencoder"):
        possible(suite_of({"kl": Gradient(of="kl")}), AE(SHAPE, **SMALL))


def test_a_sign_that_nothing_will_decide_leaves_a_row_out_or_refuses_it_by_name():
    rows = {"a": Reconstruction(), "b": Reconstruction(error="signed"), "c": Combination(error="positive")}
    assert set(possible(suite_of(rows), VAE(SHAPE, **SMALL), sign_known=False)[1]) == {"b"}
    assert possible(suite_of(rows), VAE(SHAPE, **SMALL), ["b"])[1] == {}
    with pytest.raises(
        ConfigError, match=r"b says nothing here: neither dataset\.polarity nor an anomalous validation"
    ):
        possible(suite_of(rows), VAE(SHAPE, **SMALL), ["b"], sign_known=False)


def test_the_order_of_rows_decides_nothing():
    rows = {
        "l2": Reconstruction(error="l2"),
        "w": Reconstruction(error="weighted"),
        "x": Reconstruction(error="weighted"),
    }
    for order in itertools.permutations(rows):
        suite, left_out = possible(suite_of({name: rows[name] for name in order}), VAE(SHAPE, **SMALL))
        assert suite.shown == ("l2",)
        assert left_out == dict.fromkeys(("w", "x"), "ranks as l2 with this model")
