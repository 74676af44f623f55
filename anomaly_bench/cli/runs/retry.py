"""The verb `retry`."""

from __future__ import annotations

import argparse
from dataclasses import replace

from anomaly_bench.cli.arguments import add_config_dir

from .bench import add_jobs, carry_out, with_jobs
from .status import add_sweep, planned_runs

ABOUT = "do the failed runs of a sweep again"
EXAMPLE = "runs --jobs 2"
EXITS = "0 done, or nothing had failed; 1 a run failed again; 2 something to mend, named in one line"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sweep(parser)
    add_config_dir(parser)
    add_jobs(parser)


def call(options: argparse.Namespace) -> int:
    from anomaly_bench.config.load import read_config
    from anomaly_bench.sweep.states import standings

    runs, differs = planned_runs(options)
    failed = [standing.run for standing in standings(runs, options.folder) if standing.state == "failed"]
    if not failed:
        print(f"{options.folder}: no run has failed; `anomaly-bench status {options.folder}` shows how they stand")
        return 0
    configs = [read_config(options.folder / run.folder / "config.yaml") for run in failed]
    configs = with_jobs([replace(config, out=str(options.folder)) for config in configs], options.jobs)
    return carry_out(
        configs, fail_fast=options.fail_fast, only={run.run_id: differs.get(run.setting_id, "") for run in failed}
    )
