"""Slices with their neighbours: what is seen, and what is reconstructed, scored and moved."""

import pytest
import torch
from small_vae import SHAPE, images

from anomaly_bench.models import CEVAE, BetaVAE
from anomaly_bench.predictors.evidence import Evidence, frozen
from anomaly_bench.predictors.rules.projection import Projection
from anomaly_bench.predictors.rules.restoration import Restoration


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return BetaVAE(SHAPE, latent=4, channels=(8, 8), context=1, sigma=0.1, variance="fixed").eval()


def seen(count=3):
    torch.manual_seed(1)
    return torch.cat([images(count) for _ in range(3)], dim=1)


def test_neighbours_decide_the_reconstruction_and_are_no_part_of_what_is_compared(model):
    before = seen()
    left, middle, right = before.chunk(3, dim=1)
    after = torch.cat([right, middle, left], dim=1)
    with frozen(model):
        one, other = (Evidence(model, image, torch.ones(3, 1, 32, 32, dtype=torch.bool)) for image in (before, after))
        assert torch.equal(one.image, middle)
        assert torch.equal(one.image, other.image)
        assert one.reconstruction.shape == middle.shape
        assert not torch.allclose(one.reconstruction, other.reconstruction)
        expected = model.likelihood.nll(middle, one.reconstruction)
        torch.testing.assert_close(one.rec, expected)
    torch.testing.assert_close(model.terms(before, sample=False)[0], expected)
    torch.testing.assert_close(model.predict_step({"image": before}, 0)["rec"], expected)


def test_gradients_are_of_the_middle_with_the_neighbours_held_fixed(model):
    image = seen()
    with frozen(model):
        evidence = Evidence(model, image, torch.ones(3, 1, 32, 32, dtype=torch.bool))
        left, middle, right = image.chunk(3, dim=1)
        leaf = middle.clone().requires_grad_(True)
        mean, logvar = model.encode(torch.cat([left, leaf, right], dim=1))
        rec, kl = model.likelihood.nll(leaf, model.decode(mean)), model.kl(mean, logvar)
        for term, found in ((rec, evidence.grad_rec), (kl, evidence.grad_kl)):
            (expected,) = torch.autograd.grad(term.sum(), leaf, retain_graph=True)
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "predictor",
    [
        Projection(iterations=4, smooth=0.0),
        Projection(iterations=4, start="reconstruction", masked=False, smooth=0.0),
        Restoration(iterations=4, smooth=0.0),
    ],
)
def test_neighbours_stay_as_they_are_while_the_middle_moves(model, predictor, monkeypatch):
    met, encode = [], model.encode
    monkeypatch.setattr(model, "encode", lambda image: met.append(image.detach().clone()) or encode(image))
    image = seen(1)
    with frozen(model):
        score = predictor(Evidence(model, image, torch.ones(1, 1, 32, 32, dtype=torch.bool)))
    assert len(met) >= 4
    for step in met:
        assert torch.equal(step[:, :2], image[:, :2])
        assert torch.equal(step[:, 4:], image[:, 4:])
    assert not torch.equal(met[-1][:, 2:4], image[:, 2:4])
    assert score.shape == (1, 1, 32, 32)
    assert score.max() > 0


@pytest.mark.parametrize("network", ["conv", "residual", "convnext", "vit", "graph", "hierarchical"])
def test_every_network_takes_neighbours_and_trains(network):
    model = CEVAE((1, 32, 32), latent=4, channels=None, network=network, context=2, variance="fixed")
    terms = model.training_terms(torch.rand(2, 5, 32, 32))
    terms["loss"].sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_images_without_the_neighbours_that_the_model_wants_are_refused(model):
    with pytest.raises(ValueError, match=r"expected images \['B', 6, 32, 32\], as BetaVAE\(shape=.*, context=1\) says"):
        model(images(1))
