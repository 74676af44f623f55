"""What a GPU takes, every figure in one go: `python benchmarks/gpu.py`, a quarter of an hour; exits 1 if a goal is missed.

training: samples per second of a run's trainer beside a bare PyTorch loop of the same model, optimiser and batches (≥ .9).
predictors: every map of predictors=fast beside one forward, one decoder backward and two encoder backward passes (≤ 1.3 ×).
metrics: pixels per second that are counted for AUROC, AP, Dice and AUPRO (≥ 1e9). run: a whole run of made-up volumes, as many
as BraTS has (1,251 subjects, 64×64 pixels), from training to the result, in minutes (≤ 15).

None of these has been measured yet: no GPU was at hand when this was written. `--device cpu --small` runs all of it on small
inputs, which says that it works and nothing of its speed, so that nothing is wanted of the figures then.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from timing import goal
from torch import Tensor

from anomaly_bench.config.load import load_config
from anomaly_bench.metrics import LocalizationCurve
from anomaly_bench.models import BetaVAE
from anomaly_bench.models.likelihoods import kl_standard_normal
from anomaly_bench.predictors import build_suite
from anomaly_bench.predictors.evidence import Evidence, frozen
from anomaly_bench.runs.run import run
from anomaly_bench.runs.training.quiet import quiet
from data_modules.base.batch import Slices
from data_modules.cases.case import Case
from data_modules.cases.split import split_cases
from data_modules.modules.nifti import NiftiDataModule
from data_modules.store.build import build_store
from data_modules.store.journal import Header

PARTS = ("training", "predictors", "metrics", "run")
LEAST, MOST, RATE, MINUTES = 0.9, 1.3, 1e9, 15.0


@dataclass(frozen=True)
class Sizes:
    """How much of everything: images of a batch, steps of a training, pixels that are counted, rounds, and volumes."""

    train: int = 64
    steps: int = 300
    localized: int = 1024
    pixels: int = 1 << 26
    rounds: int = 9
    subjects: int = 1251
    slices: int = 100
    side: int = 64
    epochs: int = 20


SMALL = Sizes(8, 6, 8, 1 << 16, 2, 12, 4, 16, 1)


def seconds_of(task: Callable[[], Any], device: torch.device) -> float:
    """The seconds until the device has done it."""
    wait(device)
    start = time.perf_counter()
    task()
    wait(device)
    return time.perf_counter() - start


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Volumes(NiftiDataModule):
    """Made-up volumes: smooth slices with noise, every third subject with a bright square in half of its slices."""

    sizes: Sizes

    def _prepare(self) -> None:
        names = [f"s{number:04d}" for number in range(self.sizes.subjects)]
        self.cases = [Case(subject=name, images={}, label=None) for name in names]
        self.split = split_cases(self.cases, self.config.split)
        header = Header(name="made_up", fingerprint="made_up", settings={}, storage="float16", reuse="made_up")
        folder = self.cache_dir / "stores" / "made_up"
        digests = [f"{number:032x}" for number in range(len(names))]
        self.store = build_store(folder, header, self.cases, self.read_case, None, digests)
        self.repeated = []

    def read_case(self, case: Case) -> Slices:
        number, count, side = int(case.subject[1:]), self.sizes.slices, self.sizes.side
        generator = torch.Generator().manual_seed(number)
        slopes = torch.rand(count, 1, 1, 1, generator=generator)
        image = 0.2 + 0.5 * slopes * torch.linspace(0, 1, side)[:, None]
        image = image + 0.02 * torch.randn(count, 1, side, side, generator=generator)
        mask = torch.zeros(count, 1, side, side, dtype=torch.bool)
        if number % 3 == 0:
            mask[: count // 2, :, side // 4 : side // 2, side // 4 : side // 2] = True
        numbers = torch.arange(count)
        return Slices(case.subject, image + 0.4 * mask, mask, torch.ones_like(mask), numbers, mask.flatten(1).any(1))


def volumes(sizes: Sizes, folder: Path, device: torch.device) -> tuple[Any, Volumes]:
    """The config of a run on made-up volumes, and these, prepared."""
    config = load_config(
        [
            "dataset=brats",
            f"dataset.size=[{sizes.side},{sizes.side}]",
            "dataset.modality=flair",
            f"trainer.batch_size={sizes.train}",
            f"trainer.max_epochs={sizes.epochs}",
            f"trainer.accelerator={device.type}",
            f"cache_dir={folder / 'cache'}",
            f"out={folder / 'runs'}",
            *(["predictors=fast", "localization.resamples=20", "localization.bits=16"] if sizes is SMALL else []),
        ]
    )
    Volumes.sizes = sizes
    data = Volumes(config.dataset, batch_size=sizes.train, cache_dir=config.cache)
    data.setup()
    return config, data


def training(sizes: Sizes, device: torch.device, folder: Path) -> float:
    """Samples per second of Lightning's loop over the held store, as a share of those of a bare loop over the same."""
    _, data = volumes(sizes, folder, device)
    if device.type == "cuda":
        data.hold(device)

    def ours() -> None:
        trainer = pl.Trainer(
            max_steps=sizes.steps,
            max_epochs=-1,
            accelerator=device.type if device.type == "cpu" else "gpu",
            devices=1,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(BetaVAE(data.image_shape), data.train_dataloader())

    def bare() -> None:
        model = BetaVAE(data.image_shape).to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        order = torch.from_numpy(data.indices["train"])
        for step in range(sizes.steps):
            chosen = order[torch.randint(len(order), (sizes.train,), generator=torch.Generator().manual_seed(step))]
            image = data.store.batch(chosen.numpy())["image"]
            rec, kl = model.terms(image, sample=True)
            optimizer.zero_grad()
            (rec + 4 * kl).mean().backward()
            optimizer.step()

    shares = []
    for number in range(sizes.rounds // 2 + 1):  # the first is not counted
        with quiet():
            theirs, own = seconds_of(bare, device), seconds_of(ours, device)
        shares += [theirs / own] if number else []
    return statistics.median(shares)


def predictors(sizes: Sizes, device: torch.device, folder: Path) -> float:
    """All maps of predictors=fast by the passes that they need."""
    shape = (1, sizes.side, sizes.side)
    model = BetaVAE(shape).to(device).eval()
    image = torch.rand(sizes.localized, *shape, device=device)
    suite = build_suite(load_config(["predictors=fast"]).predictors)
    inside = torch.ones_like(image, dtype=torch.bool)
    names = [name for name, one in suite.single.items() if one.cheap and one.signed != "signed"]

    def floor() -> None:
        leaf = image.clone().requires_grad_(True)
        mean, logvar = model.encode(leaf)
        rec = model.likelihood.nll(leaf, *model.decode_with_scale(mean))
        torch.autograd.grad(rec.sum(), leaf, retain_graph=True)
        torch.autograd.grad(kl_standard_normal(mean, logvar).sum(), leaf)

    def maps() -> dict[str, Any]:
        return suite.maps(Evidence(model, image, inside), names)

    with frozen(model):
        rounds = [seconds_of(maps, device) / seconds_of(floor, device) for _ in range(sizes.rounds + 1)]
    return statistics.median(rounds[1:])


def metrics(sizes: Sizes, device: torch.device, folder: Path) -> float:
    """Pixels per second of counting, and of reading every metric at the end."""
    side = min(256, int(sizes.pixels**0.5))
    shape = (sizes.pixels // side**2, 1, side, side)
    mask = torch.zeros(shape, dtype=torch.bool, device=device)
    mask[::3, :, 20:50, 20:50] = True
    scores: Tensor = torch.randn(shape, device=device) + 1.5 * mask
    weight = mask / 900.0

    def count() -> None:
        curve = LocalizationCurve(pivot=0.0).to(device)
        curve.update(scores, mask, None, weight)
        curve.brought().compute()

    return sizes.pixels / statistics.median([seconds_of(count, device) for _ in range(sizes.rounds + 1)][1:])


def whole_run(sizes: Sizes, device: torch.device, folder: Path) -> float:
    """Minutes of a run on made-up volumes that are prepared already."""
    config, data = volumes(sizes, folder, device)
    return seconds_of(lambda: run(config, data=data), device) / 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
    parser.add_argument("--small", action="store_true", help="small inputs, to see that it works")
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; may be given several times")
    arguments = parser.parse_args()
    device, sizes = torch.device(arguments.device), SMALL if arguments.small else Sizes()
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error(
            "--device cuda: there is none that torch can use; --device cpu --small tries everything without one"
        )
    meant = device.type == "cuda" and sizes is not SMALL
    print(torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU: the figures say nothing of a GPU's")
    told: dict[str, tuple[str, Callable[[Sizes, torch.device, Path], float], float, bool]] = {
        "training": ("samples per second of the trainer by those of a bare loop", training, LEAST, True),
        "predictors": ("all maps of predictors=fast by the passes they need", predictors, MOST, False),
        "metrics": ("pixels per second counted", metrics, RATE, True),
        "run": (f"minutes of a run of {sizes.subjects} volumes", whole_run, MINUTES, False),
    }
    good = True
    for part in arguments.only or PARTS:
        what, measure, bound, least = told[part]
        with tempfile.TemporaryDirectory() as folder:
            good &= goal(what, measure(sizes, device, Path(folder)), bound if meant else None, least)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
