"""What maps cost: all non-iterative predictors beside the passes they need, and projection beside one image at a time.

Run it by hand: `python benchmarks/predictors.py`. Sides are timed in turn, several times, in one process on `--threads`
threads; it prints medians and ratios:
maps: every predictor of predictors=fast, at most 1.15 × one forward, one decoder backward and two encoder backward passes.
projection: per image at least 4 × faster in a batch than the same updates one image at a time, with identical maps. Printed
beside it is what a batch can give at most: one step's passes at one image beside those in a batch, per image.
memory: the peak with ten predictors at most 1.1 × that with one gradient, beyond the maps themselves.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from timing import goal, keep_memory, timed
from torch import Tensor

from anomaly_bench.config.load import load_config
from anomaly_bench.models import BetaVAE
from anomaly_bench.models.likelihoods import kl_standard_normal
from anomaly_bench.predictors import Suite, build_suite
from anomaly_bench.predictors.evidence import Evidence, frozen
from anomaly_bench.predictors.rules.projection import Energy, end_of, path

BATCH = 32
MAPS, PROJECTION, MEMORY = 1.15, 4.0, 1.1
SAME = 0.01  # of how far they moved, what projected images may differ by: rounding decides whether a step is taken back
NETWORKS = {
    "64×64×1, default": ((1, 64, 64), {}),
    "64×64×1, zimmerer": ((1, 64, 64), {"network": "dcgan", "channels": (16, 32, 64, 256), "latent": 256}),
    "128×128×3, bergmann": ((3, 128, 128), {"network": "bergmann", "channels": None, "latent": 100}),
}


def build(name: str, steps: int = 0) -> tuple[BetaVAE, Tensor, Tensor]:
    """A model trained for some steps on ramps, a batch of ramps with a bright square each, and a foreground of everything."""
    shape, arguments = NETWORKS[name]
    torch.manual_seed(0)
    model = BetaVAE(shape, **arguments)  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(steps):
        rec, kl = model.terms(ramps(shape), sample=True)
        optimizer.zero_grad()
        (rec + kl).mean().backward()
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    image = ramps(shape)
    image[:, :, 12:24, 12:24] += 0.4
    return model.eval(), image, torch.ones(BATCH, 1, *shape[1:], dtype=torch.bool)


def ramps(shape: tuple[int, int, int]) -> Tensor:
    slopes = torch.rand(BATCH, shape[0], 1, 1)
    return 0.2 + 0.5 * slopes * torch.linspace(0, 1, shape[1])[:, None] + 0.02 * torch.randn(BATCH, *shape)


def floor(model: BetaVAE, image: Tensor) -> None:
    """One forward, one decoder backward and two encoder backward passes, and nothing else."""
    leaf = image.clone().requires_grad_(True)
    mean, logvar = model.encode(leaf)
    rec = model.likelihood.nll(leaf, model.decode(mean))
    kl = kl_standard_normal(mean, logvar)
    torch.autograd.grad(rec.sum(), leaf, retain_graph=True)
    torch.autograd.grad(kl.sum(), leaf)


def suite_of(overrides: list[str]) -> Suite:
    return build_suite(load_config(["dataset=tiny_texture", *overrides]).predictors)


def measure_maps(name: str, rounds: int) -> None:
    """All of predictors=fast beside the passes that they need."""
    model, image, foreground = build(name)
    suite = suite_of(["predictors=fast"])
    with frozen(model):
        found = timed(
            {
                "passes": lambda: floor(model, image),
                "maps": lambda: suite.maps(Evidence(model, image, foreground), list(suite.single)),
            },
            rounds,
        )
    print(
        f"maps, {name}: {len(suite.single)} predictors {1e3 * found.median('maps'):.0f} ms per batch of {BATCH}, passes alone "
        f"{1e3 * found.median('passes'):.0f} ms: {found.shown('maps', 'passes')} ×"
    )
    goal(f"{name}: maps of {len(suite.single)} predictors over the passes alone", found.ratio("maps", "passes"), MAPS)


def one_at_a_time(model: BetaVAE, image: Tensor, iterations: int, step: float, l1: float, level: float) -> Tensor:
    """The paper's updates, image by image, on a model as it is: what a straightforward implementation does.

    A step that does not lower the energy is taken back and halved, as the batched one does, so that maps are the same.
    """

    def visit(x: Tensor, origin: Tensor) -> tuple[Tensor, float, Tensor, float]:
        """An image with its energy, its update before the step size, and its rec."""
        leaf = x.clone().requires_grad_(True)
        x_hat = model.decode(model.encode(leaf)[0])
        rec = model.likelihood.nll(leaf, x_hat)
        energy = rec + l1 * (leaf - origin).abs().sum() / model.likelihood.sigma
        (gradient,) = torch.autograd.grad(energy.sum(), leaf)
        return x, energy.item(), gradient * (x - x_hat.detach()) ** 2, rec.item()

    results = []
    for origin in image.split(1):
        (x, energy, update, rec), reach = visit(origin, origin), step
        for _ in range(iterations):
            if rec <= level:
                break
            moved = visit(x - reach * update, origin)
            if moved[1] < energy:
                x, energy, update, rec = moved
            else:
                reach /= 2
        results.append(x)
    return torch.cat(results)


def measure_projection(name: str, rounds: int) -> None:
    """The batch beside the same updates one image at a time, of which half the images need few."""
    model, image, _ = build(name, steps=40)
    iterations, step, l1 = 10, 0.02, 0.05
    with frozen(model):
        unit = image.new_full((len(image),), model.likelihood.sigma)
        ended = end_of(path(Energy(model, l1), image, image, unit, iterations // 2, step)).image
        level = Energy(model, l1)(ended, image, unit).rec.median().item()
    results: dict[str, Tensor] = {}

    def batched() -> None:
        with frozen(model):
            results["batched"] = end_of(
                path(Energy(model, l1), image, image, unit, iterations, step, level=level)
            ).image

    def alone() -> None:
        results["alone"] = one_at_a_time(model, image, iterations, step, l1, level)

    def alone_frozen() -> None:
        with frozen(model):
            one_at_a_time(model, image, iterations, step, l1, level)

    found = timed({"alone": alone, "batched": batched, "frozen": alone_frozen}, rounds)
    step_alone, step_batched = passes(model, image[:1]), passes(model, image) / BATCH
    off = (results["alone"] - results["batched"]).abs().max().item()
    moved = (results["alone"] - image).abs().max().item()
    if off > SAME * moved:
        raise RuntimeError(f"{name}: projected images differ by {off:.1e}; the two sides do not do the same")
    per_image = {side: f"{1e3 * found.median(side) / BATCH:.1f}" for side in found.seconds}
    print(
        f"projection, {name}: {per_image['batched']} ms per image in a batch of {BATCH}, alone {per_image['alone']} ms: "
        f"{found.shown('alone', 'batched')} × faster; alone with frozen weights {per_image['frozen']} ms: "
        f"{found.shown('frozen', 'batched')} ×; projected images differ by {off:.1e}, moved {moved:.2f}; a step's passes "
        f"{1e3 * step_alone:.1f} ms alone, {1e3 * step_batched:.1f} in the batch: {step_alone / step_batched:.2f} × at most"
    )
    goal(
        f"{name}: projection one image at a time over a batch of {BATCH}",
        found.ratio("alone", "batched"),
        PROJECTION,
        True,
    )


def passes(model: BetaVAE, image: Tensor) -> float:
    """Seconds of what a step of the projection of a batch needs: one forward and one backward pass."""
    with frozen(model):
        return timed({"passes": lambda: Energy(model, 0.05)(image, image, image.new_ones(len(image)))}).median("passes")


def peak(name: str, which: str) -> float:
    """MiB that maps of `which` predictors take at their peak, beyond what the process holds before (Linux)."""
    model, image, foreground = build(name)
    names = ["grad_elbo"] if which == "one" else list(suite_of(["predictors=fast"]).single)
    suite = suite_of(["predictors=fast", f"predictors.only=[{','.join(names)}]"])
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far
    before = resident("VmRSS")
    with frozen(model):
        suite.maps(Evidence(model, image, foreground), list(suite.single))
    return resident("VmHWM") - before


def resident(key: str) -> float:
    """MiB of memory that the process holds (VmRSS) or has held at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def measure_memory(name: str) -> None:
    """The peak of all predictors beside that of one, each in a process of its own."""
    found = {}
    for which in ("one", "all"):
        command = [sys.executable, __file__, "--peak", name, which]
        found[which] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    _, image, _ = build(name)
    kept = len(suite_of(["predictors=fast"]).single) * image[:, :1].numel() * 4 / 2**20
    ratio = (found["all"] - kept) / found["one"]
    print(
        f"memory, {name}: grad_elbo alone {found['one']:.0f} MiB, all {found['all']:.0f} MiB, of which {kept:.0f} are "
        f"the maps: {ratio:.2f} ×"
    )
    goal(f"{name}: peak memory of all maps over that of grad_elbo", ratio, MEMORY)


def main() -> None:
    """Everything, on every network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peak", nargs=2, metavar=("NETWORK", "WHICH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        print(peak(*arguments.peak))
        return
    keep_memory()
    for name in NETWORKS:
        measure_maps(name, arguments.rounds)
        measure_projection(name, 3)
        measure_memory(name)


if __name__ == "__main__":
    main()
