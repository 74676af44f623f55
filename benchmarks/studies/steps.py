"""How many passes a projection takes to the map of 100 plain iterations, by how it steps.

Run it by hand, on folders of finished runs: `python benchmarks/studies/steps.py RUN RUN`. Of each rule and number of iterations
it prints the correlation of |x − x_T| with that of 100 plain iterations (step 0.005, l1 1, no tolerance) over all foreground
pixels of some test images, the average precision of the map smoothed by 1 px, and how many steps were taken back. An iteration
is a forward and a backward pass under every rule. Goal: a correlation of .99 by the default; else it exits with 1.
plain: the paper's step. damped: the same over 1 + step · (x − x̂)² / s². growing: so many times as long after each that is kept.
heavy ball: a share of the last change is added (Polyak 1964). adaptive: the product's default.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from projection import Part, Run, figures
from torch import Tensor

from anomaly_bench.predictors import Projection
from anomaly_bench.predictors.evidence import Evidence, frozen
from anomaly_bench.predictors.rules.projection import QUIET, Energy, Point, merged, path, spread

MARKS = (5, 7, 10, 20, 33)
LONG, LEAST = 100, 0.99
PLAIN = 0.005


class Memory(NamedTuple):
    """What a rule knows besides the point: each image's step and unit (B, 1, 1, 1), and the last change."""

    step: Tensor
    unit: Tensor
    change: Tensor


def plain(point: Point, memory: Memory) -> Tensor:
    return memory.step * point.gradient * point.mask


def damped(point: Point, memory: Memory) -> Tensor:
    return plain(point, memory) / (1 + memory.step * point.mask / memory.unit**2)


def heavy_ball(share: float) -> Callable[[Point, Memory], Tensor]:
    return lambda point, memory: plain(point, memory) - share * memory.change


RULES: dict[str, tuple[Callable[[Point, Memory], Tensor], float, float]] = {  # what it subtracts, step, growth
    "plain, step 0.005": (plain, PLAIN, 1.0),
    "plain, step 0.01": (plain, 0.01, 1.0),
    "plain, step 0.03": (plain, 0.03, 1.0),
    "damped, step 0.015": (damped, 0.015, 1.0),
    "damped, step 0.03": (damped, 0.03, 1.0),
    "damped, step 0.03, growing 1.1": (damped, 0.03, 1.1),
    "plain, growing 1.3": (plain, PLAIN, 1.3),
    "heavy ball 0.7": (heavy_ball(0.7), PLAIN, 1.0),
    "heavy ball 0.9": (heavy_ball(0.9), PLAIN, 1.0),
}


def walked(energy: Energy, part: Part, unit: Tensor, name: str, iterations: int) -> tuple[dict[int, Tensor], int]:
    """The images after each of MARKS and of `iterations`, and how many steps were taken back."""
    rule, step, growth = RULES[name]
    point, scale = energy(part.image, part.image, unit), unit.view(-1, 1, 1, 1)
    memory = Memory(torch.full_like(scale, step), scale, torch.zeros_like(part.image))
    found, back = {}, 0
    for number in range(1, iterations + 1):
        candidate = energy(point.image - rule(point, memory), part.image, unit)
        better = (candidate.energy < point.energy).view(-1, 1, 1, 1)
        back += int((~better).sum())
        before, point = point, merged(better.flatten(), candidate, point)
        memory = Memory(torch.where(better, memory.step * growth, memory.step / 2), scale, point.image - before.image)
        if number in MARKS or number == iterations:
            found[number] = point.image
    return found, back


def measure(run: Run, l1: float) -> bool:
    """Print the rules' figures for a run; whether the default reaches the map."""
    default, part = Projection(l1=l1), run.test
    inside = part.foreground

    def score(image: Tensor) -> Tensor:
        return (part.image - image).abs().mean(dim=1, keepdim=True)[inside]

    with frozen(run.model):
        unit, energy = spread(Evidence(run.model, part.image, inside)), Energy(run.model, l1)
        aim = score(walked(energy, part, unit, "plain, step 0.005", LONG)[0][LONG])

        def correlation(image: Tensor) -> float:
            return float(torch.corrcoef(torch.stack([score(image), aim]))[0, 1])

        def shown_of(found: dict[int, Tensor]) -> str:
            return " ".join(
                f"{n}: {correlation(x):.3f} {figures(part.image - x, part, 1.0)[0]:.3f}" for n, x in found.items()
            )

        print(f"{run.name}, {len(part.image)} images: correlation with {LONG} plain iterations, AP, after iterations")
        for name in RULES:
            found, back = walked(energy, part, unit, name, max(MARKS))
            print(f"  {name}: {shown_of(found)}; {back} taken back", flush=True)
        walk = path(energy, part.image, part.image, unit, max(MARKS), default.step, adaptive=True)
        found = {number: state.image.clone() for number, state in enumerate(walk) if number in MARKS}
        print(f"  adaptive: {shown_of(found)}")
        how = default.step, default.tolerance
        *_, last = path(energy, part.image, part.image, unit, default.iterations, *how, adaptive=default.adaptive)
        reached = correlation(last.image)
        *_, long = path(energy, part.image, part.image, unit, LONG, *how, adaptive=default.adaptive)
    share = 1 - long.going.float().mean().item()
    print(
        f"  default, {default.iterations} iterations: {reached:.3f} (at least {LEAST}); of {LONG} iterations, {share:.0%} of "
        f"images end before, {QUIET} steps in a row below a tolerance of {default.tolerance:g}; by {default.iterations}, "
        f"{1 - last.going.float().mean().item():.0%}"
    )
    return reached >= LEAST


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--images", type=int, default=20, help="test images of each run, default 20")
    parser.add_argument("--l1", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    reached = [measure(Run.load(folder, options.images), options.l1) for folder in options.runs]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
