import itertools
import math

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from anomaly_bench.config import load_config
from anomaly_bench.errors import ConfigError
from anomaly_bench.evidence import Evidence, frozen
from anomaly_bench.models import BetaVAE
from anomaly_bench.predictors import REGISTER, Ensemble, build_suite
from anomaly_bench.predictors.base import Predictor, build_predictor
from anomaly_bench.predictors.filters import equalise, gaussian_smooth, ssim_map
from anomaly_bench.predictors.projection import evaluate, project, stop_level
from anomaly_bench.schema import PredictorsConfig

SHAPE = (2, 32, 32)
SINGLE = {name: cls for name, cls in REGISTER.items() if issubclass(cls, Predictor)}
SETTINGS = {
    **{name: {"use": name} for name in SINGLE},
    **load_config(["predictors=all"]).predictors.members,
}
SETTINGS = {name: settings for name, settings in SETTINGS.items() if settings["use"] in SINGLE}


@pytest.fixture(scope="module")
def model():
    """A model that has seen smooth images, so that it says something sensible."""
    torch.manual_seed(0)
    model = BetaVAE(SHAPE, latent=8, channels=(8, 8), beta=1.0, lr=3e-3, sigma=0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(150):
        rec, kl = model.terms(images(16), sample=True)
        optimizer.zero_grad()
        (rec + kl).mean().backward()
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    model.eval()
    with torch.no_grad():
        model.rec_levels.copy_(model.terms(images(64), sample=False)[0].quantile(torch.linspace(0, 1, 101)))
    return model


def images(count):
    ramp = torch.linspace(0, 1, 32)
    slopes = torch.rand(count, 2, 1, 1)
    return 0.2 + 0.5 * slopes * ramp[None, None, :, None] + 0.02 * torch.randn(count, 2, 32, 32)


def maps(model, image, predictor):
    with frozen(model):
        return predictor(Evidence(model, image, torch.ones_like(image[:, :1], dtype=torch.bool)))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_batch_gives_the_same_maps_as_its_images_one_by_one(model, name):
    predictor, batch = build_predictor(name, SETTINGS[name]), images(5)
    together = maps(model, batch, predictor)
    single = torch.cat([maps(model, one[None], predictor) for one in batch])
    assert together.shape == (5, 1, 32, 32)
    assert torch.allclose(together, single, rtol=1e-3, atol=1e-4 * together.abs().max().item())


@pytest.mark.parametrize("name", SETTINGS)
def test_maps_are_deterministic_and_leave_nothing_behind(model, name):
    predictor, batch = build_predictor(name, SETTINGS[name]), images(3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    first = maps(model, batch, predictor)
    assert torch.equal(first, maps(model, batch, predictor))
    assert not first.requires_grad
    assert torch.isfinite(first).all()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


@pytest.mark.parametrize("name", SETTINGS)
def test_an_inserted_blob_raises_its_own_region(model, name):
    predictor, normal = build_predictor(name, SETTINGS[name]), images(8)
    broken = normal.clone()
    broken[:, :, 12:18, 12:18] += 0.6
    share = [
        score[:, :, 12:18, 12:18].mean() / score.mean()
        for score in (maps(model, x, predictor) for x in (normal, broken))
    ]
    assert share[1] > 1.2 * share[0]


def test_ssim_is_that_of_torchmetrics():
    a, b = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    _, expected = structural_similarity_index_measure(
        a, b, data_range=1.0, sigma=1.5, kernel_size=11, return_full_image=True
    )
    assert torch.allclose(ssim_map(a, b)[..., 5:-5, 5:-5], expected[..., 5:-5, 5:-5], atol=1e-4)
    assert torch.allclose(ssim_map(a, a), torch.ones_like(a), atol=1e-4)


def test_smoothing_keeps_flat_maps_and_mass_and_spreads_a_point_like_a_gaussian():
    assert torch.allclose(gaussian_smooth(torch.full((1, 1, 20, 20), 3.0), 2.0), torch.full((1, 1, 20, 20), 3.0))
    point = torch.zeros(1, 1, 41, 41)
    point[0, 0, 20, 20] = 1
    smooth = gaussian_smooth(point, 2.0)
    offsets = torch.arange(41) - 20.0
    assert smooth.sum() == pytest.approx(1.0, abs=1e-5)
    assert (smooth[0, 0].sum(0) * offsets**2).sum() == pytest.approx(4.0, rel=0.05)
    assert torch.equal(gaussian_smooth(point, 0.0), point)


def test_equalising_gives_the_rank_of_each_foreground_pixel():
    image = torch.tensor([[[[5.0, 1.0], [3.0, 9.0]]]])
    foreground = torch.tensor([[[[True, True], [True, False]]]])
    assert torch.allclose(equalise(image, foreground), torch.tensor([[[[1.0, 1 / 3], [2 / 3, 0.0]]]]))


def literal_projection(model, image, iterations, step, l1, level):
    """The update of Dehaene et al. 2020 on one image, written out, without any guard."""
    x = image.clone()
    for _ in range(iterations):
        leaf = x.clone().requires_grad_(True)
        x_hat = model.decode(model.encode(leaf)[0])
        rec = model.likelihood.nll(leaf, x_hat)
        if rec.item() <= level:
            break
        energy = rec.sum() + l1 * (leaf - image).abs().sum()
        (gradient,) = torch.autograd.grad(energy, leaf)
        x = x - step * gradient * (x - x_hat.detach()) ** 2
    return x.detach()


def test_projection_is_the_papers_update_where_no_step_is_taken_back(model):
    broken = images(4)
    broken[:, :, 8:16, 8:16] += 0.4
    with frozen(model):
        level = stop_level(model, 0.5)
        batched = project(model, broken, iterations=15, step=0.02, l1=0.05, level=level)
        literal = torch.cat([literal_projection(model, one[None], 15, 0.02, 0.05, level) for one in broken])
    assert (batched - broken).abs().max() > 0.05
    assert torch.allclose(batched, literal, atol=1e-4)


@pytest.mark.parametrize("step", [0.01, 0.5, 50.0])
def test_projection_never_raises_the_energy_and_never_diverges(model, step):
    broken = images(6)
    broken[:, :, 8:16, 8:16] += 2.0
    with frozen(model):
        energies = [
            evaluate(model, project(model, broken, n, step, 0.05, -math.inf), broken, 0.05).energy
            for n in (1, 2, 4, 8, 16)
        ]
    assert all(torch.isfinite(energy).all() for energy in energies)
    for earlier, later in itertools.pairwise(energies):
        assert (later <= earlier + 1e-2).all()


def test_an_image_as_good_as_normal_ones_is_not_moved(model):
    normal = images(8)
    with frozen(model):
        rec, _ = model.terms(normal, sample=False)
        level = rec.median().item()
        moved = (project(model, normal, 10, 0.5, 0.05, level) - normal).abs().amax((1, 2, 3)) > 0
    assert torch.equal(moved, rec > level)


def test_an_image_with_nan_gets_a_nan_map_and_not_a_normal_one(model):
    broken = images(3)
    broken[1, 0, 5, 5] = float("nan")
    with frozen(model):
        projected = project(model, broken, 5, 0.1, 0.05, -math.inf)
    assert projected.isnan().flatten(1).all(1).tolist() == [False, True, False]


def test_the_stop_level_is_a_percentile_of_normal_training_images(model):
    assert stop_level(model, 0.0) < stop_level(model, 0.5) < stop_level(model, 1.0)
    with pytest.raises(ValueError, match="rec_levels is not set"):
        stop_level(BetaVAE(SHAPE, latent=2, channels=(4,)), 0.5)


@pytest.mark.parametrize(("how", "expected"), [("mean", 0.525), ("product", 0.2), ("max", 0.8)])
def test_ensembles_combine_calibrated_maps(how, expected):
    members = [torch.full((1, 1, 2, 2), 0.25), torch.full((1, 1, 2, 2), 0.8)]
    value = Ensemble(["a", "b"], how).combine(members)
    assert torch.allclose(value, torch.full((1, 1, 2, 2), expected))


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


@pytest.mark.parametrize(
    ("members", "only", "message"),
    [
        ({"a": {"use": "intensty"}}, None, r"members\.a\.use=intensty.*did you mean intensity"),
        ({"a": {"use": "reconstruction", "eror": "l1"}}, None, r"members\.a\.eror.*did you mean error"),
        ({"a": {"use": "reconstruction", "error": "l9"}}, None, r"members\.a: error=l9: expected one of l1, l2, ssim"),
        (
            {"a": {"use": "projection", "iterations": 2.5}},
            None,
            r"members\.a\.iterations=2\.5: .* valid integer",
        ),
        ({"a": {"use": "projection", "stop": "abc"}}, None, r"members\.a\.stop=abc: Input should be a valid number"),
        ({"a": {"use": "gradient", "smooth": -1.0}}, None, r"members\.a: smooth=-1\.0"),
        ({"a": {"use": "projection", "iterations": 0}}, None, r"members\.a: iterations=0"),
        ({"a": {"use": "ensemble", "members": ["a"]}}, None, "needs at least two"),
        (
            {"a": {"use": "intensity"}, "e": {"use": "ensemble", "members": ["a", "b"]}},
            None,
            r"members\.e\.members: there is no predictor 'b'",
        ),
        ({"rec": {"use": "intensity"}}, ["rex"], r"predictors\.only: there is no predictor 'rex'; did you mean rec"),
        ({"rec": {"use": "intensity"}}, [], r"predictors\.only is empty"),
    ],
)
def test_a_suite_that_cannot_be_built_names_the_key(members, only, message):
    with pytest.raises(ConfigError, match=message):
        suite(members, only)
