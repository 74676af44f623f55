"""Two levels of latents: the KL of the hierarchy, against densities and samples in the latents' own coordinates."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.models import AE, VAE
from anomaly_bench.predictors.evidence import Evidence, frozen

SAMPLES = 20_000


def hierarchy(cls=VAE, **arguments):
    torch.manual_seed(0)
    model = cls((1, 8, 8), latent=3, channels=(4, 4), network="hierarchical", **arguments).eval().double()
    model.decoder.inject[0].reset_parameters()  # as if it had been trained
    with torch.no_grad():  # so that posterior and prior are far from one another and from N(0, 1)
        for head in (model.encoder.lower, model.encoder.upper, model.decoder.prior):
            head.posterior.weight.mul_(3.0)
    return model


def levels_of(model, image, count):
    """Samples of z₂ and z₁ with q and p of both, z₁'s in its own coordinates, from what encoder and decoder say of each."""
    mean, logvar = model.encode(image)
    upper = Normal(model.of_level(mean, 2), (0.5 * model.of_level(logvar, 2)).exp())
    z2 = upper.sample((count,)).flatten(0, 1)
    prior_mean, prior_log_sigma = model.decoder.prior_of_lower(model.decoder.outward(z2))
    offset, scale = model.of_level(mean, 1), (0.5 * model.of_level(logvar, 1)).exp()
    lower = Normal(prior_mean + prior_log_sigma.exp() * offset, prior_log_sigma.exp() * scale)
    return (z2, upper, Normal(torch.zeros_like(z2), 1.0)), (
        lower.sample(),
        lower,
        Normal(prior_mean, prior_log_sigma.exp()),
    )


@pytest.mark.parametrize("spatial", [False, True], ids=["dense", "spatial"])
@torch.no_grad()
def test_the_kl_is_that_of_the_joint_distributions_of_both_levels_by_monte_carlo(spatial):
    model, image = hierarchy(spatial=spatial), torch.rand(1, 1, 8, 8, dtype=torch.float64)
    (z2, upper, standard), (z1, lower, prior) = levels_of(model, image, SAMPLES)
    differences = (upper.log_prob(z2) - standard.log_prob(z2)).flatten(1).sum(dim=1)
    differences += (lower.log_prob(z1) - prior.log_prob(z1)).flatten(1).sum(dim=1)
    error = differences.std().item() / SAMPLES**0.5
    kl = model.kl(*model.encode(image)).item()
    assert differences.mean().item() == pytest.approx(kl, abs=4 * error)
    assert error < 0.02 * kl


@torch.no_grad()
def test_the_kl_of_the_lower_level_is_the_same_at_every_sample_of_the_upper_one():
    model, image = hierarchy(), torch.rand(1, 1, 8, 8, dtype=torch.float64)
    _, (_, lower, prior) = levels_of(model, image, 5)
    kl = kl_divergence(lower, prior).flatten(1).sum(dim=1)
    assert prior.mean.std(dim=0).min() > 0.01
    assert torch.allclose(kl, model.level_kl(*model.encode(image), 1).expand(5))


@torch.no_grad()
def test_the_decoder_sees_the_lower_latent_itself():
    """Another prior with the same z₁ and the same features gives the same image."""
    model, z2 = hierarchy(), torch.randn(2, 3, dtype=torch.float64)
    features = model.decoder.outward(z2)
    mean, log_sigma = model.decoder.prior_of_lower(features)
    z1 = torch.randn(2, 3, dtype=torch.float64)
    image = model.decode(torch.cat([(z1 - mean) / log_sigma.exp(), z2], dim=1))
    assert torch.allclose(image, model.decoder.layers(features + model.decoder.inject(z1)))
    assert log_sigma.abs().max() < 5


@pytest.mark.parametrize("spatial", [False, True], ids=["dense", "spatial"])
def test_kl_and_its_gradient_are_the_sums_over_levels(spatial):
    model, image = hierarchy(spatial=spatial), torch.rand(3, 1, 8, 8, dtype=torch.float64)
    with frozen(model):
        evidence = Evidence(model, image, torch.ones_like(image, dtype=torch.bool))
        parts = [evidence.grad_level_kl(level) for level in model.levels]
        assert evidence.grad_level_kl(1) is parts[0]
        assert evidence.sampled(0).grad_level_kl(2) is parts[1]
        assert torch.allclose(sum(parts), evidence.grad_kl)
        assert min(part.abs().max().item() for part in parts) > 0.01 * evidence.grad_kl.abs().max().item()
        assert torch.allclose(sum(model.level_kl(*evidence.posterior, level) for level in model.levels), evidence.kl)
    assert list(model.levels) == [1, 2]
    assert model.level_shapes == (((3, 4, 4), (3, 2, 2)) if spatial else ((3,), (3,)))
    assert model.latent == (3 * 16 + 3 * 4 if spatial else 6)


def test_the_kl_of_each_level_is_logged_and_an_autoencoder_has_none():
    model = hierarchy()
    batch = {"image": torch.rand(4, 1, 8, 8, dtype=torch.float64)}
    model.on_validation_epoch_start()
    model.validation_step(batch, 0)
    logged = model._means.compute()
    assert logged["val/kl_1"] + logged["val/kl_2"] == pytest.approx(logged["val/kl"].item())
    model = hierarchy(AE)
    assert model.level_kl(*model.encode(batch["image"]), 2).tolist() == [0.0] * 4


def test_two_levels_need_two_channels():
    with pytest.raises(ConfigError, match=r"model\.channels=\[4\]: model\.network=hierarchical .*model\.channels=null"):
        VAE((1, 8, 8), channels=(4,), network="hierarchical")
    with pytest.raises(ConfigError, match=r"dataset\.size=\[10, 8\] cannot be halved 2 times"):
        VAE((1, 10, 8), channels=(4, 4), network="hierarchical")


def test_the_lower_latent_has_no_part_in_an_image_before_training():
    model = VAE((1, 8, 8), latent=3, channels=(4, 4), network="hierarchical").eval()
    latent = torch.randn(1, 6)
    other = latent.clone()
    other[:, :3] += 1.0
    assert torch.equal(model.decode(latent), model.decode(other))
    other[:, 3:] += 1.0
    assert not torch.equal(model.decode(latent), model.decode(other))
