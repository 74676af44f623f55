"""How time, memory and disk of each stage grow: the stage at 1, 10 and 100 times a size, and the exponent of its growth.

    python benchmarks/scale.py                      # all stages
    python benchmarks/scale.py --only plan,board    # some

Each size has a process of its own, whose CPU seconds and peak of memory beyond that after the imports are printed, with what a
unit costs at the largest size. The exponent is that between the two largest sizes: 1 is growth in proportion, 0 none.
docs/scale.md says what to expect of each, and what follows for cohorts and clusters of any size.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import math
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from timing import goal

SIZES = (1, 10, 100)
SHAPE, SIDE, BATCH = (48, 48, 24), 64, 32
LINEAR = 1.15  # an exponent up to which growth counts as in proportion: caches fill, lists double
FLAT = 0.3
NOISE = 8.0  # MB that come and go whatever the size


class Cost(NamedTuple):
    """CPU seconds, peak memory beyond that of a process that has imported all it needs, in MB, and bytes on disk."""

    seconds: float
    memory: float
    disk: float


@contextlib.contextmanager
def measured(disk: Callable[[], float] = lambda: 0.0) -> Iterator[list[Cost]]:
    """What the block costs; disk: bytes that it has left, asked for at its end."""
    found: list[Cost] = []
    peak, done = [_anonymous()], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak.append(max(peak[-1], _anonymous()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start = _cpu()
    yield found
    seconds = _cpu() - start
    done.set()
    watcher.join()
    found.append(Cost(seconds, peak[-1] - peak[0], disk()))


def _cpu() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _anonymous() -> float:
    """Memory of this process in MB that no file stands behind: pages of a mapped store go whenever others need them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def _size(folder: Path) -> float:
    return float(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))


def prepare(subjects: int, scratch: Path) -> Cost:
    """Volumes of 48×48×24 in BraTS's layout → a store of slices of 64×64."""
    import nibabel as nib

    from anomaly_bench.config.load import load_config
    from data_modules.modules.build import build_module

    grid = np.stack(np.meshgrid(*(np.linspace(-1.4, 1.4, n) for n in SHAPE), indexing="ij"))
    inside, lesion = (grid**2).sum(0) < 0.9, ((grid - 0.3) ** 2).sum(0) < 0.06
    for index in range(subjects):
        image = inside * np.random.default_rng(index).normal(300, 30, SHAPE)
        folder = scratch / "brats" / f"BraTS2021_{index:05d}"
        folder.mkdir(parents=True)
        for name, array in (("flair", image.clip(0).astype(np.int16)), ("seg", lesion.astype(np.uint8))):
            packed = gzip.compress(nib.Nifti1Image(array, np.eye(4)).to_bytes(), 1)
            (folder / f"{folder.name}_{name}.nii.gz").write_bytes(packed)
    config = load_config(["dataset=brats", f"dataset.root={scratch / 'brats'}"])
    with measured(lambda: _size(scratch / "cache")) as found:
        data = build_module(config.dataset, scratch / "cache", config.data, BATCH)
        data.prepare_data()
        data.setup()
    return found[0]


def count(images: int, scratch: Path) -> Cost:
    """One predictor's maps of 64×64, 20 of each subject → its histograms, image scores, counts per subject and result."""
    import torch

    from anomaly_bench.localization.tallies.tally import Tally
    from anomaly_bench.metrics import LocalizationCurve, find_regions, region_weight

    torch.manual_seed(0)
    mask = torch.zeros(BATCH, 1, SIDE, SIDE, dtype=torch.bool)
    mask[::4, :, 20:30, 20:30] = True
    weight, regions, everywhere = region_weight(mask), find_regions(mask), torch.ones_like(mask)
    subjects = images // 20
    with measured() as found:
        tally = Tally("map", LocalizationCurve(pivot=0.0), 0.01, threshold=700_000, per_subject=True)
        for start in range(0, images, BATCH):
            batch = {"mask": mask, "foreground": everywhere, "region_weight": weight}
            batch["subject"] = batch["slice"] = torch.arange(start, start + BATCH) // 20 % subjects
            tally.update(torch.randn(BATCH, 1, SIDE, SIDE) + mask, 0.0, batch, regions)  # type: ignore[arg-type]
        nothing: dict[int, dict[str, str]] = {subject: {} for subject in range(subjects)}
        tally.result({}, {subject: str(subject) for subject in range(subjects)}, nothing, 1000)
    return found[0]


