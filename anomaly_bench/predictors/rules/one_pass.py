"""Predictors that one forward and at most two backward passes give."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.models.vae import VAE
from anomaly_bench.predictors.base import NO_KL, SIGNS, Predictor, channel_mean, mean_of, one_of, register
from anomaly_bench.predictors.evidence import Evidence
from anomaly_bench.predictors.filters import each, slice_by_slice, ssim_map

ERRORS = ("l1", "l2", "ssim", *SIGNS)


@dataclass(frozen=True)
class Difference(Predictor):
    """What compares the image with another one, pixel by pixel.

    error: l1 for |x − y|, l2 for (x − y)², ssim for 1 − SSIM, which is twice the DSSIM; positive for x − y, where anomalies are
    brighter than what is normal there, negative for y − x, where they are darker; signed for the one of these two that the
    dataset's YAML knows to be right (dataset.polarity), or else the one of the higher average precision on validation images.
    window, sigma, data_range: of the SSIM: the side of its Gaussian window in pixels, odd, the Gaussian's standard deviation,
    and how far the images' values reach.
    """

    errors: ClassVar[tuple[str, ...]] = ERRORS

    error: str = "l1"
    window: int = 11
    sigma: float = 1.5
    data_range: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("error", self.error, self.errors)
        check_window(self.window, self.sigma)
        if self.data_range <= 0:
            raise ConfigError(f"data_range={self.data_range}: expected max − min of the images' values, above 0")

    @property
    def signed(self) -> str | None:
        return self.error if self.error in SIGNS else None

    def difference(self, image: Tensor, other: Tensor) -> Tensor:
        """The map (B, 1, H, W) of two batches of images (B, C, H, W)."""
        if self.error == "ssim":
            ssim = partial(ssim_map, data_range=self.data_range, window=self.window, sigma=self.sigma)
            return channel_mean(1 - slice_by_slice(ssim, image, other))
        if self.signed:
            return channel_mean(image - other)
        difference = (image - other).abs()
        return channel_mean(difference if self.error == "l1" else difference.square())


@register("reconstruction")
@dataclass(frozen=True)
class Reconstruction(Difference):
    """How far the image is from its reconstruction x̂.

    error: l1 for |x − x̂|, l2 for (x − x̂)², ssim for 1 − SSIM (11×11 Gaussian window, sigma 1.5; Bergmann et al. 2018, arXiv
    1807.02011), weighted for (x − x̂)² / variance of p(x|z), in which pixels that the model knows to be uncertain count less
    (the idea of Kendall & Gal 2017, arXiv 1703.04977). With one variance for all pixels, that is l2 up to a factor and
    ranks the same; it differs with model.variance=pixel or a Bernoulli likelihood, whose variance is x̂ (1 − x̂). positive,
    negative, signed: see Difference.

    Good at anomalies of unusual intensity, which have to be large enough not to be reconstructed; ssim also at wrong texture
    of usual intensity. Bad wherever normal detail is blurred away: edges and fine structure respond as lesions do.
    """

    errors: ClassVar[tuple[str, ...]] = ("l1", "l2", "ssim", "weighted", *SIGNS)

    def simplified(self, model: VAE) -> Predictor:
        """With one variance for all pixels, `weighted` is l2 up to a factor."""
        weighted = self.error == "weighted" and one_variance(model)
        return super(Reconstruction, replace(self, error="l2") if weighted else self).simplified(model)

    def score(self, evidence: Evidence) -> Tensor:
        if self.error == "weighted":
            return channel_mean(evidence.error.square().div_(evidence.variance))
        if self.error == "ssim" or self.signed:
            return self.difference(evidence.image, evidence.reconstruction)
        return channel_mean(evidence.error if self.error == "l1" else evidence.error.square())


@register("gradient")
@dataclass(frozen=True)
class Gradient(Predictor):
    """|∂term/∂x|, the size of the gradient of the ELBO's loss or of a part of it (Zimmerer et al. 2019, arXiv 1907.02796).

    of: rec, kl, or elbo = rec + beta · kl. average_of: what noise_samples and latent_samples average: the signed gradients, as
    SmoothGrad does (Smilkov et al. 2017), or their sizes, as the public code of Zimmerer et al. 2018 (arXiv 1812.05941) does.
    level: with kl and a hierarchy of latents, the part of it that one level has, 1 next to the image (the sum over levels is
    that of Sønderby et al. 2016, arXiv 1602.02282); 0 for all of it.

    rec is good at what the reconstruction error is good at, and shows pixels that spoil the reconstruction of others. kl
    shows what moves the code away from the prior: it needs no good reconstruction. Bad where the posterior has collapsed
    (and with an autoencoder): there it says nothing. It carries the pattern of the encoder's strides and depends much on
    the VAE's setting. Smoothing helps all of them.
    """

    of: str = "elbo"
    average_of: str = "signed"
    level: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("of", self.of, ("rec", "kl", "elbo"))
        one_of("average_of", self.average_of, ("signed", "size"))
        if self.level < 0 or (self.level and self.of != "kl"):
            raise ConfigError(f"level={self.level}, of={self.of}: expected 0, or with of=kl a level of latents, from 1")

    def says_nothing(self, model: VAE) -> str:
        if self.of == "kl" and not model.variational:
            return NO_KL
        return no_such_level(model, self.level) if self.level else ""

    def simplified(self, model: VAE) -> Predictor:
        """Where beta is 0, as of an autoencoder, the ELBO's gradient is that of rec."""
        rec = self.of == "elbo" and model.beta == 0
        return super(Gradient, replace(self, of="rec") if rec else self).simplified(model)

    def score(self, evidence: Evidence) -> Tensor:
        return channel_mean(self._gradient(evidence).abs())

    def average(self, views: Iterable[Evidence]) -> Tensor:
        if self.average_of == "size":
            return super().average(views)
        return channel_mean(mean_of(self._gradient(view) for view in views).abs())

    def _gradient(self, evidence: Evidence) -> Tensor:
        if self.level:
            return evidence.grad_level_kl(self.level)
        gradient: Tensor = getattr(evidence, f"grad_{self.of}")
        return gradient


