"""Predictors made of many samples of the latent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.models.vae import VAE
from anomaly_bench.predictors.base import Predictor, channel_mean, register
from anomaly_bench.predictors.evidence import Evidence


@register("latent_variance")
@dataclass(frozen=True)
class LatentVariance(Predictor):
    """The variance of the reconstruction over samples of the posterior: 1/n Σ (x̂(zᵢ) − mean)², zᵢ ~ q(z|x).

    The Monte-Carlo map of Seeböck et al. 2019 (arXiv 1905.12806), who sample dropout masks of a segmentation network; here
    the VAE's own posterior is what is sampled, and how often is our choice.

    Says where the model is unsure what to draw, whatever the image shows there: good at borders of what varies, and at
    images that the encoder places off the beaten track. Bad at anomalies the encoder is sure about, which are many; nothing
    (all 0) with an autoencoder.
    """

    iterative: ClassVar[bool] = True
    uses_latent: ClassVar[bool] = False  # it samples the latent itself
    blob_exempt: ClassVar[str] = "the posterior's spread need not grow where the image is unusual"

    samples: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 2:
            raise ConfigError(f"samples={self.samples}: expected at least 2, as of one there is no variance")

    def says_nothing(self, model: VAE) -> str:
        return (
            ""
            if model.variational
            else "an autoencoder has no posterior to sample; a VAE has (model=vae, model=beta_vae)"
        )

    def score(self, evidence: Evidence) -> Tensor:
        mean = torch.zeros_like(evidence.image)
        squares = torch.zeros_like(evidence.image)
        for number in range(self.samples):  # Welford 1962: no cancellation, and no more than one sample held
            change = evidence.sampled(number).reconstruction - mean
            mean += change / (number + 1)
            squares += change.square() * number / (number + 1)
        return channel_mean(squares / self.samples)
