"""The VAE (Kingma & Welling 2014, arXiv 1312.6114)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from data_modules.batch import AnomalyBatch

from ..errors import ConfigError
from .elbo import GaussianLikelihood, kl_standard_normal
from .networks import Decoder, Encoder


class VAE(pl.LightningModule):
    """A VAE of images with a dense Gaussian latent.

    Loss = −log p(x|z) summed over pixels and channels + beta · KL summed over latents, mean over the batch, with one
    posterior sample per image in training and the posterior mean in validation. Logs `val/elbo` = −loss over *normal*
    validation images: the only quantity that selects a model.

    rec_levels: the percentiles 0 to 100 of rec over normal training images, NaN until they are estimated.
    shape: (C, H, W); both sides divisible by 2^len(channels). Raises ConfigError for values that make no model.
    """

    rec_levels: Tensor

    def __init__(
        self,
        shape: tuple[int, int, int],
        latent: int = 64,
        channels: Sequence[int] = (16, 32, 64, 64),
        sigma: float = 0.1,
        learn_sigma: bool = False,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if latent < 1 or not channels or min(channels) < 1:
            raise ConfigError(f"model.latent={latent}, model.channels={list(channels)}: expected sizes of at least 1")
        if not 0 < sigma < math.inf:
            raise ConfigError(f"model.sigma={sigma}: expected a standard deviation greater than 0")
        self.save_hyperparameters()
        self.shape, self.latent, self.lr = shape, latent, lr
        self.encoder = Encoder(shape, channels, latent)
        self.decoder = Decoder(shape, channels, latent)
        self.likelihood = GaussianLikelihood(sigma, learn_sigma)
        self.register_buffer("rec_levels", torch.full((101,), float("nan")))

    @property
    def beta(self) -> float:
        """The weight of the KL term in the ELBO, in the raw unit."""
        return 1.0

    def training_beta(self) -> float:
        """The weight of the KL term at this moment of the training."""
        return self.beta

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log variance, (B, latent) each, of images (B, C, H, W)."""
        mean, logvar = self.encoder(image)
        return mean, logvar

    def decode(self, latent: Tensor) -> Tensor:
        """Reconstructions (B, C, H, W) of latents (B, latent)."""
        reconstruction: Tensor = self.decoder(latent)
        return reconstruction

    def terms(self, image: Tensor, sample: bool) -> tuple[Tensor, Tensor]:
        """rec = −log p(x|z) and kl, each (B,) in nats; z is a posterior sample, or the posterior mean."""
        mean, logvar = self.encode(image)
        latent = mean + torch.randn_like(mean) * (0.5 * logvar).exp() if sample else mean
        return self.likelihood.nll(image, self.decode(latent)), kl_standard_normal(mean, logvar)

    def training_step(self, batch: AnomalyBatch, batch_idx: int) -> Tensor:
        rec, kl = self.terms(batch["image"], sample=True)
        loss = (rec + self.training_beta() * kl).mean()
        values = {"train/loss": loss.detach(), "train/rec": rec.detach().mean(), "train/kl": kl.detach().mean()}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(rec))
        return loss

    def validation_step(self, batch: AnomalyBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        if (
            dataloader_idx > 0 or self.trainer.state.fn == TrainerFn.VALIDATING
        ):  # anomalous images are localized, never selected on
            return
        rec, kl = self.terms(batch["image"], sample=False)
        values = {"val/elbo": -(rec + self.beta * kl).mean(), "val/rec": rec.mean(), "val/kl": kl.mean()}
        self.log_dict(values, on_epoch=True, batch_size=len(rec), add_dataloader_idx=False)

    def test_step(self, batch: AnomalyBatch, batch_idx: int) -> None:
        """Nothing of its own: the LocalizationCallback does the testing."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class BetaVAE(VAE):
    """A VAE whose KL term is weighted with beta > 0 (Higgins et al. 2017).

    normalised: beta is given in units of latent size / input size, so that the raw weight is beta · input size / latent
    size. warmup_epochs: the raw weight grows linearly from 0 over that many epochs of training; validation always uses
    all of it. Other arguments as for VAE.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        latent: int = 64,
        channels: Sequence[int] = (16, 32, 64, 64),
        sigma: float = 0.1,
        learn_sigma: bool = False,
        lr: float = 1e-3,
        beta: float = 4.0,
        normalised: bool = False,
        warmup_epochs: int = 0,
    ) -> None:
        super().__init__(shape, latent, channels, sigma, learn_sigma, lr)
        if not 0 < beta < math.inf:
            raise ConfigError(f"model.beta={beta}: expected a number greater than 0; beta=1 is the VAE")
        if warmup_epochs < 0:
            raise ConfigError(f"model.warmup_epochs={warmup_epochs}: expected 0 or more epochs")
        self._beta = beta * input_size(shape) / latent if normalised else beta
        self.warmup_epochs = warmup_epochs

    @property
    def beta(self) -> float:
        return self._beta

    def training_beta(self) -> float:
        if self.warmup_epochs == 0:
            return self.beta
        warmup_steps = self.warmup_epochs * int(self.trainer.num_training_batches)
        return self.beta * min(1.0, self.trainer.global_step / warmup_steps)


def input_size(shape: tuple[int, int, int]) -> int:
    """How many values an image has."""
    return shape[0] * shape[1] * shape[2]