@register("latent_kl")
@dataclass(frozen=True)
class LatentKL(Predictor):
    """KL(q(z|x) ‖ p(z)) of each place of a spatial latent, summed over its channels, enlarged to the image (bilinearly).

    After the use of Pinaya et al. 2022 (arXiv 2102.11650) of what a prior says about each place of a latent; their prior is a
    transformer over discrete latents, ours what the KL term has. level: of a hierarchy, 1 next to the image.

    Good at showing where the code is unusual, without a gradient's pattern of strides. Bad at anything smaller than a place
    of the latent, and wherever the code of a place has learned nothing.
    """

    blob_exempt: ClassVar[str] = "a dense latent has no places, all pixels get the image's KL"

    level: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.level < 1:
            raise ConfigError(f"level={self.level}: expected a level of latents, from 1")

    def says_nothing(self, model: VAE) -> str:
        if not model.variational:
            return NO_KL
        if self.level > 1 and (missing := no_such_level(model, self.level)):
            return missing
        places = len(model.level_shapes[self.level - 1]) > 1
        return "" if places else "a dense latent has no places; one that is a map has (model.spatial=true)"

    def score(self, evidence: Evidence) -> Tensor:
        latents = [evidence.model.of_level(part, self.level) for part in evidence.posterior]
        images, channels, *places = latents[0].shape
        mean, logvar = (part.view(images, channels, -1).transpose(1, 2).flatten(0, 1) for part in latents)
        size = evidence.image.shape[2:]
        kl = evidence.model.kl(mean, logvar).view(images, 1, *(places or [1] * len(size)))
        return F.interpolate(kl, size, mode="bilinear" if len(size) == 2 else "trilinear")


@register("combination")
@dataclass(frozen=True)
class Combination(Predictor):
    """Reconstruction error and KL gradient together (Zimmerer et al. 2019, arXiv 1907.02796).

    error: l1 for |x − x̂|, or positive, negative or signed, as of Difference, in its place in the product.
    how: product for |x − x̂| ⊙ |∂KL/∂x|, the paper's; sum for |x − x̂| / range + weight · |∂KL/∂x| / range, both divided by
    how far they reach in the image's foreground. The authors' public code sums so with the ranges over all test pixels
    together, which no map of one image can know; an ensemble of the two, calibrated on normal images, is the other stand-in.

    Good at suppressing the false alarms of either: the product keeps what both agree on. Bad where the KL gradient is (see
    Gradient); the sum is less so, but gives each image's strongest response about the same score, anomaly or not.
    """

    how: str = "product"
    weight: float = 1.0
    error: str = "l1"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("how", self.how, ("product", "sum"))
        one_of("error", self.error, ("l1", *SIGNS))
        if self.signed and self.how == "sum":
            raise ConfigError(
                f"error={self.error}, how=sum: the sum adds sizes, a signed error goes with how=product alone"
            )
        if self.weight <= 0:
            raise ConfigError(f"weight={self.weight}: expected the KL gradient's weight in the sum, above 0")

    @property
    def signed(self) -> str | None:
        return self.error if self.error in SIGNS else None

    def says_nothing(self, model: VAE) -> str:
        return "" if model.variational else NO_KL

    def score(self, evidence: Evidence) -> Tensor:
        if self.signed:
            return channel_mean((evidence.image - evidence.reconstruction) * evidence.grad_kl.abs())
        if self.how == "product":
            return channel_mean((evidence.error * evidence.grad_kl).abs_())
        error, gradient = channel_mean(evidence.error), channel_mean(evidence.grad_kl.abs())
        return to_unit(error, evidence.foreground) + self.weight * to_unit(gradient, evidence.foreground)


def no_such_level(model: VAE, level: int) -> str:
    """Why the model has no KL of this level of latents beside its whole KL; empty if it has."""
    if level in model.levels and len(model.levels) > 1:
        return ""
    have = "1 level" if len(model.levels) == 1 else f"{len(model.levels)} levels"
    return f"the model's latents have {have}; model.network=hierarchical has 2"


def one_variance(model: VAE) -> bool:
    """Whether the model's p(x|z) has the same variance at all pixels of all images."""
    likelihood, (channels, *size) = model.likelihood, model.shape
    output = torch.zeros(1, channels * likelihood.outputs, *size, device=model.device)
    return likelihood.variance_at(*likelihood.split(output)).numel() == 1


def to_unit(score: Tensor, foreground: Tensor) -> Tensor:
    """Each map (B, 1, H, W) shifted and scaled so that it goes from 0 to 1 in its foreground; 0 where it is constant."""
    low = each(score.masked_fill(~foreground, float("inf")).flatten(1).amin(dim=1), score)
    high = each(score.masked_fill(~foreground, float("-inf")).flatten(1).amax(dim=1), score)
    return ((score - low) / (high - low)).masked_fill(high <= low, 0)


def check_window(window: int, sigma: float) -> None:
    """Raises ConfigError unless it is a Gaussian window."""
    if window < 1 or window % 2 == 0 or sigma <= 0:
        raise ConfigError(f"window={window}, sigma={sigma}: expected an odd side in pixels and a sigma above 0")
