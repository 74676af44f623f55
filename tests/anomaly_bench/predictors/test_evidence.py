import math

import pytest
import torch
from torch import nn

from anomaly_bench.models import AE, VAE, BetaVAE
from anomaly_bench.predictors import LatentVariance
from anomaly_bench.predictors.evidence import Evidence, frozen
from anomaly_bench.predictors.rules import projection

SHAPE = (2, 16, 16)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return BetaVAE(SHAPE, latent=5, channels=(4, 8), beta=3.0).double().eval()


@pytest.fixture
def image():
    return torch.rand(3, *SHAPE, dtype=torch.float64)


def evidence_of(model, image):
    return Evidence(model, image, torch.ones_like(image[:, :1], dtype=torch.bool))


@pytest.mark.parametrize("variance", ["fixed", "pixel"])
@pytest.mark.parametrize("likelihood", ["gaussian", "laplace"])
@pytest.mark.parametrize("term", ["rec", "kl"])
def test_gradients_agree_with_finite_differences(image, term, likelihood, variance):
    torch.manual_seed(0)
    model = BetaVAE(SHAPE, latent=5, channels=(4, 8), likelihood=likelihood, variance=variance).double().eval()
    with frozen(model):
        gradient = getattr(evidence_of(model, image), f"grad_{term}")
    direction = torch.randn_like(image)
    step = 1e-6

    def value(x):
        with frozen(model), torch.no_grad():
            rec, kl = model.terms(x, sample=False)
        return rec if term == "rec" else kl

    numeric = (value(image + step * direction) - value(image - step * direction)) / (2 * step)
    assert torch.allclose((gradient * direction).flatten(1).sum(1), numeric, rtol=1e-5)


def test_the_elbo_gradient_is_that_of_the_whole_loss(model, image):
    with frozen(model):
        evidence = evidence_of(model, image)
        leaf = image.clone().requires_grad_(True)
        rec, kl = model.terms(leaf, sample=False)
        (expected,) = torch.autograd.grad((rec + 3.0 * kl).sum(), leaf)
        assert torch.allclose(evidence.grad_elbo, expected, rtol=1e-9)
        assert torch.allclose(evidence.rec, rec)
        assert torch.allclose(evidence.kl, kl)


def test_everything_costs_one_forward_and_the_kl_gradient_leaves_the_decoder_alone(model, image):
    calls = {"encode": 0, "decode": 0, "decoder backward": 0, "encoder backward": 0}
    model.encoder.register_forward_hook(lambda *_: calls.__setitem__("encode", calls["encode"] + 1))
    model.decoder.register_forward_hook(lambda *_: calls.__setitem__("decode", calls["decode"] + 1))
    last, first = model.decoder.layers[-1], model.encoder.features[0]
    last.register_full_backward_hook(lambda *_: calls.__setitem__("decoder backward", calls["decoder backward"] + 1))
    first.register_full_backward_hook(lambda *_: calls.__setitem__("encoder backward", calls["encoder backward"] + 1))
    with frozen(model):
        evidence = evidence_of(model, image)
        _ = evidence.grad_kl
        assert calls["decode"] == 0
        for name in ("grad_elbo", "reconstruction", "rec", "kl", "posterior", "grad_rec", "grad_kl"):
            getattr(evidence, name)
    assert calls == {"encode": 1, "decode": 1, "decoder backward": 1, "encoder backward": 2}


def test_frozen_leaves_the_model_as_it_was(model, image):
    model.train()
    with frozen(model):
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())
        _ = evidence_of(model, image).grad_elbo
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


class Linear(nn.Module):
    """An encoder or decoder that is one matrix and an offset, on flattened images."""

    def __init__(self, inputs, outputs, shape=None, halves=False):
        super().__init__()
        self.layer, self.shape, self.halves = nn.Linear(inputs, outputs), shape, halves

    def forward(self, values):
        out = self.layer(values.flatten(1))
        return tuple(out.chunk(2, dim=1)) if self.halves else out.view(-1, *self.shape)


