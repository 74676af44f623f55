"""The models that are a VAE but for one thing each: beta-VAE, ceVAE, and the autoencoder without a prior."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.imports import import_path, load

from .arguments import check_types
from .vae import VAE, input_size

SCHEDULES = ("warmup", "cyclical", "capacity")
Schedule = Callable[[float, int], float]  # epochs trained and epochs in all to a share of beta


class BetaVAE(VAE):
    """A VAE whose KL term is weighted with beta > 0 (Higgins et al. 2017).

    normalised: beta is given in units of latent size / input size, so that the raw weight is beta · input size / latent
    size. schedule: how the term grows in training; validation and evaluation always use all of it.
    warmup: the weight grows linearly from 0 over `warmup_epochs`; with 0 it is constant.
    cyclical: it does so `cycles` times, each within the share `ramp` of `cycle_epochs`, and stays at beta for the rest of
    them and after them (Fu et al. 2019, arXiv 1903.10145).
    capacity: the term is beta · |KL − C|, and C grows linearly from 0 to `capacity` nats over `warmup_epochs` (Burgess et al.
    2018, arXiv 1804.03599, where beta is called gamma). `beta` is the weight of the KL above C, and so is that
    of the KL in the ELBO gradient of a predictor: the sign that it has for an image whose KL exceeds C.
    A function of your own or its import path: the weight is `schedule(epoch, epochs)` times beta, in every training step.
    epoch: how many have been trained, with fractions, from 0; epochs: the trainer's max_epochs, −1 without a limit.
    Other arguments as for VAE.
    """

    def __init__(
        self,
        shape: Sequence[int],
        beta: float = 4.0,
        normalised: bool = False,
        schedule: str | Schedule = "warmup",
        warmup_epochs: int = 0,
        cycles: int = 4,
        cycle_epochs: int = 10,
        ramp: float = 0.5,
        capacity: float = 25.0,
        **vae: Any,
    ) -> None:
        check_types(BetaVAE.__init__, locals())
        super().__init__(shape, **vae)
        if not 0 < beta < math.inf:
            raise ConfigError(f"model.beta={beta}: expected a number greater than 0; beta=1 is the VAE")
        name = schedule if isinstance(schedule, str) else import_path(schedule)
        self.hparams.update(schedule=name)
        self.schedule, self._own = name, None if schedule in SCHEDULES else find_schedule(schedule)
        if warmup_epochs < 0:
            raise ConfigError(f"model.warmup_epochs={warmup_epochs}: expected 0 or more epochs")
        if cycles < 1 or cycle_epochs < 1 or not 0 < ramp <= 1:
            raise ConfigError(
                f"model.cycles={cycles}, model.cycle_epochs={cycle_epochs}, model.ramp={ramp}: expected at least one cycle "
                "of at least one epoch, and the ramp as a share of it, above 0 and up to 1"
            )
        if not 0 <= capacity < math.inf:
            raise ConfigError(f"model.capacity={capacity}: expected nats, 0 or more")
        self._beta = beta * input_size(shape) / self.latent if normalised else beta
        self.warmup_epochs, self.capacity = warmup_epochs, capacity
        self.cycles, self.cycle_epochs, self.ramp = cycles, cycle_epochs, ramp

    @property
    def beta(self) -> float:
        return self._beta

    def training_beta(self) -> float:
        return self.beta if self.schedule == "capacity" else self.beta * self.scheduled()

    def penalty(self, kl: Tensor) -> Tensor:
        return self._off_capacity(kl, 1.0) if self.schedule == "capacity" else super().penalty(kl)

    def training_penalty(self, kl: Tensor) -> Tensor:
        return self._off_capacity(kl, self.scheduled()) if self.schedule == "capacity" else super().training_penalty(kl)

    def _off_capacity(self, kl: Tensor, share: float) -> Tensor:
        return self.beta * (kl - share * self.capacity).abs()

    def scheduled(self) -> float:
        if self._own is not None:
            epoch = self.trainer.global_step / self._steps(1)
            return share_at(self._own, self.schedule, epoch, int(self.trainer.max_epochs or -1))
        if self.schedule == "cyclical":
            return cyclical(self.trainer.global_step, self._steps(self.cycle_epochs), self.cycles, self.ramp)
        return warmup(self.trainer.global_step, self._steps(self.warmup_epochs)) if self.warmup_epochs else 1.0

    def _steps(self, epochs: int) -> int:
        """How many steps of the optimizer so many epochs have."""
        batches = self.trainer.num_training_batches
        if batches == math.inf:
            raise ConfigError(f"model.schedule={self.schedule}: expected an epoch with an end; set limit_train_batches")
        return epochs * math.ceil(batches / self.trainer.accumulate_grad_batches)


class CEVAE(BetaVAE):
    """The context-encoding VAE (Zimmerer et al. 2018, arXiv 1812.05941): a VAE that must also fill in what is masked.

    Loss per image = rec + beta · KL + context_weight · −log p(x|z̃), with z̃ the posterior mean of a masked copy of the image
    (masks, mask_size and noise say how it is masked; the rest of the loss sees the image itself). Evaluated like a VAE.
    """

    def __init__(self, shape: Sequence[int], context_weight: float = 1.0, masks: int = 3, **beta_vae: Any) -> None:
        check_types(CEVAE.__init__, locals())
        super().__init__(shape, masks=masks, **beta_vae)
        if not 0 < context_weight < math.inf:
            raise ConfigError(f"model.context_weight={context_weight}: expected a number greater than 0")
        if masks == 0 and self.corrupted.noise == 0:
            raise ConfigError("model.masks=0, model.noise=0: ceVAE needs something to fill in; set model.masks=3")
        self.context_weight = context_weight

    def training_terms(self, image: Tensor) -> dict[str, Tensor]:
        rec, kl = self.terms(image, sample=True)
        masked = self.corrupted(image)
        reconstruction, log_sigma = self.decode_with_scale(self.encode(masked)[0])
        scale = self.likelihood.log_sigma if log_sigma is None else log_sigma
        context = self.likelihood.nll(self.middle(image), reconstruction, scale)
        loss = rec + self.training_penalty(kl) + self.context_weight * context
        return {"loss": loss, "rec": rec, "kl": kl, "context": context}


class AE(VAE):
    """The autoencoder that Dehaene et al. 2020 and Bergmann et al. 2018 compare with: a deterministic code, no prior, no KL.

    The encoder's log variance is not used: the posterior is a point mass, so that `terms` gives KL 0, beta is 0 and
    sampling gives the code. With the fixed Gaussian likelihood the loss is the squared error, up to scale and constant.
    """

    variational: ClassVar[bool] = False

    @property
    def beta(self) -> float:
        return 0.0

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        code, _ = super().encode(image)
        return code, torch.full_like(code, -math.inf)

    def kl(self, mean: Tensor, logvar: Tensor) -> Tensor:
        return 0.0 * mean.flatten(1).sum(dim=1)  # of the graph, so that its gradient is 0 as well


def find_schedule(given: str | Schedule) -> Schedule:
    """A user's own schedule by its import path or as it is, tried at the first of 10 epochs. Raises ConfigError."""
    if isinstance(given, str) and "." not in given:
        expected = f"one of {', '.join(SCHEDULES)}, or package.module.name of a function"
        raise ConfigError(f"model.schedule={given}: expected {expected}")
    schedule: Schedule = load("model.schedule", given) if isinstance(given, str) else given
    share_at(schedule, given if isinstance(given, str) else import_path(given), 0.0, 10)
    return schedule


