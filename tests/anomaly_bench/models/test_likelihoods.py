import math

import pytest
import torch
from torch import distributions
from torch.distributions import Normal, kl_divergence

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.models import VAE
from anomaly_bench.models.likelihoods import (
    LIKELIHOODS,
    SMALLEST_LOG_SIGMA,
    Bernoulli,
    Gaussian,
    Laplace,
    bernoulli_nll,
    gaussian_nll,
    kl_standard_normal,
    laplace_nll,
)

SMALL = {"latent": 5, "channels": (4, 8)}


@pytest.fixture
def image():
    return torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def reconstruction():
    return torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(7, 5), (7, 3, 4, 2)])
def test_kl_is_that_of_torch_distributions(shape):
    mean, logvar = torch.randn(shape), torch.randn(shape)
    expected = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)).flatten(1).sum(1)
    assert torch.allclose(kl_standard_normal(mean, logvar), expected, rtol=1e-5)


@pytest.mark.parametrize("sigma", [0.05, 1.0, 3.0])
@pytest.mark.parametrize(
    ("kind", "nll", "distribution"),
    [("gaussian", gaussian_nll, Normal), ("laplace", laplace_nll, distributions.Laplace)],
)
def test_nll_is_that_of_torch_distributions(kind, nll, distribution, sigma, image, reconstruction):
    expected = -distribution(reconstruction, sigma).log_prob(image).sum((1, 2, 3))
    assert torch.allclose(nll(image, reconstruction, torch.tensor(sigma).double().log()), expected)
    assert torch.allclose(LIKELIHOODS[kind](sigma).nll(image, reconstruction), expected, rtol=1e-5)


def test_bernoulli_nll_is_that_of_torch_distributions_for_black_and_white(image, reconstruction):
    likelihood, binary = Bernoulli(), (image > 0.5).double()
    expected = -distributions.Bernoulli(reconstruction).log_prob(binary).sum((1, 2, 3))
    assert torch.allclose(likelihood.nll(binary, reconstruction), expected)


def test_bernoulli_nll_of_grey_is_the_cross_entropy(image, reconstruction):
    expected = torch.nn.functional.binary_cross_entropy(reconstruction, image, reduction="none").sum((1, 2, 3))
    assert torch.allclose(bernoulli_nll(image, reconstruction, torch.zeros(())), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saturated_bernoulli_stays_finite(dtype):
    likelihood, logit = Bernoulli(), torch.tensor([[[[40.0, -40.0]]]], dtype=dtype, requires_grad=True)
    nll = likelihood.nll(torch.tensor([[[[0.0, 1.0]]]]), likelihood.split(logit)[0])
    nll.sum().backward()
    assert nll.item() == pytest.approx(2 * 16.1, rel=0.02)
    assert logit.grad is not None
    assert logit.grad.isfinite().all()


def test_a_variance_per_pixel_is_that_of_torch_distributions(image):
    likelihood = Gaussian(0.2, "pixel").double()
    reconstruction, log_sigma = likelihood.split(torch.randn(3, 4, 8, 8, dtype=torch.float64))
    assert log_sigma is not None
    expected = -Normal(reconstruction, log_sigma.exp()).log_prob(image).sum((1, 2, 3))
    assert torch.allclose(likelihood.nll(image, reconstruction, log_sigma), expected)
    with pytest.raises(ValueError, match="decode_with_scale"):
        likelihood.nll(image, reconstruction)


def test_a_variance_per_pixel_starts_about_sigma_and_has_a_floor():
    likelihood = Gaussian(0.2, "pixel")
    at_zero, at_floor = (likelihood.split(torch.full((1, 2, 1, 1), value))[1] for value in (0.0, -100.0))
    assert at_zero is not None
    assert at_floor is not None
    assert at_zero.item() == pytest.approx(math.log(0.2), abs=0.02)
    assert at_floor.item() == pytest.approx(SMALLEST_LOG_SIGMA, abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "best"),
    [("gaussian", lambda error: error.square().mean().sqrt()), ("laplace", lambda error: error.abs().mean())],
)
def test_the_learned_scale_has_its_optimum_where_the_closed_form_says(kind, best, image, reconstruction):
    learned = LIKELIHOODS[kind](0.3, "scalar").double()
    closed = LIKELIHOODS[kind](0.3, "optimal").double()
    with torch.no_grad():
        learned.log_sigma.copy_(best(image - reconstruction).log())
    nll = learned.nll(image, reconstruction)
    nll.sum().backward()
    assert learned.log_sigma.grad is not None
    assert abs(learned.log_sigma.grad) < 1e-9
    assert torch.allclose(closed.nll(image, reconstruction), nll)
    assert not list(LIKELIHOODS[kind](0.3).parameters())


