"""The two terms of the ELBO: p(x|z), its density and where its scale comes from, and the KL divergence from the prior."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.imports import import_path, load

from .processes import mean_of_all_processes

VARIANCES = ("fixed", "scalar", "optimal", "pixel")
AUTO = "auto"
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


class Likelihood(nn.Module, ABC):
    """p(x|z): its density, and where its scale sigma comes from.

    One of your own overrides `neg_log_density`, and of the rest what differs; it takes `sigma` and `variance` as this does.

    variance: where sigma comes from. fixed: it stays. scalar: one learned for all pixels (the gamma-VAE of Dehaene et al.
    2020, arXiv 2002.03734; the sigma-VAE of Rybkin et al. 2021, arXiv 2006.13202). optimal: in training the best one for
    the batch in closed form (Rybkin et al. 2021), at evaluation its running mean. pixel: the decoder says one for each
    pixel and channel, at least exp(−6). auto: optimal where the class has it, else fixed: with a sigma
    that suits the data, beta weighs the same on every dataset.
    variances: those that the class has. log_sigma: the single log scale (at first its start value, if learned); with pixel
    what the decoder's output 0 means.
    Raises ConfigError for unknown values and for a sigma that is not positive.
    """

    variances: ClassVar[tuple[str, ...]] = ("fixed", "scalar", "pixel")
    log_sigma: Tensor

    def __init__(self, sigma: float = 0.1, variance: str = "fixed") -> None:
        super().__init__()
        if variance == AUTO:
            variance = "optimal" if "optimal" in self.variances else "fixed"
        if variance not in self.variances:
            expected = f"one of {', '.join(self.variances)}" if len(self.variances) > 1 else self.variances[0]
            raise ConfigError(f"model.variance={variance}: expected {expected} with a likelihood {type(self).__name__}")
        if not 0 < sigma < math.inf:
            raise ConfigError(f"model.sigma={sigma}: expected a standard deviation greater than 0")
        self.variance = variance
        log_sigma = torch.tensor(math.log(sigma))
        if variance == "scalar":
            self.log_sigma = nn.Parameter(log_sigma)
        else:
            self.register_buffer("log_sigma", log_sigma)

    @abstractmethod
    def neg_log_density(self, image: Tensor, reconstruction: Tensor, log_sigma: Tensor) -> Tensor:
        """−log p(x|z) in nats, summed over channels and pixels: (B, C, H, W) twice to (B,).

        log_sigma: what `split` gave besides x̂, or the single one that all pixels share.
        """

    @property
    def outputs(self) -> int:
        """How many values the decoder gives for each value of an image."""
        return 2 if self.variance == "pixel" else 1

    @property
    def sigma(self) -> float | None:
        """The scale that all pixels share; None if there is no such thing."""
        return None if self.variance == "pixel" else float(self.log_sigma.detach().exp())

    def split(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """The decoder's output (B, C · outputs, H, W), unbounded, as the mean x̂ of p(x|z), (B, C, H, W), and its scale.

        The scale: with variance=pixel the log scales, of the same shape, else None for the one that all pixels share.
        """
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
            log_sigma = self._optimum(image - reconstruction) if optimal else self.log_sigma
        return self.neg_log_density(image, reconstruction, log_sigma)

    def variance_at(self, reconstruction: Tensor, log_sigma: Tensor | None = None) -> Tensor:
        """The variance of p(x|z) of what `split` gave: (B, C, H, W), or a single number where all pixels share it.

        Here sigma². Predictors divide by it and step along it.
        """
        return (2 * (self.log_sigma if log_sigma is None else log_sigma)).exp()

    def check(self, image: Tensor) -> None:
        """Raises ConfigError if the images (B, C, H, W) can have no such likelihood; asked of every training batch."""

    def best_sigma(self, error: Tensor) -> Tensor:
        """The scale that minimises a batch's nll, of its errors x − x̂; for a class with `optimal` among its variances.

        The batch is that of all processes of a distributed training together, see `mean_of_all_processes`.
        """
        raise NotImplementedError

    @torch.no_grad()
    def _optimum(self, error: Tensor) -> Tensor:
        """The log scale that minimises the batch's nll; no gradient has to pass, as it is at a minimum in it."""
        log_sigma = self.best_sigma(error).log().clamp(min=SMALLEST_LOG_SIGMA)
        self.log_sigma.lerp_(log_sigma.to(self.log_sigma), 1 - MEMORY)
        return log_sigma


class Gaussian(Likelihood):
    """A Gaussian of standard deviation sigma."""

    variances = VARIANCES

    def neg_log_density(self, image: Tensor, reconstruction: Tensor, log_sigma: Tensor) -> Tensor:
        return gaussian_nll(image, reconstruction, log_sigma)

    def best_sigma(self, error: Tensor) -> Tensor:
        return mean_of_all_processes(error.square().mean()).sqrt()


