"""The verbs for W&B: `wandb sync`, `wandb sweep` and `dashboard`. Imports nothing heavy until one runs."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anomaly_bench.config.folders import add_config_dir

Make = Callable[..., argparse.ArgumentParser]


def add_wandb_verbs(verbs: Any, make: Make) -> None:
    """Register the verbs; make: how the command line makes the parser of a verb."""
    board = make(
        verbs, "dashboard", dashboard_verb, "create or update a W&B workspace and report that compare predictors"
    )
    board.add_argument("folder", type=Path, metavar="OUT", help="the folder that the runs were written to")
    board.add_argument("--entity", required=True, help="the W&B user or team")
    board.add_argument("--project", default="anomaly_bench", help="the W&B project (anomaly_bench)")
    board.add_argument("--spec", type=Path, metavar="FILE", help="write both as JSON instead; needs no login")
    group = verbs.add_parser("wandb", help="push offline runs to W&B, or make a W&B sweep")
    steps = group.add_subparsers(required=True, metavar="STEP")
    sync = make(steps, "sync", sync_verb, "push the runs of a folder that W&B has not got, and say what was sent")
    sync.add_argument("folder", type=Path, metavar="OUT", help="the folder that the runs were written to")
    sync.add_argument("--dry-run", action="store_true", help="list what would be sent")
    sweep = make(steps, "sweep", sweep_verb, "write the W&B sweep of a grid, and how to start its agents")
    sweep.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for bench: model.beta=1,4 seed=range(3)")
    sweep.add_argument("--objective", default="val/elbo", help="val/elbo, or a metric such as val/rec_l1/ap")
    sweep.add_argument("--yaml", type=Path, default=Path("sweep.yaml"), metavar="FILE", help="(sweep.yaml)")
    add_config_dir(sweep)


def sync_verb(options: argparse.Namespace) -> int:
    """Exit code 1 if a run could not be sent."""
    from anomaly_bench.tracking.wandb.sync import require_answer, require_login, send, unsent_runs

    runs = unsent_runs(options.folder)
    if not runs:
        print(f"{options.folder}: no W&B run that was not sent yet")
        return 0
    if options.dry_run:
        print("\n".join(f"to send   {run.name} ({run.size / 1e6:.1f} MB)" for run in runs))
        return 0
    require_login()
    require_answer()
    sent = 0
    try:
        for run in runs:
            said = send(run)
            sent += said is None
            state = "sent     " if said is None else "not sent "
            line = f"{state} {run.name} ({run.size / 1e6:.1f} MB)" + (f": {said}" if said else "")
            print(line, file=sys.stderr if said else sys.stdout, flush=True)
    finally:
        print(f"{sent} of {len(runs)} runs sent", flush=True)
    return 0 if sent == len(runs) else 1


def sweep_verb(options: argparse.Namespace) -> int:
    from anomaly_bench.base.files import explained
    from anomaly_bench.tracking.wandb.sweep import sweep_yaml

    text, runs = sweep_yaml(options.overrides, options.objective, options.config_dir)
    with explained(options.yaml.parent, "choose another file for --yaml"):
        options.yaml.write_text(text, encoding="utf-8")
    lines = (
        f"wrote     {options.yaml} ({runs} runs)",
        f"create    wandb sweep --project anomaly_bench {shlex.quote(str(options.yaml))}",
        "start     wandb agent ENTITY/anomaly_bench/SWEEP_ID  (as printed by the line before; on as many machines as you like)",
    )
    print("\n".join(lines))
    return 0


def dashboard_verb(options: argparse.Namespace) -> int:
    from anomaly_bench.base.files import explained
    from anomaly_bench.tracking.wandb.dashboard import build, save, spec, subjects_of

    about = subjects_of(options.folder)
    boards = build(options.entity, options.project, about)
    if options.spec:
        with explained(options.spec.parent, "choose another file for --spec"):
            options.spec.write_text(spec(*boards), encoding="utf-8")
        print(f"wrote     {options.spec}")
        return 0
    for name, url in save(options.folder, *boards).items():
        print(f"{name:<9} {url}", flush=True)
    return 0
