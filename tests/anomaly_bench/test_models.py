import pytest
import torch
from torch.distributions import Normal, kl_divergence

from anomaly_bench.errors import ConfigError
from anomaly_bench.models import VAE, BetaVAE
from anomaly_bench.models.elbo import GaussianLikelihood, gaussian_nll, kl_standard_normal

SMALL = {"latent": 5, "channels": (4, 8)}


def test_kl_is_that_of_torch_distributions():
    mean, logvar = torch.randn(7, 5), torch.randn(7, 5)
    expected = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(1)
    assert torch.allclose(kl_standard_normal(mean, logvar), expected, rtol=1e-5)


@pytest.mark.parametrize("sigma", [0.05, 1.0, 3.0])
def test_nll_is_that_of_torch_distributions(sigma):
    image, reconstruction = torch.rand(3, 2, 8, 8), torch.rand(3, 2, 8, 8)
    expected = -Normal(reconstruction, sigma).log_prob(image).sum((1, 2, 3))
    assert torch.allclose(gaussian_nll(image, reconstruction, torch.tensor(sigma).log()), expected, rtol=1e-5)
    assert torch.allclose(GaussianLikelihood(sigma, learned=False).nll(image, reconstruction), expected, rtol=1e-5)


def test_the_learned_sigma_has_its_optimum_at_the_root_mean_squared_error():
    likelihood = GaussianLikelihood(0.3, learned=True)
    image, reconstruction = torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        likelihood.log_sigma.copy_((image - reconstruction).square().mean().sqrt().log())
    likelihood.nll(image, reconstruction).sum().backward()
    assert likelihood.log_sigma.grad is not None
    assert abs(likelihood.log_sigma.grad) < 1e-3
    assert not list(GaussianLikelihood(0.3, learned=False).parameters())


@pytest.mark.parametrize(("channels", "shape"), [((4, 8), (1, 16, 16)), ((4,), (3, 10, 12)), ((4, 8, 8), (2, 64, 32))])
def test_any_channel_count_and_any_size_divisible_by_the_stride(channels, shape):
    model = VAE(shape, latent=3, channels=channels).eval()
    image = torch.rand(2, *shape)
    mean, logvar = model.encode(image)
    assert mean.shape == logvar.shape == (2, 3)
    assert model.decode(mean).shape == image.shape


def test_a_size_that_cannot_be_halved_often_enough_says_what_to_do():
    with pytest.raises(ConfigError, match=r"dataset\.size=\[20, 16\] cannot be halved 3 times.*divisible by 8"):
        VAE((1, 20, 16), channels=(4, 4, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta": 0.0}, r"model\.beta=0\.0: expected a number greater than 0"),
        ({"beta": -1.0}, r"model\.beta=-1\.0"),
        ({"beta": float("nan")}, r"model\.beta=nan"),
        ({"sigma": 0.0}, r"model\.sigma=0\.0"),
        ({"latent": 0}, r"model\.latent=0"),
        ({"warmup_epochs": -1}, r"model\.warmup_epochs=-1"),
    ],
)
def test_impossible_values_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        BetaVAE((1, 16, 16), channels=(4, 8), **arguments)


def test_normalised_beta_is_in_units_of_latent_over_input_size():
    model = BetaVAE((3, 16, 16), beta=0.5, normalised=True, **SMALL)
    assert model.beta == pytest.approx(0.5 * 3 * 16 * 16 / 5)


def loss_of(cls, **arguments):
    torch.manual_seed(0)
    model = cls((1, 16, 16), **SMALL, **arguments)
    torch.manual_seed(1)
    image = torch.rand(6, 1, 16, 16)
    rec, kl = model.terms(image, sample=True)
    return (rec + model.training_beta() * kl).mean(), rec, kl


def test_beta_one_is_the_vae_to_the_last_bit():
    assert torch.equal(loss_of(BetaVAE, beta=1.0)[0], loss_of(VAE)[0])


def test_the_loss_is_rec_plus_beta_kl_mean_over_the_batch():
    loss, rec, kl = loss_of(BetaVAE, beta=7.0)
    assert loss.item() == pytest.approx((rec.mean() + 7 * kl.mean()).item(), rel=1e-6)


def test_warm_up_grows_linearly_to_all_of_beta(monkeypatch):
    model = BetaVAE((1, 16, 16), beta=8.0, warmup_epochs=2, **SMALL)

    class Trainer:
        global_step, num_training_batches = 0, 10

    monkeypatch.setattr(BetaVAE, "trainer", Trainer)
    betas = []
    for Trainer.global_step in (0, 5, 20, 100):
        betas.append(model.training_beta())
    assert betas == [0.0, 2.0, 8.0, 8.0]


def test_the_deterministic_terms_use_the_posterior_mean():
    model = VAE((1, 16, 16), **SMALL).eval()
    image = torch.rand(3, 1, 16, 16)
    rec, _ = model.terms(image, sample=False)
    assert torch.allclose(rec, model.likelihood.nll(image, model.decode(model.encode(image)[0])))
    assert not torch.allclose(rec, model.terms(image, sample=True)[0])
