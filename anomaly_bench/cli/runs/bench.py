"""The verb `bench`, and how `run` and `retry` too carry out their runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from anomaly_bench.base.text import harmless
from anomaly_bench.cli.arguments import add_config_dir, add_overrides
from anomaly_bench.cli.results.leaderboard import show

from .status import listing

if TYPE_CHECKING:
    from anomaly_bench.config.schema import RunConfig

ABOUT = "all runs of a grid (key=a,b or 'seed=range(3)'), then the leaderboard; resumable"
EXAMPLE = "dataset=tiny_brain,tiny_texture model.beta=0.5,1,4 'seed=range(3)' --jobs 2"
EXITS = "0 done; 1 a run failed; 2 something to mend, named in one line; 130 or 143 stopped by Ctrl-C or SIGTERM"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_configs(parser)
    parser.add_argument("--sweep", type=Path, metavar="FILE", help="YAML with a grid, sweep: {model.beta: [0.5, 1, 4]}")
    parser.add_argument("--dry-run", action="store_true", help="list the runs, how they stand and the expected time")
    add_jobs(parser)


def add_configs(parser: argparse.ArgumentParser) -> None:
    """What is to be run."""
    text = "group=option or key=value, e.g. dataset=brats dataset.root=/data/BraTS model.beta=4 seed=1"
    add_overrides(parser, f"{text}; `anomaly-bench config` tells what there is")
    parser.add_argument("--cfg", action="store_true", help="print the composed config and stop")
    add_config_dir(parser)


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """How several runs go on beside each other."""
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at once, as jobs=N")
    failing = parser.add_mutually_exclusive_group()
    failing.add_argument("--keep-going", action="store_true", help="go on when a run has failed (the default)")
    failing.add_argument("--fail-fast", action="store_true", help="stop when a run has failed")


def call(options: argparse.Namespace) -> int:
    from anomaly_bench.config.grid import load_grid
    from anomaly_bench.config.load import to_yaml

    configs = with_jobs(load_grid(options.overrides, options.sweep), options.jobs)
    if options.cfg:
        print("---\n".join(map(to_yaml, configs)), end="")
        return 0
    if options.dry_run:
        return dry_run(configs)
    return carry_out(configs, fail_fast=options.fail_fast)


def with_jobs(configs: list[RunConfig], jobs: int | None) -> list[RunConfig]:
    """The configs with --jobs, if it was given. Raises ConfigError."""
    from anomaly_bench.config.checks import check_values

    if jobs is None:
        return configs
    configs = [replace(config, jobs=jobs) for config in configs]
    check_values(configs)
    return configs


def carry_out(configs: list[RunConfig], fail_fast: bool = False, only: Mapping[str, str] | None = None) -> int:
    """Do the runs and print their leaderboard; exit code 1 if one failed, 2 if the result of one was damaged before."""
    if sys.stderr.isatty():
        print("loading torch and Lightning …", end="\r", file=sys.stderr, flush=True)
    from anomaly_bench.sweep import bench

    outcome = bench(configs, fail_fast, only)
    if outcome.left:
        print(
            f"`anomaly-bench status {outcome.out}` shows how the runs stand, the same command with engine.wait=true waits"
        )
        return 0
    show(outcome.out, outcome.run_ids)
    if outcome.wandb and any(outcome.out.glob("*/wandb")):  # W&B may not have started
        print(
            f"W&B       {outcome.out}/<run>/wandb; offline runs are pushed with `anomaly-bench wandb sync {outcome.out}`"
        )
    for job in outcome.failed:
        print(f"failed: {job.title}; why: {job.folder / 'failure.txt'}", file=sys.stderr)
    for message in outcome.damaged:
        print(f"damaged: {harmless(message)}", file=sys.stderr)
    return 2 if outcome.damaged else 1 if outcome.failed else 0


def dry_run(configs: list[RunConfig]) -> int:
    """Print how the runs stand, and the time that they are expected to take."""
    from rich.console import Console

    from anomaly_bench.base.bars import reporting
    from anomaly_bench.sweep.bench import differs_of, out_of, planned, planned_run

    out = out_of(configs)
    with reporting(len(configs)) as reporter:
        jobs = planned(configs, reporter).jobs
    runs = [planned_run(job) for job in jobs]
    Console().print(listing(runs, out, differs_of(jobs), max(1, configs[0].jobs)))
    return 0
