"""What each network costs beside `conv`: parameters, a training step, and the maps of predictors=fast.

Run it by hand: `python benchmarks/networks.py`, for another image `--shape 3 128 128`. Sides take turns in one process on
`--threads` threads, in seconds of CPU time where there is one thread. Ratios are medians over rounds, with the range of them.
Networks that such an image does not fit are named and left out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import torch
from timing import ROUNDS, goal, keep_memory, timed
from torch import Tensor

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.load import load_config
from anomaly_bench.models import NETWORKS, BetaVAE
from anomaly_bench.predictors import build_suite
from anomaly_bench.predictors.evidence import Evidence, frozen

FLOOR = "conv"


def step_of(model: BetaVAE, image: Tensor) -> Callable[[], None]:
    """One step of training."""
    optimizer = model.configure_optimizers()

    def step() -> None:
        optimizer.zero_grad()
        model.training_terms(image)["loss"].mean().backward()
        optimizer.step()

    return step


def maps_of(model: BetaVAE, image: Tensor) -> Callable[[], None]:
    """The maps of a batch."""
    suite = build_suite(load_config(["dataset=tiny_texture", "predictors=fast"]).predictors)

    def maps() -> None:
        with frozen(model):
            suite.maps(Evidence(model, image, torch.ones_like(image[:, :1], dtype=torch.bool)), list(suite.single))

    return maps


def main() -> int:
    """A line for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(1, 64, 64), metavar=("C", "H", "W"))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_memory()
    models = {}
    for name in NETWORKS:
        try:
            models[name] = BetaVAE(tuple(arguments.shape), beta=1.0, network=name, channels=None)
        except ConfigError as error:
            print(f"{name}: left out; {error}")
    image = torch.rand(arguments.batch, *arguments.shape)
    clock = time.thread_time if arguments.threads == 1 else time.perf_counter
    steps = timed({name: step_of(model, image) for name, model in models.items()}, arguments.rounds, clock)
    maps = timed({name: maps_of(model, image) for name, model in models.items()}, arguments.rounds, clock)
    shape = "×".join(map(str, (arguments.batch, *arguments.shape)))
    print(
        f"images {shape}, threads {arguments.threads}, median of {arguments.rounds} rounds (least to most), beside {FLOOR}"
    )
    print("| network | parameters | step, ms | step / conv | maps / conv |\n|---|---|---|---|---|")
    for name, model in models.items():
        count = sum(parameter.numel() for parameter in model.parameters())
        ratios = f"{steps.shown(name, FLOOR)} | {maps.shown(name, FLOOR)}"
        print(f"| `{name}` | {count:,} | {1e3 * steps.median(name):.0f} | {ratios} |")
    for name in models:
        if name != FLOOR:
            goal(f"a training step of {name} over one of {FLOOR}", steps.ratio(name, FLOOR))
            goal(f"maps of {name} over those of {FLOOR}", maps.ratio(name, FLOOR))
    return 0


if __name__ == "__main__":
    sys.exit(main())
