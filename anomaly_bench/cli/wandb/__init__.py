"""The verbs for W&B: `wandb sync`, `wandb sweep` and `dashboard`."""

from __future__ import annotations

from anomaly_bench.cli.arguments import Verbs, add_verb, add_verbs_below

from . import sweep, sync


def add_group(verbs: Verbs) -> None:
    """Register `wandb` and its steps."""
    steps = add_verbs_below(verbs, "wandb", "push offline runs to W&B, or make a W&B sweep")
    for verb in (sync, sweep):
        add_verb(steps, verb)
