"""What each network costs beside `conv`: parameters, a training step, and the maps of predictors=fast.

Run it by hand: `python benchmarks/networks.py`, for another image `--shape 3 128 128`. Sides take turns in one process on
`--threads` threads, in seconds of CPU time where there is one thread. Ratios are medians over rounds, with the range of them.
Networks that such an image does not fit are named and left out. Those of volumes have as many slices in their batch, in volumes
of `--depth`.

`--runs FOLDER` prints, for docs/results/networks.md, what each network reached there: by dataset and model the best
ELBO, and AUROC and AP of `--predictor` on test, mean over seeds with the 95 % interval of the mean. Made for the runs of
`anomaly-bench bench dataset=tiny_brain,tiny_texture,rsdds model=beta_vae,convnext,vit,graph,hierarchical model.beta=1
seed=0,1,2`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from timing import ROUNDS, goal, keep_memory, timed
from torch import Tensor

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.load import load_config
from anomaly_bench.models import NETWORKS, BetaVAE
from anomaly_bench.models.networks import VOLUMES
from anomaly_bench.predictors import build_suite
from anomaly_bench.predictors.evidence import Evidence, frozen
from leaderboard.record import RESULT_FILE, RunResult, read_result
from leaderboard.statistics.samples import summarise

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


def page(folder: Path, predictor: str) -> str:
    """A table of the runs below a folder, a row for each dataset, model and setting."""
    settings = defaultdict[tuple[str, str, str], list[RunResult]](list)
    for path in folder.rglob(RESULT_FILE):
        run = read_result(path)
        if not run.ensemble_of and predictor in run.predictors:
            settings[run.dataset, run.model, run.setting_id].append(run)
    lines = [f"| dataset | model | seeds | ELBO | AUROC of `{predictor}` | AP |", "|---|---|---|---|---|---|"]
    for (dataset, model, _), runs in sorted(settings.items()):
        tests = [run.predictors[predictor].test for run in runs]
        columns = [
            [run.training["best_elbo"] for run in runs],
            *([test[key].value for test in tests] for key in ("auroc", "ap")),
        ]
        shown = [of_seeds(column, digits) for column, digits in zip(columns, (0, 3, 3), strict=True)]
        seeds = ", ".join(str(run.seed) for run in sorted(runs, key=lambda run: run.seed))
        lines.append(f"| {dataset} | `{model}` | {seeds} | {' | '.join(shown)} |")
    return "\n".join(lines)


def of_seeds(values: list[float | None], digits: int) -> str:
    """The mean, and the interval where there are several seeds."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return f"{known[0]:,.{digits}f}" if known else "–"
    mean, _, low, high, _ = summarise(known)
    return f"{mean:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"


def main() -> int:
    """A line for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(1, 64, 64), metavar=("C", "H", "W"))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=Path, metavar="FOLDER")
    parser.add_argument("--predictor", default="rec_l1")
    arguments = parser.parse_args()
    if arguments.runs is not None:
        print(page(arguments.runs, arguments.predictor))
        return 0
    torch.set_num_threads(arguments.threads)
    keep_memory()
    models = {}
    for name in NETWORKS:
        channels, *size = arguments.shape
        shape = (channels, arguments.depth, *size) if name in VOLUMES else (channels, *size)
        try:
            models[name] = BetaVAE(shape, beta=1.0, network=name, channels=None)
        except ConfigError as error:
            print(f"{name}: left out; {error}")
    images = {name: torch.rand(arguments.batch // model.depth, *model.shape) for name, model in models.items()}
    clock = time.thread_time if arguments.threads == 1 else time.perf_counter
    steps = timed({name: step_of(model, images[name]) for name, model in models.items()}, arguments.rounds, clock)
    maps = timed({name: maps_of(model, images[name]) for name, model in models.items()}, arguments.rounds, clock)
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