@pytest.fixture
def linear():
    """A linear VAE: mean = A x + a, log variance = C x + c, x̂ = W z + w, sigma 0.3."""
    torch.manual_seed(0)
    model = BetaVAE((1, 4, 4), latent=3, channels=(2,), beta=2.5, sigma=0.3)
    model.encoder, model.decoder = Linear(16, 6, halves=True), Linear(3, 16, shape=(1, 4, 4))
    return model.double().eval()


def parts(linear, x):
    """A, C, W as matrices, and mean, log variance, residual of flat images (B, 16)."""
    both, back = linear.encoder.layer, linear.decoder.layer
    mean, logvar = (x @ both.weight.T + both.bias).chunk(2, dim=1)
    return both.weight[:3], both.weight[3:], back.weight, mean, logvar, x - (mean @ back.weight.T + back.bias)


@torch.no_grad()
def test_the_gradients_of_a_linear_vae_are_the_ones_on_paper(linear):
    """∂rec/∂x = (I − W A)ᵀ (x − x̂) / sigma²; ∂KL/∂x = Aᵀ mean + Cᵀ (exp(logvar) − 1) / 2."""
    image = torch.rand(5, 1, 4, 4, dtype=torch.float64)
    a, c, w, mean, logvar, residual = parts(linear, image.flatten(1))
    with frozen(linear):
        evidence = evidence_of(linear, image)
        rec, kl, elbo = (getattr(evidence, f"grad_{of}").flatten(1) for of in ("rec", "kl", "elbo"))
    expected_rec = residual @ (torch.eye(16, dtype=torch.float64) - w @ a) / 0.3**2
    expected_kl = mean @ a + 0.5 * (logvar.exp() - 1) @ c
    assert torch.allclose(rec, expected_rec)
    assert torch.allclose(kl, expected_kl)
    assert torch.allclose(elbo, expected_rec + 2.5 * expected_kl)


@torch.no_grad()
def test_the_gradients_at_a_latent_sample_are_the_ones_on_paper(linear):
    """z = mean + exp(logvar / 2) eps moves with x as A + diag(exp(logvar / 2) eps / 2) C."""
    image = torch.rand(2, 1, 4, 4, dtype=torch.float64)
    a, c, w, mean, logvar, _ = parts(linear, image.flatten(1))
    with frozen(linear):
        evidence = evidence_of(linear, image)
        sampled = evidence.sampled(7)
        spread = (0.5 * logvar).exp() * sampled._normal
        residual = image.flatten(1) - ((mean + spread) @ w.T + linear.decoder.layer.bias)
        for index in range(2):
            moves = torch.eye(16, dtype=torch.float64) - w @ (a + 0.5 * spread[index, :, None] * c)
            assert torch.allclose(sampled.grad_rec[index].flatten(), residual[index] @ moves / 0.3**2)
        assert torch.equal(sampled.grad_kl, evidence.grad_kl)
        assert torch.equal(sampled.kl, evidence.kl)


@torch.no_grad()
def test_latent_variance_of_a_linear_vae_is_that_of_w_z(linear):
    image = torch.rand(2, 1, 4, 4, dtype=torch.float64)
    _, _, w, _, logvar, _ = parts(linear, image.flatten(1))
    with frozen(linear):
        evidence = evidence_of(linear, image)
        few = torch.stack([evidence.sampled(number).reconstruction for number in range(4)])
        assert torch.allclose(LatentVariance(smooth=0.0, samples=4)(evidence), few.var(dim=0, correction=0))
        score = LatentVariance(smooth=0.0, samples=3000)(evidence)
    assert torch.allclose(score.flatten(1), logvar.exp() @ (w**2).T, rtol=0.1)


