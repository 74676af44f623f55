"""Every published map, with every kind of model, against its equation written out for one image."""

import math

import pytest
import torch
from torch.distributions import Laplace, Normal, kl_divergence

from anomaly_bench.models import AE, CEVAE, BetaVAE
from anomaly_bench.models.likelihoods import LIKELIHOODS
from anomaly_bench.predictors.base import build_predictor
from anomaly_bench.predictors.evidence import Evidence, frozen

SHAPE = (2, 16, 16)
NETWORK = {"latent": 3, "channels": (4, 8)}
BETA, L1, TV, STEP, NOISE, SAMPLES = 3.0, 0.1, 0.7, 1e-6, 0.1, 3
MODELS = {
    "gaussian": lambda: BetaVAE(SHAPE, beta=BETA, **NETWORK),
    "pixel": lambda: BetaVAE(SHAPE, beta=BETA, variance="pixel", **NETWORK),
    "laplace": lambda: BetaVAE(SHAPE, beta=BETA, likelihood="laplace", variance="scalar", **NETWORK),
    "bernoulli": lambda: BetaVAE(SHAPE, beta=BETA, likelihood="bernoulli", **NETWORK),
    "spatial": lambda: BetaVAE(SHAPE, beta=BETA, spatial=True, variance="optimal", attention=2, **NETWORK),
    "capacity": lambda: BetaVAE(SHAPE, beta=BETA, schedule="capacity", **NETWORK),
    "ce_vae": lambda: CEVAE(SHAPE, beta=BETA, **NETWORK),
    "ae": lambda: AE(SHAPE, **NETWORK),
}
ROWS = {
    "grad_rec": {"use": "gradient", "of": "rec"},
    "grad_kl": {"use": "gradient", "of": "kl"},
    "grad_elbo": {"use": "gradient"},
    "smoothgrad": {"use": "gradient", "noise_samples": SAMPLES, "noise": NOISE},
    "sampled": {"use": "gradient", "of": "rec", "latent_samples": SAMPLES},
    "combination": {"use": "combination"},
    "weighted": {"use": "reconstruction", "error": "weighted"},
    "latent_variance": {"use": "latent_variance", "samples": SAMPLES},
    "projection": {"use": "projection", "iterations": 6, "adaptive": False, "step": STEP, "l1": L1, "tolerance": 0.0},
    "restoration": {"use": "restoration", "iterations": 10, "step": STEP, "tv": TV},
    "positive": {"use": "reconstruction", "error": "positive"},
    "negative": {"use": "reconstruction", "error": "negative"},
    "combination_negative": {"use": "combination", "error": "negative"},
    "projection_positive": {
        "use": "projection",
        "adaptive": False,
        "iterations": 6,
        "step": STEP,
        "l1": L1,
        "stop": None,
        "error": "positive",
    },
    "restoration_negative": {"use": "restoration", "iterations": 10, "step": STEP, "tv": TV, "error": "negative"},
}


