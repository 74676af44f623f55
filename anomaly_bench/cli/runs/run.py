"""The verb `run`."""

from __future__ import annotations

import argparse
from dataclasses import replace

from anomaly_bench.base.errors import ConfigError

from .bench import add_configs, carry_out

ABOUT = "train one model, localize with every predictor, print its table"
EXAMPLE = "dataset=tiny_brain model=vae seed=3"
EXITS = "0 done; 1 the run failed; 2 something to mend, named in one line; 130 or 143 stopped by Ctrl-C or SIGTERM"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_configs(parser)


def call(options: argparse.Namespace) -> int:
    from anomaly_bench.config.load import load_config, to_yaml
    from anomaly_bench.config.schema import SlurmConfig

    config = load_config(options.overrides)
    if options.cfg:
        print(to_yaml(config), end="")
        return 0
    if isinstance(config.engine, SlurmConfig):
        raise ConfigError(
            "engine=slurm: `run` does its run in this process; `anomaly-bench bench` with the same keys submits it"
        )
    return carry_out([replace(config, jobs=0)])
