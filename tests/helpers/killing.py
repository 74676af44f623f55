"""A model whose process is killed where a trap lies: at the moment that a file of that kind would be put in its place."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from anomaly_bench.models import AE, BetaVAE

KINDS = ("epoch", "checkpoint", "fitted", "result")
put = Path.replace


def trapped(self: Path, target: Any) -> Path:
    """Path.replace, unless there is a trap: then it is sprung."""
    for kind in KINDS if "TRAPS" in os.environ else ():
        trap = Path(os.environ["TRAPS"]) / kind
        if Path(target).name.startswith(kind) and trap.exists():
            trap.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
    return put(self, target)


class Traps:
    """Sets the traps of its process."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        Path.replace = trapped  # type: ignore[method-assign]


class Trapped(Traps, BetaVAE):
    """A beta-VAE, in a process with traps."""


class TrappedAE(Traps, AE):
    """An autoencoder, in a process with traps."""
