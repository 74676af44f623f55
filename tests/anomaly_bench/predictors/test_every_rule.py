"""What must hold for every predictor: each registered one, and each row of every shipped config, found by themselves."""

import math
import re
from dataclasses import replace

import pytest
import torch
from small_vae import blobs, images, maps, slice_by_slice, trained

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.load import load_config
from anomaly_bench.config.schema import PredictorsConfig
from anomaly_bench.models import AE, NETWORKS, VAE
from anomaly_bench.models.networks import VOLUMES
from anomaly_bench.models.slices import slices_of
from anomaly_bench.predictors import REGISTER, build_suite
from anomaly_bench.predictors.base import Predictor, build_predictor
from anomaly_bench.predictors.evidence import Evidence, frozen

SINGLE = {name: cls for name, cls in REGISTER.items() if issubclass(cls, Predictor)}
SETTINGS = {
    **{name: {"use": name} for name in SINGLE},
    **load_config(["predictors=all"]).predictors.members,
    **load_config(["predictors=extended"]).predictors.members,
}
SETTINGS = {name: settings for name, settings in SETTINGS.items() if settings["use"] in SINGLE}
ITERATIONS = 60  # at most, so that the tests stay quick


def build(name):
    settings = dict(SETTINGS[name])
    default = getattr(SINGLE[settings["use"]], "iterations", 0)
    if settings.get("iterations", default) > ITERATIONS:
        settings["iterations"] = ITERATIONS
    if settings.get("error") == "signed":
        settings["error"] = "positive"  # as a run would have chosen, of blobs that are brighter
    return build_predictor(name, settings)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_batch_gives_the_same_maps_as_its_images_one_by_one(name):
    model, predictor, batch = trained(), build(name), blobs(images(4))
    batch[1:3] = images(2)
    together = maps(model, batch, predictor)
    single = torch.cat([maps(model, one[None], predictor) for one in batch])
    assert together.shape == (4, 1, 32, 32)
    assert torch.allclose(together, single, rtol=1e-3, atol=1e-4 * together.abs().max().item())


@pytest.mark.parametrize("name", SETTINGS)
def test_maps_are_deterministic_and_leave_nothing_behind(name):
    model, predictor, batch = trained(), build(name), blobs(images(3))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    given, state = batch.clone(), torch.get_rng_state()
    first = maps(model, batch, predictor)
    assert torch.equal(first, maps(model, batch, predictor))
    assert not first.requires_grad
    assert torch.isfinite(first).all()
    assert torch.equal(batch, given)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())
    assert not model.training


@pytest.mark.parametrize("name", SETTINGS)
def test_an_inserted_blob_raises_its_own_region(name):
    model, predictor, normal = trained(), build(name), images(32)
    share = [
        score[:, :, 12:18, 12:18].mean() / score.mean()
        for score in (maps(model, x, predictor) for x in (normal, blobs(normal, 1.0)))
    ]
    if not predictor.blob_exempt:
        assert share[1] > 1.2 * share[0]


def test_most_predictors_have_to_see_a_blob():
    assert [name for name, cls in SINGLE.items() if cls.blob_exempt] == ["latent_kl", "latent_variance"]


@pytest.mark.parametrize("name", SETTINGS)
def test_what_lies_in_other_images_of_a_batch_changes_nothing_even_nan(name):
    model, predictor, batch = trained(), build(name), blobs(images(3))
    clean = maps(model, batch, predictor)
    batch[1, 0, 5, 5] = torch.nan
    spoilt = maps(model, batch, predictor)
    assert torch.allclose(clean[::2], spoilt[::2], rtol=1e-3, atol=1e-4 * clean.abs().max().item())
    assert spoilt[1].isnan().any()


@pytest.mark.parametrize(
    "model",
    [
        VAE((1, 16, 16), latent=3, channels=(4, 4), variance="pixel"),
        VAE((1, 16, 16), latent=3, channels=(4, 4), variance="scalar", likelihood="laplace"),
        VAE((1, 16, 16), latent=3, channels=(4, 4), likelihood="bernoulli"),
        VAE((1, 16, 16), latent=3, channels=(4, 4), spatial=True, variance="optimal"),
        AE((1, 16, 16), latent=3, channels=(4, 4)),
    ],
    ids=["pixel", "laplace", "bernoulli", "spatial", "ae"],
)
def test_every_predictor_works_with_every_kind_of_model(model):
    batch = torch.rand(2, 1, 16, 16)
    foreground = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    foreground[0, :, 3:13, 3:13] = True  # and the second image has none
    with frozen(model):
        evidence = Evidence(model, batch, foreground)
        for name in SETTINGS:
            score = build(name)(evidence)
            assert score.shape == (2, 1, 16, 16), name
            assert torch.isfinite(score).all(), name


