"""Energy-based projection onto the images that the model knows (Dehaene et al. 2020, arXiv 2002.03734)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..errors import ConfigError
from ..evidence import Evidence
from ..models.vae import VAE
from .base import Predictor, channel_mean, register

SMALLEST_STEP = 2.0**-12


class Point(NamedTuple):
    """Images with their energy (B,), its gradient (B, C, H, W), the update's mask (x_t − x̂)² and their rec (B,)."""

    image: Tensor
    energy: Tensor
    gradient: Tensor
    mask: Tensor
    rec: Tensor


@register("projection")
@dataclass(frozen=True)
class Projection(Predictor):
    """|x − x_T|, where x_T is reached from x by lowering E(x_t) = rec(x_t) + l1 · ‖x_t − x‖₁.

    Update: x_{t+1} = x_t − step · ∇E(x_t) ⊙ (x_t − x̂(x_t))². An image stops when its rec reaches the level that the share
    `stop` of normal training images reaches too (0.5: their median; 0: their best; null: never), or after `iterations`
    steps. A step that raises the energy of an image, or makes it NaN, is taken back and halved for
    this image. rec is in nats, so `step` is relative to the model's sigma.
    """

    iterative: ClassVar[bool] = True

    iterations: int = 50
    step: float = 0.1
    l1: float = 0.05
    stop: float | None = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1 or self.step <= 0 or self.l1 < 0:
            raise ConfigError(
                f"iterations={self.iterations}, step={self.step}, l1={self.l1}: expected iterations ≥ 1, step > 0, l1 ≥ 0"
            )
        if self.stop is not None and not 0 <= self.stop <= 1:
            raise ConfigError(f"stop={self.stop}: expected a share from 0 to 1, or null")

    def score(self, evidence: Evidence) -> Tensor:
        level = -math.inf if self.stop is None else stop_level(evidence.model, self.stop)
        projected = project(evidence.model, evidence.image, self.iterations, self.step, self.l1, level)
        return channel_mean((evidence.image - projected).abs())


def stop_level(model: VAE, share: float) -> float:
    """The rec in nats that the given share of normal training images reaches. Raises ValueError if it is not estimated yet."""
    if torch.isnan(model.rec_levels).any():
        raise ValueError("model.rec_levels is not set: estimate it on normal training images before projecting")
    return float(model.rec_levels[round(share * 100)])


def project(model: VAE, image: Tensor, iterations: int, step: float, l1: float, level: float) -> Tensor:
    """x_T of images (B, C, H, W), each by its own path: images whose rec is at most `level` leave the batch."""
    point = evaluate(model, image, image, l1)
    steps = torch.full_like(point.energy, step)
    result = image.where(point.rec.isfinite().view(-1, 1, 1, 1), torch.nan)
    active = (point.rec > level).nonzero().flatten()
    point, steps = _select(point, active), steps[active]
    for _ in range(iterations):
        if len(active) == 0:
            break
        moved = point.image - steps.view(-1, 1, 1, 1) * point.gradient * point.mask
        candidate = evaluate(model, moved, image[active], l1)
        better = candidate.energy < point.energy  # false for NaN
        point = Point(
            *(
                torch.where(better.view(-1, *[1] * (new.ndim - 1)), new, old)
                for new, old in zip(candidate, point, strict=True)
            )
        )
        steps = torch.where(better, steps, steps / 2)
        result[active] = point.image
        going = (point.rec > level) & (steps > step * SMALLEST_STEP)
        active, steps, point = active[going], steps[going], _select(point, going)
    return result


def evaluate(model: VAE, image: Tensor, origin: Tensor, l1: float) -> Point:
    """The energy at `image` of the projection that started from `origin`, with what the next step needs."""
    leaf = image.detach().requires_grad_(True)
    reconstruction = model.decode(model.encode(leaf)[0])
    rec = model.likelihood.nll(leaf, reconstruction)
    energy = rec + l1 * (leaf - origin).abs().flatten(1).sum(dim=1)
    (gradient,) = torch.autograd.grad(energy.sum(), leaf)
    mask = (leaf - reconstruction).square()
    return Point(image.detach(), energy.detach(), gradient, mask.detach(), rec.detach())


def _select(point: Point, which: Tensor) -> Point:
    return Point(*(part[which] for part in point))