def test_the_optimal_scale_is_remembered_for_evaluation(image, reconstruction):
    likelihood = Gaussian(0.9, "optimal").double()
    for _ in range(100):
        training = likelihood.nll(image, reconstruction)
    assert likelihood.sigma == pytest.approx((image - reconstruction).square().mean().sqrt().item(), rel=1e-3)
    likelihood.eval()
    assert torch.allclose(likelihood.nll(image, reconstruction), training, rtol=1e-3)
    before = likelihood.log_sigma.clone()
    likelihood.nll(image, 0 * image)
    assert torch.equal(likelihood.log_sigma, before)


def test_the_scale_that_all_pixels_share():
    assert Laplace(0.25, "scalar").sigma == pytest.approx(0.25)
    assert Bernoulli().sigma is None
    assert Gaussian(0.25, "pixel").sigma is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"likelihood": "poisson"}, r"model\.likelihood=poisson: expected one of gaussian, laplace, bernoulli"),
        ({"variance": "learned"}, r"model\.variance=learned: expected one of fixed, scalar, optimal, pixel"),
        ({"likelihood": "bernoulli", "variance": "scalar"}, r"model\.variance=scalar: expected fixed"),
        ({"sigma": 0.0}, r"model\.sigma=0\.0"),
    ],
)
def test_impossible_likelihoods_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        VAE((1, 16, 16), **SMALL, **arguments)


def test_a_bernoulli_of_images_beyond_its_range_says_how_to_scale_them():
    model = VAE((1, 16, 16), likelihood="bernoulli", **SMALL)
    batch = {"image": torch.full((2, 1, 16, 16), 1.5)}
    message = r"model\.likelihood=bernoulli: .* from 1\.5 to 1\.5.* dataset\.preprocess\.scale\.clip=1"
    with pytest.raises(ConfigError, match=message):
        model.training_step(batch, 0)


def test_reconstructions_are_means_in_the_unit_of_the_image():
    model = VAE((1, 16, 16), likelihood="bernoulli", **SMALL)
    reconstruction = model.decode(10 * torch.randn(4, 5))
    assert 0 <= reconstruction.min() < reconstruction.max() <= 1
    pixel = VAE((2, 16, 16), variance="pixel", **SMALL)
    mean, log_sigma = pixel.decode_with_scale(torch.randn(4, 5))
    assert log_sigma is not None
    assert mean.shape == log_sigma.shape == (4, 2, 16, 16)


@pytest.mark.parametrize("variance", ["fixed", "scalar", "optimal", "pixel"])
@pytest.mark.parametrize("likelihood", ["gaussian", "laplace"])
def test_every_likelihood_learns(likelihood, variance):
    torch.manual_seed(0)
    model = VAE((1, 8, 8), latent=2, channels=(8,), likelihood=likelihood, variance=variance, sigma=0.5)
    image = torch.linspace(0, 1, 64).view(1, 1, 8, 8) * torch.tensor([0.2, 0.9]).view(2, 1, 1, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model.training_terms(image)["loss"].mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[5]
    assert all(map(math.isfinite, losses))
