"""The verb `wandb sync`."""

from __future__ import annotations

import argparse
import sys

from anomaly_bench.cli.arguments import add_folder

ABOUT = "push the runs of a folder that W&B has not got, and say what was sent"
EXAMPLE = "runs --dry-run"
EXITS = "0 all were sent; 1 one could not be; 2 something to mend, such as a missing login"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    parser.add_argument("--dry-run", action="store_true", help="list what would be sent")


def call(options: argparse.Namespace) -> int:
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