@pytest.mark.parametrize("spatial", [False, True], ids=["dense", "spatial"])
@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_every_predictor_works_on_every_network_and_a_batch_gives_the_maps_of_its_images(network, spatial):
    channels, side = ((2,) * 8, 128) if network == "bergmann" else ((4, 4), 16)
    depth = [3] if network in VOLUMES else []
    model = VAE((1, *depth, side, side), latent=2, channels=channels, network=network, spatial=spatial, patch=4)
    batch = torch.rand(2, 1, *depth, side, side)
    for name in (*SINGLE, "grad_kl", "grad_kl_level1", "grad_kl_level2", "latent_kl_level2"):
        few = replace(build(name), **{key: 2 for key in ("iterations", "samples") if hasattr(build(name), key)})
        together = maps(model, batch, few)
        single = torch.cat([maps(model, one[None], few) for one in batch])
        assert together.shape == (2 * math.prod(depth), 1, side, side), name
        assert together.isfinite().all(), name
        assert torch.allclose(together, single, rtol=1e-3, atol=1e-4 * together.abs().max().item()), name


@pytest.mark.parametrize("name", [name for name in SETTINGS if not SETTINGS[name].get("noise_samples")])
def test_maps_of_volumes_are_those_of_their_slices_in_any_order_where_the_model_sees_each_by_itself(name):
    predictor = build(name)
    predictor = replace(predictor, **{key: 2 for key in ("iterations", "samples") if hasattr(predictor, key)})
    flat = VAE((2, 16, 16), latent=2, channels=(4, 4), spatial=True, variance="fixed").eval()
    model, volumes = slice_by_slice(flat, 3), torch.rand(2, 2, 3, 16, 16)
    foreground = torch.rand(2, 1, 3, 16, 16) < 0.8
    with frozen(model), frozen(flat):
        score = predictor(Evidence(model, volumes, foreground))
        if not (predictor.latent_samples or name.startswith("latent_variance")):  # whose noise is of a place
            turned = predictor(Evidence(model, volumes.flip(2), foreground.flip(2)))
            expected = score.unflatten(0, (2, 3)).flip(1).flatten(0, 1)
            assert torch.allclose(turned, expected, rtol=1e-3, atol=1e-4 * score.abs().max().item())
            if not (predictor.iterative or name in ("combination_sum", "intensity_equalised")):  # of a volume as one
                slices = predictor(Evidence(flat, slices_of(volumes), slices_of(foreground)))
                assert torch.allclose(score, slices, rtol=1e-3, atol=1e-4 * score.abs().max().item())
    assert score.shape == (6, 1, 16, 16)
    assert torch.isfinite(score).all()


@pytest.mark.parametrize("cls", SINGLE.values())
def test_every_predictor_says_where_it_comes_from_and_what_it_is_good_and_bad_at(cls):
    assert re.search(r"et al\. (19|20)\d\d", cls.__doc__)
    assert "ood at" in cls.__doc__
    assert "Bad" in cls.__doc__


def suite(members, only=None):
    return build_suite(PredictorsConfig(members=members, only=only))


def test_a_narrowed_suite_computes_members_of_an_ensemble_but_does_not_show_them():
    members = {
        "a": {"use": "intensity"},
        "b": {"use": "reconstruction"},
        "c": {"use": "gradient"},
        "e": {"use": "ensemble", "members": ["a", "b"]},
    }
    narrowed = suite(members, ["e"])
    assert narrowed.shown == ("e",)
    assert set(narrowed.single) == {"a", "b"}


def test_what_takes_passes_of_its_own_is_not_cheap():
    members = {
        "a": {"use": "gradient", "smooth": 1.0, "erode": 2},
        "b": {"use": "gradient", "noise_samples": 2},
        "c": {"use": "reconstruction", "latent_samples": 2},
        "d": {"use": "projection"},
    }
    assert suite(members).cheap() == ["a"]


