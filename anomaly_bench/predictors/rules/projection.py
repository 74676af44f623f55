"""Energy-based projection onto the images that the model knows (Dehaene et al. 2020, arXiv 2002.03734)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.models.slices import in_place
from anomaly_bench.models.vae import VAE
from anomaly_bench.predictors.base import one_of, register
from anomaly_bench.predictors.evidence import Evidence
from anomaly_bench.predictors.filters import each

from .one_pass import Difference

SMALLEST_STEP = 2.0**-12
LONGER = 10.0  # times the last step, at most
QUIET = 3  # iterations in a row that lower the energy by next to nothing: one alone may have overshot


class Point(NamedTuple):
    """Images with their energy (B,), its gradient (B, C, H, W), what the update multiplies it by, and their rec (B,)."""

    image: Tensor
    energy: Tensor
    gradient: Tensor
    mask: Tensor
    rec: Tensor


class State(NamedTuple):
    """Where all images are after an iteration: image (B, C, H, W), energy and rec (B,) in nats, and which go on, (B,) bool."""

    image: Tensor
    energy: Tensor
    rec: Tensor
    going: Tensor


@register("projection")
@dataclass(frozen=True)
class Projection(Difference):
    """|x − x_T|, where x_T is reached by lowering E(x_t) = rec(x_t) + l1 · ‖x_t − x‖₁ / s.

    Dehaene et al. 2020. Update: x_{t+1} = x_t − step · ∇E(x_t) ⊙ (x_t − x̂(x_t))². s is the standard deviation of p(x|z), its
    mean over the image's pixels, so that step and l1 mean the same whatever sigma and the images' units are: l1 is in nats
    per s of change. A step that raises the energy of an image, or makes it NaN, is taken back and halved for this image.
    adaptive: after each step that is kept, the next is ‖Δx‖² / ⟨Δx, Δu⟩ of this image, u being what a step multiplies (Barzilai
    & Borwein 1988), at most ten times the last; `step` is the first. false: the paper's, whose steps are all alike.
    An image goes on until it has converged, when three steps in a row have each lowered its energy by less than `tolerance`
    times all that the steps so far have (0: never), or for `iterations` steps.

    stop: null, or the paper's: an image also stops when its rec reaches the level that this share of normal training images
    reaches (0.5: their median; 0: their best). One level for easy and hard images undoes most of the gain.
    start: image for x_0 = x, or reconstruction for x_0 = x̂(x), which starts with less of the anomaly, but without the
    detail that x̂ lacks. masked: false puts s² in place of (x_t − x̂)², which steers the update to what is reconstructed badly;
    from x̂ the masked update moves little.
    constant: treat x̂ as constant in the gradient, as a public reimplementation does: no backward pass through the networks,
    another method. error: of x and x_T: l1, l2 or ssim; see Difference for its window.
    A public reimplementation has step 0.5, l1 0.05 per unit of intensity, stop 0 and a binary cross-entropy.

    Good at textures and sharp pictures: it keeps the normal detail that a reconstruction blurs, and so has fewer false alarms
    at edges. Bad where the anomaly itself is reconstructed well; costs a forward and a backward pass per step.
    """

    iterative: ClassVar[bool] = True
    uses_latent: ClassVar[bool] = False

    iterations: int = 10
    step: float = 0.005
    l1: float = 1.0
    tolerance: float = 0.01
    stop: float | None = None
    start: str = "image"
    masked: bool = True
    constant: bool = False
    adaptive: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1 or self.step <= 0 or self.l1 < 0:
            raise ConfigError(
                f"iterations={self.iterations}, step={self.step}, l1={self.l1}: expected iterations ≥ 1, step > 0, l1 ≥ 0"
            )
        if not 0 <= self.tolerance < 1:
            raise ConfigError(f"tolerance={self.tolerance}: expected 0, or the share of an energy's decrease, below 1")
        if self.stop is not None and not 0 <= self.stop <= 1:
            raise ConfigError(f"stop={self.stop}: expected a share from 0 to 1, or null")
        one_of("start", self.start, ("image", "reconstruction"))

    def score(self, evidence: Evidence) -> Tensor:
        return self.difference(evidence.image, evidence.model.middle(self._end(evidence).image))

    def converged(self, evidence: Evidence) -> Tensor | None:
        return None if self.noise_samples else ~self._end(evidence).going

    def _end(self, evidence: Evidence) -> State:
        """Where the images have come to."""
        level = -math.inf if self.stop is None else stop_level(evidence.model, self.stop)
        inputs = evidence.inputs
        start = inputs if self.start == "image" else in_place(evidence.reconstruction, inputs)
        energy = Energy(evidence.model, self.l1, self.masked, self.constant)
        unit, how = spread(evidence), (self.iterations, self.step, self.tolerance, level, self.adaptive)
        name = f"projected {(self.start, *energy[1:], *how)}"  # predictors that differ in the error alone share x_T
        end: State = evidence.once(name, lambda: end_of(path(energy, inputs, start, unit, *how)))
        return end


def spread(evidence: Evidence) -> Tensor:
    """The standard deviation of p(x|z), its mean over each image's pixels, (B,): the unit of what is stepped along."""
    deviation = evidence.variance.sqrt()
    return deviation.flatten(1).mean(dim=1) if deviation.ndim else deviation.expand(len(evidence.image))