class Laplace(Likelihood):
    """A Laplace distribution of scale b = sigma."""

    variances = VARIANCES

    def neg_log_density(self, image: Tensor, reconstruction: Tensor, log_sigma: Tensor) -> Tensor:
        return laplace_nll(image, reconstruction, log_sigma)

    def variance_at(self, reconstruction: Tensor, log_sigma: Tensor | None = None) -> Tensor:
        return 2 * super().variance_at(reconstruction, log_sigma)

    def best_sigma(self, error: Tensor) -> Tensor:
        return mean_of_all_processes(error.abs().mean())


class Bernoulli(Likelihood):
    """A Bernoulli distribution of grey values in [0, 1]; sigma has no part in it."""

    variances = ("fixed",)

    @property
    def sigma(self) -> None:
        return None

    def neg_log_density(self, image: Tensor, reconstruction: Tensor, log_sigma: Tensor) -> Tensor:
        return bernoulli_nll(image, reconstruction, log_sigma)

    def split(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        return output.sigmoid(), None

    def variance_at(self, reconstruction: Tensor, log_sigma: Tensor | None = None) -> Tensor:
        probability = reconstruction.clamp(PROBABILITY, 1 - PROBABILITY)
        return probability * (1 - probability)

    def check(self, image: Tensor) -> None:
        if image.amin() < 0 or image.amax() > 1:
            raise ConfigError(
                f"model.likelihood=bernoulli: images have values from {float(image.amin()):.3g} to {float(image.amax()):.3g},"
                " expected 0 to 1; scale them (volumes: dataset.preprocess.scale.clip=1) or set model.likelihood=gaussian"
            )


LIKELIHOODS: dict[str, type[Likelihood]] = {"gaussian": Gaussian, "laplace": Laplace, "bernoulli": Bernoulli}


def build_likelihood(given: str | type[Likelihood], sigma: float, variance: str, shape: tuple[int, ...]) -> Likelihood:
    """One of LIKELIHOODS, or a user's own class or its import path, which is tried on grey images of shape (C, H, W).

    Raises ConfigError for an unknown one, and for one of the user's own that does not keep to what Likelihood says.
    """
    path = given if isinstance(given, str) else import_path(given)
    if path in LIKELIHOODS:
        return LIKELIHOODS[path](sigma, variance)
    if "." not in path:
        raise ConfigError(f"model.likelihood={path}: expected one of {', '.join(LIKELIHOODS)}, or package.module.Name")
    cls = load("model.likelihood", given) if isinstance(given, str) else given
    name = f"model.likelihood={path}"
    if not (isinstance(cls, type) and issubclass(cls, Likelihood)):
        raise ConfigError(f"{name}: expected a subclass of anomaly_bench.models.Likelihood")
    try:
        likelihood = cls(sigma=sigma, variance=variance)
        _try(likelihood.eval(), shape)
    except ConfigError as error:
        raise ConfigError(str(error) if str(error).startswith("model.") else f"{name}: {error}") from error
    except Exception as error:  # whatever a user's code raises
        raise ConfigError(f"{name}: {type(error).__name__}: {error}") from error
    return likelihood.train()


@torch.no_grad()
def _try(likelihood: Likelihood, shape: tuple[int, ...]) -> None:
    """Raises ConfigError unless a likelihood gives what it has to of two grey images and a decoder that says 0."""
    image = torch.full((2, *shape), 0.5)
    reconstruction, scale = likelihood.split(torch.zeros(2, shape[0] * likelihood.outputs, *shape[1:]))
    if reconstruction.shape != image.shape:
        said = f"of a decoder's {[shape[0] * likelihood.outputs, *shape[1:]]} `split` makes {list(reconstruction.shape[1:])}"
        raise ConfigError(f"{said}, expected images of {list(shape)}; `outputs` says how many values it needs for each")
    nll, variance = likelihood.nll(image, reconstruction, scale), likelihood.variance_at(reconstruction, scale)
    if nll.shape != (2,):
        raise ConfigError(
            f"the nll of two grey images is of shape {list(nll.shape)}, expected (B,): [2], a sum for each image"
        )
    if not nll.isfinite().all():
        raise ConfigError(f"the nll of two grey images is {nll.tolist()}, expected a finite number for each image")
    if variance.shape not in ((), image.shape) or not (variance.isfinite().all() and (variance > 0).all()):
        said = f"`variance_at` gives {list(variance.shape)}, least {float(variance.min()):.3g}"
        raise ConfigError(f"{said}; expected finite variances above 0, a single one or {list(image.shape)}")