class Literal:
    """The equations, of one image (1, C, H, W) and a model whose weights take gradients."""

    def __init__(self, model, image, foreground):
        self.model, self.image, self.foreground = model, image, foreground
        self.beta = 0.0 if isinstance(model, AE) else BETA

    def terms(self, x, normal=0.0):
        """rec, KL, p(x|z)'s mean and variance, at posterior mean + normal · standard deviation."""
        model, likelihood = self.model, self.model.likelihood
        mean, logvar = model.encoder(x)
        deviation = torch.zeros_like(mean) if isinstance(model, AE) else (logvar / 2).exp()
        output = model.decoder(mean + normal * deviation)
        if isinstance(likelihood, LIKELIHOODS["bernoulli"]):
            p = torch.sigmoid(output)
            rec, density = -(x * p.log() + (1 - x) * (1 - p).log()), None
            found, variance = p, p * (1 - p)
        else:
            found, log_sigma = likelihood.split(output)
            sigma = (likelihood.log_sigma if log_sigma is None else log_sigma).exp()
            density = (Laplace if isinstance(likelihood, LIKELIHOODS["laplace"]) else Normal)(found, sigma)
            rec, variance = -density.log_prob(x), density.variance
        kl = (
            torch.zeros(()) if isinstance(model, AE) else kl_divergence(Normal(mean, deviation), Normal(0.0, 1.0)).sum()
        )
        return rec.sum(), kl, found.detach(), variance.detach()

    def gradient(self, x, rec=1.0, kl=1.0, normal=0.0, more=lambda x: 0.0):
        x = x.clone().requires_grad_(True)
        terms = self.terms(x, normal)
        return torch.autograd.grad(rec * terms[0] + kl * terms[1] + more(x) + 0 * x.sum(), x)[0]

    def normals(self, first, shape):
        return [
            torch.randn(shape, generator=torch.Generator().manual_seed(first + number)).double()
            for number in range(SAMPLES)
        ]

    def maps(self):
        x = self.image
        _, _, found, variance = self.terms(x)
        latent = self.normals(2**20, self.model.encoder(x)[0].shape)
        noisy = [x + NOISE * (x.max() - x.min()) * noise for noise in self.normals(0, x.shape)]
        maps = {
            "grad_rec": self.gradient(x, kl=0).abs(),
            "grad_kl": self.gradient(x, rec=0).abs(),
            "grad_elbo": self.gradient(x, kl=self.beta).abs(),
            "smoothgrad": torch.stack([self.gradient(one, kl=self.beta) for one in noisy]).mean(0).abs(),
            "sampled": torch.stack([self.gradient(x, kl=0, normal=normal) for normal in latent]).mean(0).abs(),
            "combination": (x - found).abs() * self.gradient(x, rec=0).abs(),
            "weighted": (x - found) ** 2 / variance,
            "latent_variance": torch.stack([self.terms(x, normal)[2] for normal in latent]).var(0, correction=0),
            "projection": (x - self.projected()).abs(),
            "restoration": (x - self.restored()).abs(),
            "positive": x - found,
            "negative": found - x,
            "combination_negative": (found - x) * self.gradient(x, rec=0).abs(),
            "projection_positive": x - self.projected(),
            "restoration_negative": self.restored() - x,
        }
        return {name: one.mean(dim=1, keepdim=True) for name, one in maps.items()}

    def unit(self):
        """The standard deviation of p(x|z), its mean over the image."""
        return self.terms(self.image)[3].sqrt().mean()

    def projected(self):
        """Dehaene et al. 2020, with the sparsity term in units of the density's standard deviation."""
        x, unit = self.image, self.unit()
        for _ in range(6):
            gradient = self.gradient(x, kl=0, more=lambda x: L1 * (x - self.image).abs().sum() / unit)
            x = x - STEP * gradient * (x - self.terms(x)[2]) ** 2
        return x

    def restored(self):
        """Chen et al. 2020, with the TV's kink rounded, in units in which rec is the squared error."""
        unit = math.sqrt(2) * self.unit()

        def tv(x):
            difference = (x - self.image) / unit
            steps = (difference[..., 1:, :] - difference[..., :-1, :], difference[..., 1:] - difference[..., :-1])
            return TV * sum(((step**2 + 0.01**2).sqrt() - 0.01).sum() for step in steps)

        x = self.image
        for number in range(10):
            gradient = unit * (unit * self.gradient(x, kl=self.beta, more=tv)).clamp(-50, 50)
            x = x - (STEP if number < 2 else 0.4 * STEP) * gradient * self.foreground
        return x


@pytest.mark.parametrize("name", MODELS)
def test_maps_are_the_published_equations_with_every_kind_of_model(name):
    torch.manual_seed(0)
    model = MODELS[name]().double()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    ramps = torch.rand(8, 2, 1, 1).double() * torch.linspace(0.1, 0.9, 16).double()[:, None].expand(*SHAPE)
    for _ in range(40):
        optimizer.zero_grad()
        sum(model.terms(ramps, sample=True)).mean().backward()
        optimizer.step()
    model.eval()
    batch = ramps[:2].clone()
    batch[:, :, 5:9, 5:9] *= 0.5
    foreground = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    foreground[0, :, :3] = False
    with frozen(model):
        evidence = Evidence(model, batch, foreground)
        found = {row: build_predictor(row, settings | {"smooth": 0.0})(evidence) for row, settings in ROWS.items()}
    for index in range(2):
        literal = Literal(model, batch[index][None], foreground[index][None]).maps()
        for row, expected in literal.items():
            assert torch.allclose(found[row][index][None], expected, rtol=1e-5, atol=1e-12), row
            silent = name == "ae" and row in ("grad_kl", "combination", "combination_negative", "latent_variance")
            assert (expected.max() == 0) == silent, row
    assert math.isfinite(sum(float(score.sum()) for score in found.values()))
