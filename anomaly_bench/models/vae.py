"""The VAE (Kingma & Welling 2014, arXiv 1312.6114)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.imports import import_path

from .arguments import check_types
from .batches import check_training, image_of, normal_images
from .corruption import Corruption
from .epoch import ActiveUnits, Means
from .likelihoods import Likelihood, build_likelihood, kl_standard_normal
from .muon import Muon
from .networks import Network, NetworkSpec
from .parts import build_parts, path_of
from .processes import of_all_processes
from .slices import middle_of

OPTIMIZERS = {"muon": (3e-3, 1.0), "adam": (1e-3, 0.0)}  # the lr and the weight decay that go well with it
COLLAPSED = 5  # validation epochs in a row without an active unit


class VAE(pl.LightningModule):
    """A VAE of images with a Gaussian latent.

    Loss = −log p(x|z) summed over pixels and channels + beta · KL summed over latents, mean over the batch, with one
    posterior sample per image. Logs `val/elbo` = −loss over *normal* validation images, with the same samples in every epoch,
    the only quantity that selects a model, `val/elbo_mean`, which has the posterior mean in the place of a sample and is
    higher, and `val/active_units`. `model(image)` is the
    reconstruction. Batches are dicts with `image` (B, C, H, W) and, to validate, `mask`, nonzero where anomalous: an image
    without a mask, or with an empty one, is normal. The first epoch of a training raises ValueError for anomalous images and
    for values that are not finite.

    shape: (C, H, W) of what is reconstructed. context: k for images (B, (2k + 1) · C, H, W), a slice of a volume with k
    neighbours on either side, one after the other; `middle` is the slice in question, which alone is reconstructed: −log p(x|z)
    is of it, and z of all. Or shape: (C, D, H, W) of volumes of D slices, which are images of three dimensions: where it says
    (B, C, H, W) of images, they are (B, C, D, H, W). network, latent, channels, spatial, attention, patch, positions: see
    NetworkSpec; network is one of NETWORKS, or a function like them or its import path. likelihood: one of LIKELIHOODS, or
    a subclass of Likelihood or its import path; sigma, variance: see there. noise, masks, mask_size: how the encoder's input is
    corrupted in training (see Corruption), while the loss is that of the clean image: a denoising model (Vincent et al. 2008;
    Im et al. 2017). channels_last: memory layout of weights and features, which is quicker with many channels and on GPUs;
    numbers agree to 1e-4 of their range. optimizer: muon (see Muon) or adam, with lr and
    weight_decay; None: see OPTIMIZERS.

    latent: how many latent units an image has; latent_shape: their shape, (latent,) or (latent, h, w). level_shapes: those of
    the levels of a hierarchy, from the one next to the image; with several, a latent (latent,) is them one after the other.
    rec_levels: the percentiles 0 to 100 of rec over normal training images, NaN until they are estimated.
    Raises ConfigError for values that make no model.
    """

    rec_levels: Tensor
    variational: ClassVar[bool] = True

    def __init__(
        self,
        shape: Sequence[int],
        latent: int = 64,
        channels: Sequence[int] | None = (16, 32, 64, 64),
        sigma: float = 0.1,
        lr: float | None = None,
        network: str | Network = "conv",
        spatial: bool = False,
        attention: int = 0,
        patch: int | None = None,
        positions: str = "learned",
        likelihood: str | type[Likelihood] = "gaussian",
        variance: str = "auto",
        noise: float = 0.0,
        masks: int = 0,
        mask_size: float = 0.5,
        channels_last: bool = False,
        weight_decay: float | None = None,
        optimizer: str = "muon",
        context: int = 0,
    ) -> None:
        check_types(VAE.__init__, locals())
        super().__init__()
        if len(shape) not in (3, 4) or min(shape) < 1:
            expected = "(C, H, W) of images, or (C, D, H, W) of volumes, of at least 1 each"
            raise ConfigError(f"{type(self).__name__}(shape={tuple(shape)}): expected {expected}")
        if optimizer not in OPTIMIZERS:
            raise ConfigError(f"model.optimizer={optimizer}: expected one of {', '.join(OPTIMIZERS)}")
        if weight_decay is not None and not 0 <= weight_decay < math.inf:
            raise ConfigError(f"model.weight_decay={weight_decay}: expected 0 for none, or such as 1e-5 with adam")
        if latent < 1 or (channels is not None and (not channels or min(channels) < 1)):
            shown = None if channels is None else list(channels)
            raise ConfigError(f"model.latent={latent}, model.channels={shown}: expected sizes of at least 1")
        self.save_hyperparameters()
        self.hparams.update(network=path_of(network))  # a checkpoint holds no code
        if not isinstance(likelihood, str):
            self.hparams.update(likelihood=import_path(likelihood))
        self.shape, self.optimizer = tuple(shape), optimizer
        usual_lr, usual_decay = OPTIMIZERS[optimizer]
        self.lr = usual_lr if lr is None else lr
        self.weight_decay = usual_decay if weight_decay is None else weight_decay
        self.input_shape = ((2 * context + 1) * shape[0], *shape[1:])
        self.corrupted = Corruption(noise, masks, mask_size)
        last = torch.channels_last if len(shape) == 3 else torch.channels_last_3d
        self.memory_format = last if channels_last else torch.contiguous_format
        density = build_likelihood(likelihood, sigma, variance, self.shape)
        widths = None if channels is None else tuple(channels)
        spec = NetworkSpec(
            self.input_shape, shape[0] * density.outputs, latent, widths, spatial, attention, patch, positions
        )
        self.encoder, self.decoder, self.latent_shape = build_parts(network, spec)
        self.likelihood = density
        self.latent = self.latent_shape.numel()
        self.level_shapes: tuple[tuple[int, ...], ...] = getattr(self.decoder, "level_shapes", (self.latent_shape,))
        self.register_buffer("rec_levels", torch.full((101,), float("nan")))
        if channels_last:
            self.to(memory_format=last)
        self._means, self._train_means, self._units, self._collapsed = Means(), Means(), ActiveUnits(), 0
        self._unseen = True  # the images to train on: they are looked at in the first epoch alone

    @property
    def depth(self) -> int:
        """How many slices an image is of: 1, or D of volumes (C, D, H, W)."""
        return math.prod(self.shape[1:-2])

    @property
    def beta(self) -> float:
        """The weight of the KL term in the ELBO, in the raw unit, once training has come to its end."""
        return 1.0

    @property
    def levels(self) -> range:
        """The levels of latents, 1 next to the image; 1 alone but for a hierarchy."""
        return range(1, len(self.level_shapes) + 1)

    def training_beta(self) -> float:
        """The weight of the KL term at this moment of the training."""
        return self.beta

    def scheduled(self) -> float:
        """Which share of its final value the quantity that a schedule changes has reached at this moment; 1 without one."""
        return 1.0

    def penalty(self, kl: Tensor) -> Tensor:
        """What the loss of each image adds to rec at the end of the training and at evaluation: (B,) to (B,)."""
        return self.beta * kl

    def training_penalty(self, kl: Tensor) -> Tensor:
        """What the loss of each image adds to rec at this moment of the training: (B,) to (B,)."""
        return self.training_beta() * kl

    def forward(self, image: Tensor) -> Tensor:
        """The reconstruction (B, C, H, W) of images, with their neighbours: the mean of p(x|z) at the posterior mean."""
        return self.decode(self.encode(image)[0])

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log variance, (B, *latent_shape) each, of images (B, C, H, W).

        Raises ValueError for images of another shape than the model's.
        """
        self._check(image)
        mean, logvar = self.encoder(image.contiguous(memory_format=self.memory_format))
        return mean, logvar

    def middle(self, image: Tensor) -> Tensor:
        """What is reconstructed of images with their neighbours, (B, (2k + 1) · C, H, W): (B, C, H, W); a view.

        Raises ValueError for images of another shape than the model's.
        """
        self._check(image)
        return image if image.shape[1] == self.shape[0] else middle_of(image, self.shape[0])

    def _check(self, image: Tensor) -> None:
        if image.shape[1:] != self.input_shape:
            says = f"{type(self).__name__}(shape={self.shape}, context={self.input_shape[0] // self.shape[0] // 2})"
            raise ValueError(f"expected images {['B', *self.input_shape]}, as {says} says, got {list(image.shape)}")

    def decode(self, latent: Tensor) -> Tensor:
        """Reconstructions (B, C, H, W) of latents (B, *latent_shape): the mean of p(x|z)."""
        return self.decode_with_scale(latent)[0]

    def decode_with_scale(self, latent: Tensor) -> tuple[Tensor, Tensor | None]:
        """Reconstructions and, with variance=pixel, their log scales, (B, C, H, W) each: what `likelihood.nll` takes."""
        return self.likelihood.split(self.decoder(latent))

    def kl(self, mean: Tensor, logvar: Tensor) -> Tensor:
        """KL(q(z|x) ‖ N(0, I)) per image (B,), in nats."""
        return kl_standard_normal(mean, logvar)

    def of_level(self, latents: Tensor, level: int) -> Tensor:
        """The part of latents, or of their means or log variances, (B, *latent_shape), that one level has: (B, *its shape)."""
        if len(self.level_shapes) == 1:
            return latents
        sizes = [math.prod(shape) for shape in self.level_shapes]
        return latents.split(sizes, dim=1)[level - 1].unflatten(1, self.level_shapes[level - 1])

    def level_kl(self, mean: Tensor, logvar: Tensor, level: int) -> Tensor:
        """The part of `kl` that one level of the latents has, (B,), in nats; the levels' sum is all of it."""
        return self.kl(self.of_level(mean, level), self.of_level(logvar, level))

    def terms(self, image: Tensor, sample: bool, seen: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """rec = −log p(x|z) and kl, each (B,) in nats; z is a posterior sample, or the posterior mean.

        seen: what the encoder is shown in place of the image.
        """
        mean, logvar = self.encode(image if seen is None else seen)
        latent = mean + torch.randn_like(mean) * (0.5 * logvar).exp() if sample else mean
        return self._rec(image, latent), self.kl(mean, logvar)

    def _rec(self, image: Tensor, latent: Tensor) -> Tensor:
        return self.likelihood.nll(self.middle(image), *self.decode_with_scale(latent))

    def training_terms(self, image: Tensor) -> dict[str, Tensor]:
        """The loss of each image and its parts, (B,) each; all are logged."""
        rec, kl = self.terms(image, sample=True, seen=self.corrupted(image))
        return {"loss": rec + self.training_penalty(kl), "rec": rec, "kl": kl}

    def as_weights(self, image: Tensor) -> Tensor:
        """Images in the weights' precision, as whoever loads them may have them in another one."""
        return image.to(next(self.parameters()).dtype)

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> Tensor:
        image = self.as_weights(image_of(batch))
        self.likelihood.check(self.middle(image))
        if self._unseen:
            check_training(batch)
        terms = self.training_terms(image)
        loss = terms.pop("loss").mean()
        values = {"train/loss": loss.detach()}
        values |= {f"train/{name}": term.detach().mean() for name, term in terms.items()}
        self._train_means.update(values, len(image))  # log_dict in each step costs more than a small model's Adam
        return loss

    def on_train_start(self) -> None:
        self._unseen = True

    def on_train_epoch_start(self) -> None:
        self.log("train/lr", float(self.trainer.optimizers[0].param_groups[0]["lr"]))
        self._train_means = Means()

    def on_train_epoch_end(self) -> None:
        self._unseen = False
        self.log_dict(self._train_means.compute())
        self.log("train/beta", self.training_beta())

    def on_validation_epoch_start(self) -> None:
        self._means, self._units = Means(), ActiveUnits()

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        image = self.as_weights(normal_images(batch))  # anomalous images are localized, never selected on
        if not len(image):
            return
        self.validated(self.validation_terms(image, self.validation_noise(len(image), batch_idx)))

    def validation_noise(self, images: int, number: int) -> Tensor:
        """The noise of the latents of the number-th batch of validation images, the same in every epoch: (B, *latent_shape)."""
        return torch.randn((images, *self.latent_shape), generator=torch.Generator().manual_seed(number))

    def validation_terms(self, image: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """What a batch of normal validation images tells: the posterior means as `mean`, and the values, (B,) each."""
        mean, logvar = self.encode(image)
        kl = self.kl(mean, logvar)
        sample = mean + noise.to(mean) * (0.5 * logvar).exp()
        rec, rec_of_mean = (self._rec(image, latent) for latent in (sample, mean))
        values = {
            "mean": mean,
            "elbo": -(rec + self.penalty(kl)),
            "elbo_mean": -(rec_of_mean + self.penalty(kl)),
            "rec": rec,
            "kl": kl,
        }
        if len(self.level_shapes) > 1:
            values |= {f"kl_{level}": self.level_kl(mean, logvar, level) for level in self.levels}
        return values

    def validated(self, terms: Mapping[str, Tensor]) -> None:
        """Take in what `validation_terms` gives of a batch."""
        values = dict(terms)
        mean = values.pop("mean")
        self._units.update(mean)
        self._means.update({f"val/{name}": value.mean() for name, value in values.items()}, len(mean))

    def on_validation_epoch_end(self) -> None:
        means, units = Means(), ActiveUnits()
        for other_means, other_units in of_all_processes((self._means, self._units)):
            means.merge(other_means)
            units.merge(other_units)
        if not units.images:
            return
        active = units.compute()
        self.log_dict(means.compute() | {"val/active_units": float(active)})
        if self.variational and active and self._collapsed >= COLLAPSED:
            rank_zero_warn(
                f"no posterior collapse any more: {active} of {self.latent} latent units depend on the image"
            )
        self._collapsed = 0 if active else self._collapsed + 1
        if self.variational and self._collapsed == COLLAPSED:
            rank_zero_warn(
                f"posterior collapse: for {COLLAPSED} epochs no latent unit has depended on the image, so that every image has "
                "the same reconstruction; unless it passes, lower model.beta or model.sigma, or warm beta up "
                "(model.warmup_epochs)"
            )

    def test_step(self, batch: Mapping[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Nothing of its own: the LocalizationCallback does the testing."""

    def predict_step(self, batch: Mapping[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """`reconstruction` (B, C, H, W), and `rec` = −log p(x|z) and `kl`, (B,) each in nats, at the posterior mean.

        The LocalizationCallback adds the map (B, 1, H, W) of each of its predictors, under its name.
        """
        image = self.as_weights(image_of(batch))
        posterior = self.encode(image)
        reconstruction, log_sigma = self.decode_with_scale(posterior[0])
        rec = self.likelihood.nll(self.middle(image), reconstruction, log_sigma)
        return {"reconstruction": reconstruction, "rec": rec, "kl": self.kl(*posterior)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["model_class"] = type(self).__name__

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        made, own = checkpoint.get("model_class"), type(self).__name__
        if made not in (None, own):
            raise ConfigError(f"the checkpoint is of {made}, not of {own}; load it with {made}.load_from_checkpoint")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        fused = self.device.type == "cpu"  # where one tensor after the other costs most
        if self.optimizer == "muon":
            return Muon(self, lr=self.lr, weight_decay=self.weight_decay, fused=fused)
        return torch.optim.Adam(self.parameters(), lr=self.lr, weight_decay=self.weight_decay, fused=fused)


def input_size(shape: Sequence[int]) -> int:
    """How many values an image has."""
    return math.prod(shape)
