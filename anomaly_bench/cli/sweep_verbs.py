"""The verbs that make runs and look after them: run, bench, status, retry. Imports nothing heavy until one runs."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomaly_bench.config.folders import add_config_dir

if TYPE_CHECKING:
    from anomaly_bench.config.schema import RunConfig
    from leaderboard.results.collect import PlannedRun

Make = Callable[..., argparse.ArgumentParser]
Show = Callable[[Path, set[str] | None], object]
OVERRIDES = "group=option or key=value, e.g. dataset=brats dataset.root=/data/BraTS model.beta=4 seed=1"
WATCH = 2.0  # seconds between two looks


def add_sweep_verbs(verbs: Any, make: Make, show: Show) -> None:
    """Register the verbs; make: how the command line makes the parser of a verb; show: prints the leaderboard."""

    def run(options: argparse.Namespace) -> int:
        return run_verb(options, show)

    def bench(options: argparse.Namespace) -> int:
        return bench_verb(options, show)

    one = make(verbs, "run", run, "train one model, localize with every predictor, print its table")
    many = make(verbs, "bench", bench, "all runs of a grid (key=a,b or seed=range(3)), then the leaderboard; resumable")
    for verb in (one, many):
        verb.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=OVERRIDES)
        verb.add_argument("--cfg", action="store_true", help="print the composed config and stop")
        add_config_dir(verb)
    many.add_argument("--sweep", type=Path, metavar="FILE", help="YAML with a grid, sweep: {model.beta: [0.5, 1, 4]}")
    many.add_argument("--dry-run", action="store_true", help="list the runs, how they stand and the expected time")
    again = make(verbs, "retry", lambda options: retry_verb(options, show), "do the failed runs of a sweep again")
    status = make(verbs, "status", status_verb, "how the runs of a sweep stand, and the time that is left")
    stop = make(verbs, "cancel", cancel_verb, "end the jobs of a sweep that wait or run on a cluster (engine=slurm)")
    for verb in (again, status, stop):
        verb.add_argument("folder", type=Path, metavar="OUT", help="the folder that runs were written to")
        verb.add_argument("--all", action="store_true", help="of all sweeps in the folder, not of the newest alone")
    add_config_dir(again)
    status.add_argument("--watch", action="store_true", help="look again and again, until all is done")
    for verb in (many, again):
        verb.add_argument("--jobs", type=int, metavar="N", help="runs at once, as jobs=N")
        failing = verb.add_mutually_exclusive_group()
        failing.add_argument("--keep-going", action="store_true", help="go on when a run has failed (the default)")
        failing.add_argument("--fail-fast", action="store_true", help="stop when a run has failed")


def run_verb(options: argparse.Namespace, show: Show) -> int:
    from anomaly_bench.config.load import load_config, to_yaml

    config = load_config(options.overrides)
    if options.cfg:
        print(to_yaml(config), end="")
        return 0
    return _bench([replace(config, jobs=0)], show)


def bench_verb(options: argparse.Namespace, show: Show) -> int:
    from anomaly_bench.config.grid import load_grid
    from anomaly_bench.config.load import to_yaml

    configs = _with_jobs(load_grid(options.overrides, options.sweep), options.jobs)
    if options.cfg:
        print("---\n".join(map(to_yaml, configs)), end="")
        return 0
    if options.dry_run:
        return _dry_run(configs)
    return _bench(configs, show, fail_fast=options.fail_fast)


def retry_verb(options: argparse.Namespace, show: Show) -> int:
    from anomaly_bench.config.load import read_config
    from anomaly_bench.sweep.states import standings

    failed = [one.run for one in standings(_planned(options)[0], options.folder) if one.state == "failed"]
    if not failed:
        print(f"{options.folder}: no run has failed; `anomaly-bench status {options.folder}` shows how they stand")
        return 0
    configs = [read_config(options.folder / run.folder / "config.yaml") for run in failed]
    configs = _with_jobs([replace(config, out=str(options.folder)) for config in configs], options.jobs)
    return _bench(configs, show, fail_fast=options.fail_fast, only={run.run_id for run in failed})


def status_verb(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.live import Live

    from .status_table import overview

    console, (runs, differs) = Console(), _planned(options)
    if not options.watch:
        console.print(overview(runs, options.folder, differs).shown)
        return 0
    with suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while True:
            view = overview(runs, options.folder, differs)
            live.update(view.shown, refresh=True)
            if view.over:
                break
            time.sleep(WATCH)
    if not console.is_terminal:
        print()  # the last look goes without a line's end
    return 0


def cancel_verb(options: argparse.Namespace) -> int:
    from anomaly_bench.base.errors import ConfigError
    from anomaly_bench.sweep import slurm_commands as slurm

    try:
        jobs = slurm.jobs_of(options.folder, [run.folder for run in _planned(options)[0]])
        slurm.cancel(job.job_id for job in jobs.values())
    except slurm.UnreachableError as error:
        raise ConfigError(f"{options.folder}: SLURM does not answer ({error}); try again later") from error
    print(
        f"{len(jobs)} jobs cancelled; the same `anomaly-bench bench` goes on where they were"
        if jobs
        else f"{options.folder}: no job of SLURM waits or runs; Ctrl-C ends a sweep that runs on this machine"
    )
    return 0


def _bench(configs: list[RunConfig], show: Show, fail_fast: bool = False, only: set[str] | None = None) -> int:
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
    if outcome.wandb:
        print(
            f"W&B       {outcome.out}/<run>/wandb; offline runs are pushed with `anomaly-bench wandb sync {outcome.out}`"
        )
    for job in outcome.failed:
        print(f"failed: {job.title}; why: {job.folder / 'failure.txt'}", file=sys.stderr)
    return 1 if outcome.failed else 0


def _dry_run(configs: list[RunConfig]) -> int:
    from rich.console import Console

    from anomaly_bench.base.bars import reporting
    from anomaly_bench.sweep.bench import differs_of, out_of, planned, planned_run

    from .status_table import listing

    out = out_of(configs)
    with reporting(len(configs)) as reporter:
        jobs = planned(configs, reporter).jobs
    runs = [planned_run(job) for job in jobs]
    Console().print(listing(runs, out, differs_of(jobs), max(1, configs[0].jobs)))
    return 0


def _with_jobs(configs: list[RunConfig], jobs: int | None) -> list[RunConfig]:
    from anomaly_bench.config.checks import check_values

    if jobs is None:
        return configs
    configs = [replace(config, jobs=jobs) for config in configs]
    check_values(configs[0])
    return configs


def _planned(options: argparse.Namespace) -> tuple[list[PlannedRun], dict[str, str]]:
    """The runs of the newest sweep in the folder, or of all, and in what settings differ. Raises ResultError for none."""
    from leaderboard.results.collect import newest_sweep, read_sweeps

    chosen = newest_sweep(options.folder)
    sweeps = [
        sweep
        for sweep in read_sweeps(options.folder).values()
        if options.all or {run.run_id for run in sweep.runs} == chosen
    ]
    runs = {run.run_id: run for sweep in sweeps for run in sweep.runs}
    return list(runs.values()), {key: text for sweep in sweeps for key, text in sweep.differs.items()}