def plan(runs: int, scratch: Path) -> Cost:
    """A grid of runs → their configs, checked, noted in the folder of the sweep, and looked at."""
    from anomaly_bench.base.progress import Reporter
    from anomaly_bench.config.grid import load_grid
    from anomaly_bench.sweep.bench import planned_run, write_plan
    from anomaly_bench.sweep.plan import plan as plan_of
    from anomaly_bench.sweep.states import standings

    place = ["dataset=tiny_texture", f"out={scratch / 'out'}", f"cache_dir={scratch / 'cache'}"]
    plan_of(load_grid(place), Reporter())  # prepares the data
    with measured(lambda: _size(scratch / "out")) as found:
        jobs = plan_of(load_grid([*place, "model.beta=0.5,1,2,4,8", f"seed=range({runs // 5})"]), Reporter()).jobs
        write_plan(jobs, scratch / "out")
        standings([planned_run(job) for job in jobs], scratch / "out")
    return found[0]


def board(runs: int, scratch: Path) -> Cost:
    """Results of 20 predictors on 12 subjects → the leaderboard's tables and its page."""
    from leaderboards import NAMES, write

    from leaderboard.board import build
    from leaderboard.report import html_report
    from leaderboard.results.collect import collect

    write(scratch / "runs", runs, [*NAMES, "last"], 12)
    page = scratch / "report.html"
    with measured(lambda: _size(scratch / "runs")) as found:
        page.write_text(html_report(build(collect(scratch / "runs"))))
    return found[0]


class Stage(NamedTuple):
    """What runs, its unit, how many of them are 1 ×, and whether memory grows with them."""

    run: Callable[[int, Path], Cost]
    unit: str
    base: int
    grows: bool


STAGES = {
    "prepare": Stage(prepare, "subject", 5, grows=False),
    "count": Stage(count, "image", 320, grows=False),
    "plan": Stage(plan, "run", 100, grows=True),
    "board": Stage(board, "run", 20, grows=True),
}


def cost_of(name: str, size: int) -> Cost:
    """A stage at a size, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure", name, str(size)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{name} of {size}: {done.stderr.strip()[-2000:]}")
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def exponent(before: float, after: float, ratio: float) -> float:
    """Of growth: after / before = ratio ** exponent."""
    return math.log(after / before) / math.log(ratio)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(STAGES), metavar="STAGES", help="some of %(default)s")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, size = options.measure
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            STAGES[name].run(STAGES[name].base, Path(folder, "warm"))  # what is imported late
            cost = STAGES[name].run(int(size), Path(folder, "measured"))
        print(json.dumps(cost))
        return
    names = options.only.split(",")
    if unknown := set(names) - set(STAGES):
        parser.error(f"--only {','.join(sorted(unknown))}: expected some of {','.join(STAGES)}")
    for name in names:
        stage = STAGES[name]
        sizes = [stage.base * factor for factor in SIZES]
        costs = [cost_of(name, size) for size in sizes]
        print(
            f"\n{name}: {stage.run.__doc__}\n\n| {stage.unit}s | CPU s | MB beyond imports | MB on disk |\n|--:|--:|--:|--:|"
        )
        for size, cost in zip(sizes, costs, strict=True):
            print(f"| {size:,} | {cost.seconds:.2f} | {cost.memory:.0f} | {cost.disk / 1e6:.2f} |", flush=True)
        most, units = costs[-1], sizes[-1]
        print(
            f"\nper {stage.unit}: {most.seconds / units * 1e3:.3g} ms, {most.memory / units * 1e3:.3g} kB of memory, "
            f"{most.disk / units / 1e3:.3g} kB on disk"
        )
        time_, memory = (
            exponent(max(costs[1][at], least), max(costs[2][at], least), SIZES[2] / SIZES[1])
            for at, least in enumerate((0.01, NOISE))
        )
        goal(f"{name}: exponent of time", time_, LINEAR)
        goal(f"{name}: exponent of memory", memory, LINEAR if stage.grows else FLAT)


if __name__ == "__main__":
    main()
