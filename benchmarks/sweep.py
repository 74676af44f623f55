"""What a sweep costs beside its runs: planning, processes, and what two at once gain.

    python benchmarks/sweep.py plan                 # 10,000 runs: expand, check, note, look at
    python benchmarks/sweep.py engine --epochs 8    # the same runs in the process itself, in processes, two at once

Ratios of commands that take turns in one call; a machine that does other work meanwhile makes them worse.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

GRID = ["dataset=tiny_texture", "model.beta=0.5,1,2,4,8", "model.latent=32,64", "seed=range(1000)"]
SHORT = ["dataset=tiny_texture", "predictors.only=[rec_l1,grad_kl]", "localization.monitor_every=0"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("plan", "engine"))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "plan":
            planning(Path(folder))
        else:
            engines(Path(folder), options.epochs, options.rounds)


def planning(folder: Path) -> None:
    """Seconds of each step for 10,000 runs without a result, data prepared."""
    from anomaly_bench.grid import load_grid
    from anomaly_bench.progress import Reporter
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


def engines(folder: Path, epochs: int, rounds: int) -> None:
    """Wall time of four runs with jobs=0, 1 and 2, in turns, and the part of it that is not spent in the runs."""
    base = [*SHORT, f"trainer.max_epochs={epochs}", f"trainer.patience={epochs}", f"cache_dir={folder / 'cache'}"]
    bench(base, folder / "warm", 1, "seed=9")
    walls: dict[int, list[float]] = {0: [], 1: [], 2: []}
    shares: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for number in range(rounds):
        for jobs in walls:
            out = folder / f"{number}-{jobs}"
            walls[jobs].append(bench(base, out, jobs, "seed=0,1,2,3"))
            inside = sum(sum(durations(path).values()) for path in out.glob("*/result.json"))
            shares[jobs].append(inside)
    for jobs, wall in walls.items():
        runs = median(shares[jobs])
        print(
            f"jobs={jobs}: {median(wall):.1f} s for 4 runs of {runs / 4:.1f} s; rest {median(wall) - runs / max(jobs, 1):.1f} s"
        )
    print(f"jobs=2 / jobs=1 throughput: {median(one / two for one, two in zip(walls[1], walls[2], strict=True)):.2f}")
    extra = median(one - zero for one, zero in zip(walls[1], walls[0], strict=True)) / 4
    print(f"processes cost {extra:+.2f} s a run; of runs of a minute that is {extra / 60:+.1%}")


def bench(base: list[str], out: Path, jobs: int, seeds: str) -> float:
    command = [sys.executable, "-m", "anomaly_bench.cli", "bench", *base, seeds, f"out={out}", f"jobs={jobs}"]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def durations(path: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads(path.read_text())["provenance"]["durations"]
    return found


if __name__ == "__main__":
    main()
