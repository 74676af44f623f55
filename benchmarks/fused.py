"""Steps of K models trained at once (engine=fused) beside the same steps one model after the other, and whether they agree.

Run it by hand: `python benchmarks/fused.py`, on a GPU with `--device cuda`. Sides take turns in one process, in CPU time of
one thread, on a GPU in seconds until it is done. Above 1 it pays to train at once. Beside it, how far apart the losses of both
are after all rounds, relative.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable

import torch
from timing import ROUNDS, goal, keep_memory, timed

from anomaly_bench.models import BetaVAE
from anomaly_bench.runs.training.stacked import Stacked

CASES = {
    "conv, 64×64": ((1, 64, 64), {}),
    "conv of few channels, 16×16": ((1, 16, 16), {"channels": (8, 8), "latent": 8}),
    "vit, 64×64": ((1, 64, 64), {"network": "vit", "channels": None}),
}


def sides(name: str, count: int, batch: int, device: str) -> tuple[Callable[[], float], Callable[[], float]]:
    """A step of all models one after the other, and at once; each gives the mean loss."""
    shape, arguments = CASES[name]
    torch.manual_seed(0)
    models = [BetaVAE(shape, beta=1.0, **arguments).to(device).train() for _ in range(count)]  # type: ignore[arg-type]
    for model in models:
        model.scheduled = lambda: 1.0  # type: ignore[method-assign]
    images = torch.rand(count, batch, *shape, device=device)
    own = copy.deepcopy(models)
    optimizers = [model.configure_optimizers() for model in own]
    noise = torch.Generator().manual_seed(0).get_state()
    source = {"alone": noise, "fused": noise.clone()}
    stacked = Stacked(models)
    stacked.record(images[0])
    stepping = [model.configure_optimizers() for model in models]

    def alone() -> float:
        torch.set_rng_state(source["alone"])
        losses = []
        for model, optimizer, image in zip(own, optimizers, images, strict=True):
            loss = model.training_terms(image)["loss"].mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        source["alone"] = torch.get_rng_state()
        return float(torch.stack(losses).mean())

    def fused() -> float:
        torch.set_rng_state(source["fused"])
        losses = stacked.train(images, [stacked.draw() for _ in models])["loss"].mean(dim=1)
        stacked.backward(losses)
        for optimizer in stepping:
            optimizer.step()
        source["fused"] = torch.get_rng_state()
        return float(losses.detach().mean())

    return alone, fused


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=4, help="how many at once (%(default)s)")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    for name in CASES:
        alone, fused = sides(name, options.models, options.batch, options.device)
        clock = time.thread_time if options.device == "cpu" else time.perf_counter
        times = timed({"alone": alone, "fused": fused}, options.rounds, clock)
        print(
            f"{name}: alone over at once {times.shown('alone', 'fused')}; losses apart by {abs(alone() / fused() - 1):.1e}"
        )
        goal(f"{options.models} models of {name}, one after the other over at once", times.ratio("alone", "fused"))


if __name__ == "__main__":
    main()
