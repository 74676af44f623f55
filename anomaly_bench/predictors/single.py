"""Predictors that one forward and at most two backward passes give, and the baseline that needs no model."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..evidence import Evidence
from .base import Predictor, channel_mean, one_of, register
from .filters import equalise, ssim_map


@register("reconstruction")
@dataclass(frozen=True)
class Reconstruction(Predictor):
    """How far the image is from its reconstruction.

    error: l1 for |x − x̂|, l2 for (x − x̂)², ssim for 1 − SSIM (Bergmann et al. 2018, arXiv 1807.02011).
    """

    error: str = "l1"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("error", self.error, ("l1", "l2", "ssim"))

    def score(self, evidence: Evidence) -> Tensor:
        if self.error == "ssim":
            return channel_mean(1 - ssim_map(evidence.image, evidence.reconstruction))
        difference = (evidence.image - evidence.reconstruction).abs()
        return channel_mean(difference if self.error == "l1" else difference.square())


@register("gradient")
@dataclass(frozen=True)
class Gradient(Predictor):
    """|∂term/∂x|, the size of the gradient of the ELBO's loss or of a part of it (Zimmerer et al. 2019, arXiv 1907.02796).

    of: rec, kl, or elbo = rec + beta · kl.
    """

    of: str = "elbo"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("of", self.of, ("rec", "kl", "elbo"))

    def score(self, evidence: Evidence) -> Tensor:
        gradient: Tensor = getattr(evidence, f"grad_{self.of}")
        return channel_mean(gradient.abs())


@register("combination")
@dataclass(frozen=True)
class Combination(Predictor):
    """Reconstruction error times KL gradient, |x − x̂| ⊙ |∂KL/∂x| (Zimmerer et al. 2019, arXiv 1907.02796)."""

    def score(self, evidence: Evidence) -> Tensor:
        return channel_mean((evidence.image - evidence.reconstruction).abs() * evidence.grad_kl.abs())


@register("intensity")
@dataclass(frozen=True)
class Intensity(Predictor):
    """The image's own intensity, mean over channels: the baseline without a model (Meissen et al. 2021, arXiv 2109.06023).

    equalised: whether each image's foreground histogram is equalised first.
    """

    equalised: bool = False

    def score(self, evidence: Evidence) -> Tensor:
        grey = channel_mean(evidence.image)
        return equalise(grey, evidence.foreground) if self.equalised else grey
