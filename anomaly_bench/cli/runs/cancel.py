"""The verb `cancel`."""

from __future__ import annotations

import argparse

from anomaly_bench.base.errors import ConfigError

from .status import add_sweep, planned_runs

ABOUT = "end the jobs of a sweep that wait or run on a cluster (engine=slurm)"
EXAMPLE = "/shared/runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sweep(parser)


def call(options: argparse.Namespace) -> int:
    from anomaly_bench.sweep import slurm_commands as slurm

    try:
        jobs = slurm.jobs_of(options.folder, [run.folder for run in planned_runs(options)[0]])
        slurm.cancel(job.job_id for job in jobs.values())
    except slurm.UnreachableError as error:
        raise ConfigError(f"{options.folder}: SLURM does not answer ({error}); try again later") from error
    print(
        f"{len(jobs)} jobs cancelled; the same `anomaly-bench bench` goes on where they were"
        if jobs
        else f"{options.folder}: no job of SLURM waits or runs; Ctrl-C ends a sweep that runs on this machine"
    )
    return 0
