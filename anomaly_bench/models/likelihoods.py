"""The two terms of the ELBO: p(x|z), its density and where its scale comes from, and the KL divergence from the prior."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomaly_bench.base.errors import ConfigError

VARIANCES = ("fixed", "scalar", "optimal", "pixel")
SMALLEST_LOG_SIGMA = -6.0  # Rybkin et al. 2021 clip there too: a constant background would take sigma to 0
MEMORY = 0.9  # of the optimal scale from batch to batch
PROBABILITY = 1e-7  # how close to 0 or 1 a Bernoulli probability may come


def kl_standard_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) ‖ N(0, I)) in nats, summed over the latents: (B, latent…) twice to (B,).

    Kingma & Welling 2014, appendix B.
    """
    mean, logvar = at_least_single(mean), at_least_single(logvar)
    return 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).flatten(1).sum(dim=1)


def gaussian_nll(image: Tensor, reconstruction: Tensor, log_sigma: Tensor) -> Tensor:
    """−log N(image; reconstruction, sigma²) in nats, summed over channels and pixels: (B, C, H, W) twice to (B,).

    log_sigma: a single one, or one per pixel (B, C, H, W).
    """
    reconstruction = at_least_single(reconstruction)
    squared = ((image - reconstruction) / log_sigma.exp()).square()
    return (0.5 * squared + log_sigma + 0.5 * math.log(2 * math.pi)).flatten(1).sum(dim=1)


def laplace_nll(image: Tensor, reconstruction: Tensor, log_sigma: Tensor) -> Tensor:
    """−log Laplace(image; reconstruction, b = exp(log_sigma)) in nats, summed like `gaussian_nll`; the variance is 2b²."""
    reconstruction = at_least_single(reconstruction)
    absolute = (image - reconstruction).abs() / log_sigma.exp()
    return (absolute + log_sigma + math.log(2)).flatten(1).sum(dim=1)


def bernoulli_nll(image: Tensor, probability: Tensor, log_sigma: Tensor) -> Tensor:
    """−x log p − (1 − x) log(1 − p) in nats, summed like `gaussian_nll`; log_sigma has no part in it.

    For x in {0, 1} this is −log Bernoulli(x; p). Between 0 and 1 it is the usual cross-entropy of grey values, which is no
    normalised density (Loaiza-Ganem & Cunningham 2019, arXiv 1907.06845).
    """
    probability = at_least_single(probability).clamp(PROBABILITY, 1 - PROBABILITY)
    return -(image * probability.log() + (1 - image) * (-probability).log1p()).flatten(1).sum(dim=1)


def at_least_single(values: Tensor) -> Tensor:
    """Half precision to single: sums over thousands of values, and 1 − 1e-7, do not exist in it."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


DENSITIES = {"gaussian": gaussian_nll, "laplace": laplace_nll, "bernoulli": bernoulli_nll}


class Likelihood(nn.Module):
    """p(x|z), independent over pixels and channels.

    kind: gaussian with standard deviation sigma, laplace with scale b = sigma, or bernoulli of grey values in [0, 1].
    variance: where sigma comes from. fixed: it stays. scalar: one learned for all pixels (the gamma-VAE of Dehaene et al.
    2020, arXiv 2002.03734; the sigma-VAE of Rybkin et al. 2021, arXiv 2006.13202). optimal: in training the best one for
    the batch in closed form (Rybkin et al. 2021), at evaluation its running mean. pixel: the decoder says one for each
    pixel and channel, at least exp(−6).
    log_sigma: the single log scale (at first its start value, if learned); with pixel what the decoder's output 0 means.
    Raises ConfigError for unknown values and for a sigma that is not positive.
    """

    log_sigma: Tensor

    def __init__(self, kind: str = "gaussian", sigma: float = 0.1, variance: str = "fixed") -> None:
        super().__init__()
        if kind not in DENSITIES:
            raise ConfigError(f"model.likelihood={kind}: expected one of {', '.join(DENSITIES)}")
        if variance not in VARIANCES:
            raise ConfigError(f"model.variance={variance}: expected one of {', '.join(VARIANCES)}")
        if kind == "bernoulli" and variance != "fixed":
            raise ConfigError(f"model.variance={variance}: a Bernoulli likelihood has none to learn; set fixed")
        if not 0 < sigma < math.inf:
            raise ConfigError(f"model.sigma={sigma}: expected a standard deviation greater than 0")
        self.kind, self.variance, self.density = kind, variance, DENSITIES[kind]
        log_sigma = torch.tensor(math.log(sigma))
        if variance == "scalar":
            self.log_sigma = nn.Parameter(log_sigma)
        else:
            self.register_buffer("log_sigma", log_sigma)

    @property
    def outputs(self) -> int:
        """How many values the decoder gives for each value of an image."""
        return 2 if self.variance == "pixel" else 1

    @property
    def sigma(self) -> float | None:
        """The scale that all pixels share; None if there is no such thing."""
        return None if self.kind == "bernoulli" or self.variance == "pixel" else float(self.log_sigma.detach().exp())

    def split(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """The decoder's output as x̂ (B, C, H, W) and, with variance=pixel, the log scales of the same shape, else None."""
        if self.kind == "bernoulli":
            return output.sigmoid(), None
        if self.variance != "pixel":
            return output, None
        reconstruction, raw = output.chunk(2, dim=1)
        return reconstruction, SMALLEST_LOG_SIGMA + F.softplus(raw + self.log_sigma - SMALLEST_LOG_SIGMA)

    def nll(self, image: Tensor, reconstruction: Tensor, log_sigma: Tensor | None = None) -> Tensor:
        """−log p(x|z) per image (B,), in nats, of what `split` gave. Raises ValueError if log scales per pixel are missing."""
        if log_sigma is None:
            if self.variance == "pixel":
                raise ValueError("variance=pixel: nll needs the log scales; pass on both of VAE.decode_with_scale")
            optimal = self.training and self.variance == "optimal"
            log_sigma = self._optimum(image, reconstruction) if optimal else self.log_sigma
        return self.density(image, reconstruction, log_sigma)

    def variance_at(self, reconstruction: Tensor, log_sigma: Tensor | None = None) -> Tensor:
        """The variance of p(x|z) of what `split` gave: (B, C, H, W), or a single number where all pixels share it."""
        if self.kind == "bernoulli":
            probability = reconstruction.clamp(PROBABILITY, 1 - PROBABILITY)
            return probability * (1 - probability)
        squared = (2 * (self.log_sigma if log_sigma is None else log_sigma)).exp()
        return 2 * squared if self.kind == "laplace" else squared

    def check(self, image: Tensor) -> None:
        """Raises ConfigError if the images (B, C, H, W) can have no such likelihood."""
        if self.kind == "bernoulli" and (image.amin() < 0 or image.amax() > 1):
            raise ConfigError(
                f"model.likelihood=bernoulli: images have values from {float(image.amin()):.3g} to {float(image.amax()):.3g},"
                " expected 0 to 1; scale them (volumes: dataset.preprocess.scale.clip=1) or set model.likelihood=gaussian"
            )

    @torch.no_grad()
    def _optimum(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        """The log scale that minimises the batch's nll; no gradient has to pass, as it is at a minimum in it."""
        error = image - reconstruction
        best = error.abs().mean() if self.kind == "laplace" else error.square().mean().sqrt()
        log_sigma = best.log().clamp(min=SMALLEST_LOG_SIGMA)
        self.log_sigma.lerp_(log_sigma.to(self.log_sigma), 1 - MEMORY)
        return log_sigma
