"""Energy-based projection onto the images that the model knows (Dehaene et al. 2020, arXiv 2002.03734)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.models.vae import VAE
from anomaly_bench.predictors.base import one_of, register
from anomaly_bench.predictors.evidence import Evidence

from .one_pass import Difference

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
class Projection(Difference):
    """|x − x_T|, where x_T is reached by lowering E(x_t) = rec(x_t) + l1 · ‖x_t − x‖₁.

    Dehaene et al. 2020. Update: x_{t+1} = x_t − step · ∇E(x_t) ⊙ (x_t − x̂(x_t))². An image stops when its rec reaches the
    level that the share `stop` of normal training images reaches too (0.5: their median; 0: their best; null: never), or
    after `iterations` steps. A step that raises the energy of an image, or makes it NaN, is taken back and halved for this
    image. rec is in nats, so `step` is relative to the model's sigma.

    start: image for x_0 = x, or reconstruction for x_0 = x̂(x), which starts with less of the anomaly, but without the
    detail that x̂ lacks. masked: false leaves out the factor (x_t − x̂)², which steers the update to what is reconstructed badly.
    constant: treat x̂ as constant in the gradient, as a public reimplementation does: no backward pass through the networks,
    another method. error: of x and x_T: l1, l2 or ssim; see Difference for its window.
    A public reimplementation has step 0.5, l1 0.05, stop 0 and a binary cross-entropy; our smaller step is for sigma 0.1.

    Good at textures and sharp pictures: it keeps the normal detail that a reconstruction blurs, and so has fewer false alarms
    at edges. Bad where the stop level is loose (nothing moves) and where the anomaly itself is reconstructed well; costs a
    forward and a backward pass per step.
    """

    iterative: ClassVar[bool] = True
    uses_latent: ClassVar[bool] = False

    iterations: int = 50
    step: float = 0.1
    l1: float = 0.05
    stop: float | None = 0.01
    start: str = "image"
    masked: bool = True
    constant: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1 or self.step <= 0 or self.l1 < 0:
            raise ConfigError(
                f"iterations={self.iterations}, step={self.step}, l1={self.l1}: expected iterations ≥ 1, step > 0, l1 ≥ 0"
            )
        if self.stop is not None and not 0 <= self.stop <= 1:
            raise ConfigError(f"stop={self.stop}: expected a share from 0 to 1, or null")
        one_of("start", self.start, ("image", "reconstruction"))

    def score(self, evidence: Evidence) -> Tensor:
        level = -math.inf if self.stop is None else stop_level(evidence.model, self.stop)
        start = evidence.image if self.start == "image" else evidence.reconstruction
        energy = Energy(evidence.model, self.l1, self.masked, self.constant)
        projected = project(energy, evidence.image, start, self.iterations, self.step, level)
        return self.difference(evidence.image, projected)


class Energy(NamedTuple):
    """E(x_t) = rec(x_t) + l1 · ‖x_t − x‖₁, and how its update is taken; see Projection."""

    model: VAE
    l1: float
    masked: bool = True
    constant: bool = False

    def __call__(self, image: Tensor, origin: Tensor) -> Point:
        """The energy at `image` of the projection of `origin`, with what the next step needs."""
        leaf = image.detach().requires_grad_(True)
        with torch.set_grad_enabled(not self.constant):
            reconstruction, log_sigma = self.model.decode_with_scale(self.model.encode(leaf)[0])
        rec = self.model.likelihood.nll(leaf, reconstruction, log_sigma)
        energy = rec + self.l1 * (leaf - origin).abs().flatten(1).sum(dim=1)
        (gradient,) = torch.autograd.grad(energy.sum(), leaf)
        mask = (leaf - reconstruction).square().detach() if self.masked else torch.ones_like(image)
        return Point(image.detach(), energy.detach(), gradient, mask, rec.detach())


def stop_level(model: VAE, share: float) -> float:
    """The rec in nats that the given share of normal training images reaches. Raises ValueError if it is not estimated yet."""
    if torch.isnan(model.rec_levels).any():
        raise ValueError("model.rec_levels is not set: estimate it on normal training images before projecting")
    return float(model.rec_levels[round(share * 100)])


def project(energy: Energy, image: Tensor, start: Tensor, iterations: int, step: float, level: float) -> Tensor:
    """x_T of images (B, C, H, W) from x_0 = start, each by its own path: those whose rec is at most `level` leave the batch.

    NaN for an image whose rec at the start is no finite number.
    """
    point = energy(start, image)
    steps = torch.full_like(point.energy, step)
    result = start.where(point.rec.isfinite().view(-1, 1, 1, 1), torch.nan)
    active = ((point.rec > level) & point.rec.isfinite()).nonzero().flatten()
    point, steps = _select(point, active), steps[active]
    for _ in range(iterations):
        if len(active) == 0:
            break
        moved = point.image - steps.view(-1, 1, 1, 1) * point.gradient * point.mask
        candidate = energy(moved, image[active])
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


def _select(point: Point, which: Tensor) -> Point:
    return Point(*(part[which] for part in point))