def share_at(schedule: Schedule, name: str, epoch: float, epochs: int) -> float:
    """The share of beta that a user's own schedule gives. Raises ConfigError unless that is a finite number, 0 or more."""
    called = f"model.schedule={name}: called with ({epoch:g}, {epochs})"
    try:
        share = float(schedule(epoch, epochs))
    except Exception as error:  # whatever a user's code raises
        raise ConfigError(f"{called}: {type(error).__name__}: {error}") from error
    if not 0 <= share < math.inf:
        raise ConfigError(f"{called}, it gives {share:g}, expected a finite share of beta, 0 or more")
    return share


def warmup(step: int, steps: int) -> float:
    """From 0 linearly to 1 over `steps` steps, then 1; 1 throughout if there are none (Sønderby et al. 2016)."""
    return min(1.0, step / steps) if steps else 1.0


def cyclical(step: int, cycle: int, cycles: int, ramp: float) -> float:
    """`cycles` times from 0 linearly to 1 during the share `ramp` of `cycle` steps and 1 for their rest; then 1.

    Fu et al. 2019 (arXiv 1903.10145): M cycles, of which the share R is the ramp; 4 and 0.5 are what its users take.
    """
    if step >= cycles * cycle:
        return 1.0
    return min(1.0, step % cycle / (ramp * cycle))
