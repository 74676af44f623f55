"""What training costs: seconds to a validation ELBO of settings beside today's, and what Lightning adds to a bare loop.

    python benchmarks/training.py --beside "model.lr=0.002" --beside "trainer.batch_size=8"

For each dataset and seed the sides train in turn, each as `make bench` does and without localization; the first side is the
configuration as it is, with the overrides of `--base`. Prints each side's curve, the best ELBO so far at shares of the first
side's time, and how much of that time the side takes to the ELBO that the first ends with; `never` if it does not reach it.
Then the last side's images per second over those of a bare PyTorch loop over the same images in memory, epochs in turn. All
is CPU time of this process on `--threads` threads: validation counts, reading data does, other processes hardly.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from timing import goal, keep_memory

from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.load import load_config
from anomaly_bench.models import build_model
from anomaly_bench.runs.data import build_data
from anomaly_bench.runs.training.checkpoints import MONITORED, Saver
from anomaly_bench.runs.training.quiet import quiet
from anomaly_bench.runs.training.trainer import build_trainer, fit

SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
Curve = list[tuple[float, float]]


class Clock(pl.Callback):
    """curve: CPU seconds since the start, and the validation ELBO, after each epoch. steps: seconds per epoch's steps alone."""

    def __init__(self) -> None:
        self.curve: Curve = []
        self.steps: list[float] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start = time.process_time()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = time.process_time()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.steps.append(time.process_time() - self.began)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.curve.append((time.process_time() - self.start, float(trainer.callback_metrics[MONITORED])))


class BareEpochs(pl.Callback):
    """After each epoch of `fit`, one of a bare loop over the same images; seconds: of each."""

    def __init__(self, overrides: list[str], images: list[torch.Tensor]) -> None:
        config = load_config(overrides)
        self.model = build_model(config.model, (images[0].shape[1], images[0].shape[2], images[0].shape[3]))
        self.optimizer, self.images = self.model.configure_optimizers(), images
        self.seconds: list[float] = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        start = time.process_time()
        with torch.enable_grad():
            for image in self.images:
                self.optimizer.zero_grad()
                self.model.training_terms(image)["loss"].mean().backward()
                self.optimizer.step()
        self.seconds.append(time.process_time() - start)


def train(overrides: list[str], bare: bool = False) -> tuple[Clock, list[float]]:
    """Train to the end; the clock, and the seconds of a bare loop's epochs if there is one."""
    config = load_config([*overrides, "trainer.accelerator=cpu"])
    with quiet(), tempfile.TemporaryDirectory() as folder:
        pl.seed_everything(config.seed, workers=True, verbose=False)
        data = build_data(config, Reporter())
        model, clock = build_model(config.model, data.image_shape), Clock()
        saver = Saver(Path(folder), "benchmark", data.train_dataloader(), config.trainer)
        loops = [BareEpochs(overrides, [batch["image"] for batch in saver.loader])] if bare else []
        fit(build_trainer(config, Path(folder), [clock, saver, *loops], []), model, data, saver, None)
    return clock, loops[0].seconds if loops else []


def best_at(curve: Curve, seconds: float) -> float:
    """The best ELBO until then, −inf before the first."""
    return max((elbo for second, elbo in curve if second <= seconds), default=float("-inf"))


def time_to(curve: Curve, elbo: float) -> float:
    """The seconds until an ELBO is reached, infinite if it never is."""
    return next((second for second, own in curve if own >= elbo), float("inf"))


def compare(dataset: str, sides: dict[str, list[str]], seeds: list[int]) -> None:
    """The sides' curves and times, seed by seed and as medians."""
    ratios: dict[str, list[float]] = {name: [] for name in sides}
    for seed in seeds:
        names = list(sides) if seed % 2 == 0 else list(sides)[::-1]
        curves = {name: train([f"dataset={dataset}", f"seed={seed}", *sides[name]])[0].curve for name in names}
        first = curves[next(iter(sides))]
        target, total = max(elbo for _, elbo in first), first[-1][0]
        needed = time_to(first, target)
        print(
            f"{dataset}, seed {seed}: ELBO at {', '.join(f'{share:.0%}' for share in SHARES)} of the first side's time"
        )
        for name in sides:
            shown = ", ".join(f"{best_at(curves[name], share * total):.0f}" for share in SHARES)
            ratio = time_to(curves[name], target) / needed
            ratios[name].append(ratio)
            taken = f"{ratio:.2f}" if ratio < float("inf") else "never"
            print(f"  {name}: {shown}; at its end {best_at(curves[name], float('inf')):.1f}; time {taken}", flush=True)
    for name in list(sides)[1:]:
        goal(
            f"{dataset}: time to the ELBO of `{next(iter(sides))}`, with `{name}`", statistics.median(ratios[name]), 0.5
        )


def main() -> int:
    """Curves of each dataset, then the overhead."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", default="tiny_brain,tiny_texture")
    parser.add_argument("--base", default="trainer=short", metavar="OVERRIDES", help="of all sides (%(default)s)")
    parser.add_argument(
        "--beside", action="append", default=[], metavar="OVERRIDES", help="of another side; repeatable"
    )
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=9, help="of fit beside a bare loop; 0: not at all (%(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_memory()
    base = options.base.split()
    sides = {options.base: base} | {own: [*base, *own.split()] for own in options.beside}
    for dataset in options.datasets.split(","):
        if options.beside:
            compare(dataset, sides, [int(seed) for seed in options.seeds.split(",")])
        if options.epochs:
            last = [*sides.values()][-1]
            overrides = [f"dataset={dataset}", *last, f"trainer.max_epochs={options.epochs}", "trainer.lr_drops=0"]
            clock, bare = train(overrides, bare=True)
            share = statistics.median(own / fitted for own, fitted in zip(bare[1:], clock.steps[1:], strict=True))
            goal(f"{dataset}: images per second of fit over those of a bare loop", share, 0.9, least=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
