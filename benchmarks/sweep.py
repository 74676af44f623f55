"""What a sweep costs beside its runs: planning, processes, and what two at once gain.

    python benchmarks/sweep.py plan                 # 10,000 runs: expand, check, note, look at
    python benchmarks/sweep.py engine --epochs 60   # runs of a minute: in the process itself, in processes, two at once

Ratios of commands that take turns in one call; a machine that does other work meanwhile makes them worse.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from timing import goal

GRID = ["dataset=tiny_texture", "model.beta=0.5,1,2,4,8", "model.latent=32,64", "seed=range(1000)"]
SHORT = ["dataset=tiny_texture", "predictors.only=[rec_l1,grad_kl]", "localization.monitor_every=0"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("plan", "engine"))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "plan":
            planning(Path(folder))
        else:
            engines(Path(folder), options.epochs, options.rounds)


def planning(folder: Path) -> None:
    """Seconds of each step for 10,000 runs without a result, data prepared."""
    from anomaly_bench.base.progress import Reporter
    from anomaly_bench.config.grid import load_grid
    from anomaly_bench.sweep.bench import planned_run, write_plan
    from anomaly_bench.sweep.plan import plan
    from anomaly_bench.sweep.states import standings

    place = [f"out={folder}", f"cache_dir={folder / 'cache'}"]
    plan(load_grid([*GRID[:1], *place]), Reporter())
    start = time.perf_counter()
    configs = load_grid([*GRID, *place])
    expanded = time.perf_counter()
    jobs = plan(configs, Reporter()).jobs
    checked = time.perf_counter()
    write_plan(jobs, folder)
    noted = time.perf_counter()
    standings([planned_run(job) for job in jobs], folder)
    looked = time.perf_counter()
    print(f"{len(jobs)} runs: expand {expanded - start:.2f} s, check {checked - expanded:.2f} s, ", end="")
    print(f"note {noted - checked:.2f} s, look at {looked - noted:.2f} s; together {looked - start:.2f} s")


VARIANTS = {
    "jobs=0": ["jobs=0"],
    "jobs=1": ["jobs=1"],
    "jobs=1, one thread": ["jobs=1", "engine.threads=1"],
    "jobs=2": ["jobs=2"],
}
RUNS = 4


@dataclass
class Taken:
    """Seconds of a sweep: in all, within its runs (summed), and of the same command again, when there is nothing to do."""

    wall: list[float] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)
    start: list[float] = field(default_factory=list)

    def rate(self) -> float:
        """Runs a minute, the start left out."""
        return RUNS / (median(self.wall) - median(self.start)) * 60


def engines(folder: Path, epochs: int, rounds: int) -> None:
    """Four runs in each way, in turns: what of their time is not spent in the runs, and what two at once gain."""
    base = [*SHORT, f"trainer.max_epochs={epochs}", f"trainer.patience={epochs}", f"cache_dir={folder / 'cache'}"]
    bench([*base, "jobs=1", "seed=9", f"out={folder / 'warm'}"])
    taken = {name: Taken() for name in VARIANTS}
    for number in range(rounds):
        for name, ways in VARIANTS.items():
            out = folder / f"{number}{name}".replace(" ", "").replace(",", "-").replace("=", "")
            command = [*base, *ways, f"seed=range({RUNS})", f"out={out}"]
            taken[name].wall.append(bench(command))
            taken[name].inside.append(sum(sum(durations(path).values()) for path in out.glob("*/result.json")))
            taken[name].start.append(bench(command))
    for name, one in taken.items():
        wall, start, run = median(one.wall), median(one.start), median(one.inside) / RUNS
        print(f"{name}: {wall:.1f} s for {RUNS} runs of {run:.1f} s; with nothing to do {start:.1f} s")
    alone = taken["jobs=1"]
    each = (median(alone.wall) - median(alone.start) - median(alone.inside)) / RUNS
    print(f"jobs=1 adds {each:.2f} s to each run, and once {median(alone.start):.1f} s")
    goal("what jobs=1 adds to a run, in minutes", each / 60, 0.01)
    for name in ("jobs=1", "jobs=1, one thread"):
        goal(f"throughput of jobs=2 over {name}", taken["jobs=2"].rate() / taken[name].rate())


def bench(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "anomaly_bench", "bench", *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def durations(path: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads(path.read_text())["provenance"]["durations"]
    return found


if __name__ == "__main__":
    main()