def test_sampling_shares_the_encoder_and_leaves_the_gradients_of_the_mean_alone(model, image):
    passes = []
    model.encoder.register_forward_hook(lambda *_: passes.append(1))
    with frozen(model):
        expected = evidence_of(model, image).grad_elbo
        passes.clear()
        evidence = evidence_of(model, image)
        with torch.no_grad():
            first = evidence.sampled(0).reconstruction
        again, other = evidence.sampled(0).reconstruction, evidence.sampled(1).reconstruction
        assert torch.equal(first, again)
        assert not torch.allclose(first, other)
        assert torch.equal(evidence.grad_elbo, expected)
    assert len(passes) == 1


def test_noise_has_the_given_share_of_each_images_range_and_does_not_depend_on_the_batch(model):
    image = torch.rand(2, 2, 16, 16, dtype=torch.float64)
    image[1] *= 10
    with frozen(model):
        noise = torch.stack([evidence_of(model, image).noisy(number, 0.1).image - image for number in range(50)])
        alone = evidence_of(model, image[1:]).noisy(3, 0.1).image - image[1:]
    for index in range(2):
        extent = image[index].max() - image[index].min()
        assert noise[:, index].std().item() == pytest.approx(0.1 * extent.item(), rel=0.02)
        assert noise[:, index].mean().abs().item() < 0.01 * extent
    assert torch.equal(alone[0], noise[3, 1])


def test_the_variance_is_that_of_the_likelihood(image):
    image = image[:, :, :8, :8]
    shape = tuple(image.shape[1:])

    def variance(model):
        with frozen(model.double()):
            evidence = evidence_of(model, image)
            return evidence.variance, evidence

    assert variance(VAE(shape, latent=2, channels=(4,), sigma=0.2))[0].item() == pytest.approx(0.04)
    assert variance(VAE(shape, latent=2, channels=(4,), sigma=0.2, likelihood="laplace"))[0].item() == pytest.approx(
        0.08
    )
    learned, evidence = variance(VAE(shape, latent=2, channels=(4,), sigma=0.2, variance="pixel"))
    assert learned.shape == image.shape
    normal = torch.distributions.Normal(evidence.reconstruction, learned.sqrt())
    assert torch.allclose(evidence.rec, -normal.log_prob(image).flatten(1).sum(1))
    binary, evidence = variance(VAE(shape, latent=2, channels=(4,), likelihood="bernoulli"))
    assert torch.allclose(binary, torch.distributions.Bernoulli(evidence.reconstruction).variance)


def test_an_autoencoder_has_no_kl_and_no_spread(image):
    model = AE(SHAPE, latent=3, channels=(4, 8)).double()
    with frozen(model):
        evidence = evidence_of(model, image)
        assert torch.equal(evidence.kl, torch.zeros(3, dtype=torch.float64))
        assert not evidence.grad_kl.any()
        assert torch.equal(evidence.grad_elbo, evidence.grad_rec)
        assert torch.equal(evidence.sampled(0).reconstruction, evidence.reconstruction)
        assert math.isfinite(evidence.rec.sum().item())


def test_predictors_that_differ_in_the_error_alone_share_a_projection(monkeypatch):
    calls = []
    real = projection.path
    monkeypatch.setattr(projection, "path", lambda *given: calls.append(given) or real(*given))
    torch.manual_seed(0)
    model = VAE((1, 8, 8), latent=2, channels=(4,))
    image = torch.rand(2, 1, 8, 8)
    with frozen(model):
        evidence = Evidence(model, image, torch.ones(2, 1, 8, 8, dtype=torch.bool))
        shared = [projection.Projection(error=error, iterations=2, smooth=0.0) for error in ("l1", "l2", "positive")]
        l1, l2, positive = (predictor(evidence) for predictor in shared)
        assert len(calls) == 1
        projection.Projection(iterations=3, smooth=0.0)(evidence)
    assert len(calls) == 2
    assert torch.allclose(l1.square(), l2)
    assert torch.allclose(positive.abs(), l1)
    assert positive.min() < 0
