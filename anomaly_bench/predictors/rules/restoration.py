"""Restoration of a normal image by maximum a posteriori estimation (Chen et al. 2020, arXiv 2005.00031)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.models.slices import in_place
from anomaly_bench.models.vae import VAE
from anomaly_bench.predictors.base import register
from anomaly_bench.predictors.evidence import Evidence
from anomaly_bench.predictors.filters import each, total_variation

from .one_pass import Difference
from .projection import SMALLEST_STEP, spread

CLIP = 50.0
SOFT = 0.01
LATER = 0.4  # of the step, after the first fifth of the iterations


@register("restoration")
@dataclass(frozen=True)
class Restoration(Difference):
    """|x − x_T|, where x_T maximises log p(x_T) − tv · TV(x_T − x), with the model's ELBO in place of log p.

    Chen et al. 2020. Update in the foreground: x_{t+1} = x_t − step · r · clip(r · ∇E(x_t), ±50) with E = rec + beta · KL +
    tv · TV(x_t − x) / r, at the posterior mean. r is √2 times the standard deviation of p(x|z), its mean over the image's
    pixels: 1 where rec is the plain squared error, as in the authors' code for a VAE, whose are iterations, step, clip and tv
    (500 steps, of 0.005 for the first fifth and 0.4 of that later; 2.2), so that they mean the same at any sigma.
    The paper picks tv on normal images, as the one that leaves them closest to what they were.
    Not theirs: a step that does not lower an image's energy, or makes it NaN, is taken back and halved for this image, and
    TV sums sqrt(d² + 0.01²) − 0.01 of differences d / r in place of |d / r|, as else rounding
    decides which way a flat region goes.

    Changes whole regions and leaves single pixels alone, so it is good at compact lesions. The slowest by far. Bad at points
    and lines, which TV protects, and with a tv that does not suit the model: too large and nothing moves, 0 and noise does.
    """

    iterative: ClassVar[bool] = True
    uses_latent: ClassVar[bool] = False

    iterations: int = 500
    step: float = 0.005
    tv: float = 2.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1 or self.step <= 0 or self.tv < 0:
            raise ConfigError(
                f"iterations={self.iterations}, step={self.step}, tv={self.tv}: expected iterations ≥ 1, step > 0, tv ≥ 0"
            )

    def score(self, evidence: Evidence) -> Tensor:
        image = evidence.image
        unit = math.sqrt(2) * spread(evidence)
        how = self.iterations, self.step, self.tv
        moving = in_place(evidence.foreground.expand_as(image), torch.zeros_like(evidence.inputs, dtype=torch.bool))
        restored: Tensor = evidence.once(
            f"restored {how}", lambda: restore(evidence.model, evidence.inputs, moving, unit, *how)
        )
        return self.difference(image, evidence.model.middle(restored))


def restore(model: VAE, image: Tensor, moving: Tensor, unit: Tensor, iterations: int, step: float, tv: float) -> Tensor:
    """x_T of images (B, C, H, W), each by its own path, of which `moving` (B, C, H, W) may change; unit: r of each, (B,).

    NaN for an image that holds one.
    """
    energy, gradient = energy_gradient(model, image, image, unit, tv)
    unit = each(unit, image)
    current = image.where(each(energy.isfinite(), image), torch.nan)
    shares = torch.ones_like(energy)
    for number in range(iterations):
        length = step if number < iterations // 5 else LATER * step
        change = unit * (unit * gradient).clamp(-CLIP, CLIP) * moving
        moved = current - each(length * shares, change) * change
        moved_energy, moved_gradient = energy_gradient(model, moved, image, unit, tv)
        better = moved_energy < energy  # false for NaN
        energy, shares = torch.where(better, moved_energy, energy), torch.where(better, shares, shares / 2)
        better = each(better, image)
        current, gradient = torch.where(better, moved, current), torch.where(better, moved_gradient, gradient)
        shares = shares.where(shares >= SMALLEST_STEP, 0)
        if not bool(shares.any()):
            break
    return current


def energy_gradient(model: VAE, image: Tensor, origin: Tensor, unit: Tensor, tv: float) -> tuple[Tensor, Tensor]:
    """E = rec + beta · KL + tv · TV(image − origin) / r in nats, (B,), and its gradient with respect to the image."""
    leaf = image.detach().requires_grad_(True)
    mean, logvar = model.encode(leaf)
    rec = model.likelihood.nll(model.middle(leaf), *model.decode_with_scale(mean))
    changed = (leaf - origin) / each(unit, leaf)
    energy = rec + model.beta * model.kl(mean, logvar) + tv * total_variation(changed, SOFT)
    (gradient,) = torch.autograd.grad(energy.sum(), leaf)
    return energy.detach(), gradient