class Energy(NamedTuple):
    """E(x_t) = rec(x_t) + l1 · ‖x_t − x‖₁ / s, and how its update is taken; see Projection."""

    model: VAE
    l1: float
    masked: bool = True
    constant: bool = False

    def __call__(self, image: Tensor, origin: Tensor, unit: Tensor) -> Point:
        """The energy at `image` of the projection of `origin`, with what the next step needs; unit: s of each, (B,)."""
        leaf = image.detach().requires_grad_(True)
        with torch.set_grad_enabled(not self.constant):
            reconstruction, log_sigma = self.model.decode_with_scale(self.model.encode(leaf)[0])
        middle = self.model.middle(leaf)
        rec = self.model.likelihood.nll(middle, reconstruction, log_sigma)
        energy = rec + self.l1 * (leaf - origin).abs().flatten(1).sum(dim=1) / unit
        (gradient,) = torch.autograd.grad(energy.sum(), leaf)
        plain = each(unit.square(), middle).expand_as(middle)
        mask = (middle - reconstruction).square().detach() if self.masked else plain
        mask = in_place(mask, torch.zeros_like(image))  # neighbours stay as they are
        return Point(image.detach(), energy.detach(), gradient, mask, rec.detach())


def stop_level(model: VAE, share: float) -> float:
    """The rec in nats that the given share of normal training images reaches. Raises ValueError if it is not estimated yet."""
    if torch.isnan(model.rec_levels).any():
        raise ValueError("model.rec_levels is not set: estimate it on normal training images before projecting")
    return float(model.rec_levels[round(share * 100)])


def end_of(states: Iterator[State]) -> State:
    """Where a `path` ends: its image is x_T."""
    *_, last = states
    return last


def path(
    energy: Energy,
    image: Tensor,
    start: Tensor,
    unit: Tensor,
    iterations: int,
    step: float,
    tolerance: float = 0.0,
    level: float = -math.inf,
    adaptive: bool = False,
) -> Iterator[State]:
    """Where images (B, C, H, W) are at x_0 = start and after each iteration, each going its own way, as long as any goes on.

    The states share their tensors: what is kept of one has to be cloned. An image that has converged, or whose rec is at most
    `level`, leaves the batch. NaN for an image whose rec at the start is no finite number. adaptive: see Projection.
    """
    point = energy(start, image, unit)
    first, steps = point.energy, torch.full_like(point.energy, step)
    finite = point.rec.isfinite()
    all_going = (point.rec > level) & finite
    whole = State(start.where(each(finite, start), torch.nan), point.energy.clone(), point.rec.clone(), all_going)
    active = all_going.nonzero().flatten()
    point = _select(point, active)
    first, steps, image, unit = (part[active] for part in (first, steps, image, unit))
    quiet = torch.zeros_like(active)
    yield whole
    for _ in range(iterations):
        if len(active) == 0:
            return
        candidate = energy(point.image - each(steps, point.image) * point.gradient * point.mask, image, unit)
        better = candidate.energy < point.energy  # false for NaN
        lowered = (point.energy - candidate.energy).where(better, 0)
        small = lowered < tolerance * (first - point.energy + lowered)
        quiet = torch.where(better, torch.where(small, quiet + 1, 0), quiet)  # a step that is taken back says nothing
        steps = torch.where(better, _fitting(steps, candidate, point) if adaptive else steps, steps / 2)
        point = candidate if bool(better.all()) else merged(better, candidate, point)
        going = (point.rec > level) & (quiet < QUIET) & (steps > step * SMALLEST_STEP)
        for kept, new in zip(whole, (point.image, point.energy, point.rec, going), strict=True):
            kept[active] = new
        if not bool(going.all()):
            point = _select(point, going)
            active, first, steps, quiet, image, unit = (
                part[going] for part in (active, first, steps, quiet, image, unit)
            )
        yield whole


def _fitting(steps: Tensor, new: Point, old: Point) -> Tensor:
    """The steps (B,) of Barzilai & Borwein 1988 from the last two points; as they were where the update does not grow."""
    moved, turned = (new.image - old.image).flatten(1), (new.gradient * new.mask - old.gradient * old.mask).flatten(1)
    product = (moved * turned).sum(dim=1)
    return torch.where(product > 0, (moved.square().sum(dim=1) / product).minimum(LONGER * steps), steps)


def merged(which: Tensor, new: Point, old: Point) -> Point:
    """The new point of the images (B,) that are named, the old one of the others."""
    pairs = zip(new, old, strict=True)
    return Point(*(torch.where(which.view(-1, *[1] * (one.ndim - 1)), one, other) for one, other in pairs))


def _select(point: Point, which: Tensor) -> Point:
    return Point(*(part[which] for part in point))
