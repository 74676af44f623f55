"""Push runs that were logged offline to W&B."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SENT = ".synced"  # what W&B leaves beside a run file that it has sent


@dataclass(frozen=True)
class OfflineRun:
    """The folder of a W&B run that has not been sent; name: that of the run's folder; size in bytes."""

    folder: Path
    name: str
    size: int


def offline_runs(out: Path) -> list[OfflineRun]:
    """The W&B runs below a folder that were logged offline and not sent since, by name."""
    found = []
    for file in sorted(out.glob("**/wandb/offline-run-*/run-*.wandb")):
        if not file.with_name(file.name + SENT).exists():
            folder = file.parent
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            found.append(OfflineRun(folder, folder.parents[1].name, size))
    return found


def send(run: OfflineRun) -> str | None:
    """Push a run; None, or in a line why it could not be sent."""
    command = [sys.executable, "-m", "wandb", "sync", "--yes", str(run.folder)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode == 0 and any(run.folder.glob(f"*{SENT}")):
        return None
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return (lines or ["W&B said nothing"])[-1].removeprefix("wandb: ").removeprefix("ERROR ")