def test_rows_that_use_no_model_are_told_from_the_others():
    members = {"bright": {"use": "intensity"}, "contrast": {"use": "local_contrast"}, "rec": {"use": "reconstruction"}}
    joint = {
        "all": {"use": "ensemble", "members": [*members]},
        "none": {"use": "ensemble", "members": ["bright", "contrast"]},
    }
    assert suite(members | joint).of_model == ["rec", "all"]


@pytest.mark.parametrize(
    ("members", "only", "message"),
    [
        ({"a": {"use": "intensty"}}, None, r"members\.a\.use=intensty.*did you mean intensity"),
        ({"a": {}}, None, r"members\.a\.use=None: no such predictor"),
        ({"a": {"use": "reconstruction", "eror": "l1"}}, None, r"members\.a\.eror.*did you mean error"),
        (
            {"a": {"use": "reconstruction", "error": "l9"}},
            None,
            r"members\.a: error=l9: expected one of l1, l2, ssim, w",
        ),
        (
            {"a": {"use": "projection", "error": "weighted"}},
            None,
            r"error=weighted: expected one of l1, l2, ssim, positive, negative, signed$",
        ),
        (
            {"a": {"use": "projection", "iterations": 2.5}},
            None,
            r"members\.a\.iterations=2\.5: .* valid integer",
        ),
        ({"a": {"use": "projection", "stop": "abc"}}, None, r"members\.a\.stop=abc: Input should be a valid number"),
        ({"a": {"use": "projection", "start": "x"}}, None, r"start=x: expected one of image, reconstruction"),
        (
            {"a": {"use": "combination", "how": "sum", "error": "negative"}},
            None,
            r"error=negative, how=sum: the sum adds",
        ),
        ({"a": {"use": "gradient", "smooth": -1.0}}, None, r"members\.a: smooth=-1\.0"),
        ({"a": {"use": "gradient", "median": 4}}, None, r"members\.a: median=4: expected 0 or an odd side"),
        ({"a": {"use": "gradient", "min_pool": -1}}, None, r"members\.a: min_pool=-1"),
        ({"a": {"use": "gradient", "erode": -1}}, None, r"members\.a: erode=-1"),
        ({"a": {"use": "gradient", "noise": 0.0}}, None, r"members\.a: noise=0\.0"),
        ({"a": {"use": "gradient", "average_of": "x"}}, None, r"average_of=x: expected one of signed, size"),
        ({"a": {"use": "gradient", "level": -1, "of": "kl"}}, None, r"members\.a: level=-1, of=kl: expected 0, or"),
        ({"a": {"use": "gradient", "level": 1}}, None, r"level=1, of=elbo: expected 0, or with of=kl a level"),
        ({"a": {"use": "latent_kl", "level": 0}}, None, r"members\.a: level=0: expected a level of latents, from 1"),
        ({"a": {"use": "combination", "how": "x"}}, None, r"how=x: expected one of product, sum"),
        ({"a": {"use": "combination", "weight": 0.0}}, None, r"weight=0\.0"),
        ({"a": {"use": "intensity", "latent_samples": 3}}, None, r"latent_samples=3: this predictor depends on no"),
        ({"a": {"use": "latent_variance", "samples": 1}}, None, r"samples=1: expected at least 2"),
        ({"a": {"use": "local_contrast", "window": 8}}, None, r"window=8, sigma=2\.25: expected an odd"),
        ({"a": {"use": "reconstruction", "data_range": 0.0}}, None, r"data_range=0\.0"),
        ({"a": {"use": "restoration", "tv": -1.0}}, None, r"tv=-1\.0: expected"),
        ({"a": {"use": "projection", "iterations": 0}}, None, r"members\.a: iterations=0"),
        ({"a": {"use": "ensemble", "members": ["a"]}}, None, "needs at least two"),
        (
            {"a": {"use": "intensity"}, "e": {"use": "ensemble", "members": ["a", "b"]}},
            None,
            r"members\.e\.members: there is no predictor 'b'",
        ),
        ({"rec": {"use": "intensity"}}, ["rex"], r"predictors\.only: there is no predictor 'rex'; did you mean rec"),
        ({"slice": {"use": "intensity"}}, None, r"predictors\.members\.slice: images\.csv has a column of this name"),
        ({"rec": {"use": "intensity"}}, [], r"predictors\.only is empty"),
    ],
)
def test_a_suite_that_cannot_be_built_names_the_key(members, only, message):
    with pytest.raises(ConfigError, match=message):
        suite(members, only)
