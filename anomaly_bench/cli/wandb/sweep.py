"""The verb `wandb sweep`."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from anomaly_bench.cli.arguments import add_config_dir, add_overrides, output_file, write_text

ABOUT = "write the W&B sweep of a grid, and how to start its agents"
EXAMPLE = "dataset=tiny_brain model.beta=1,4 'seed=range(3)' --objective val/elbo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_overrides(parser, "as for bench: model.beta=1,4 'seed=range(3)'")
    parser.add_argument("--objective", default="val/elbo", help="a metric such as val/rec_l1/ap; default val/elbo")
    space = "search this space of `tune` (YAML) in place of a grid; without an end, stop the agents when it is good"
    parser.add_argument("--space", type=Path, metavar="FILE", help=space)
    parser.add_argument(
        "--yaml", type=output_file, default=Path("sweep.yaml"), metavar="FILE", help="default: sweep.yaml"
    )
    add_config_dir(parser)


def call(options: argparse.Namespace) -> int:
    from anomaly_bench.tracking.wandb.sweep import sweep_yaml

    space = None
    if options.space is not None:
        from anomaly_bench.tuning.space import read_space

        space = read_space(options.space, options.overrides)
    text, runs = sweep_yaml(options.overrides, options.objective, options.config_dir, space)
    write_text(options.yaml, text, "choose another file for --yaml")
    lines = (
        f"wrote     {options.yaml} ({f'{runs} runs' if space is None else 'a search without an end'})",
        f"create    wandb sweep --project anomaly_bench {shlex.quote(str(options.yaml))}",
        "start     wandb agent ENTITY/anomaly_bench/SWEEP_ID  (as printed by the line before; on as many machines as you like)",
    )
    print("\n".join(lines))
    return 0
