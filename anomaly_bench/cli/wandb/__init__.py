"""The verbs for W&B: `wandb sync`, `wandb sweep` and `dashboard`."""

from __future__ import annotations

from anomaly_bench.cli.arguments import Verbs, add_verb

from . import sweep, sync


def add_group(verbs: Verbs) -> None:
    """Register `wandb` and its steps."""
    group = verbs.add_parser("wandb", help="push offline runs to W&B, or make a W&B sweep")
    steps = group.add_subparsers(required=True, metavar="STEP")
    for verb in (sync, sweep):
        add_verb(steps, verb)
