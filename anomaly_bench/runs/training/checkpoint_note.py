"""What an unfinished run leaves: the note beside a checkpoint says how far it has come. Imports nothing heavy."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from data_modules.base.atomic import write_atomic

NOTE = "checkpoint.json"
LOG_FILE = "run.log"
DAMAGED = (OSError, ValueError, TypeError, KeyError)


@dataclass(frozen=True)
class CheckpointNote:
    """A checkpoint: whose it is, its file with the digest of its bytes, and what was reached.

    epoch of epochs: training epochs that are done. seconds: that they took. fitted: training is over, localization is not.
    """

    run_id: str
    file: str
    digest: str
    epoch: int
    epochs: int
    seconds: float
    fitted: bool


def write_note(folder: Path, note: CheckpointNote) -> None:
    """Make the checkpoint count: the note is written after the file, which no one looks at before."""
    write_atomic(folder / NOTE, json.dumps(asdict(note)).encode())


def read_note(folder: Path) -> CheckpointNote | None:
    """The note in a run's folder, if there is a whole one."""
    try:
        note = CheckpointNote(**json.loads((folder / NOTE).read_bytes()))
    except DAMAGED:
        return None
    return note if isinstance(note.epoch, int) and isinstance(note.epochs, int) else None
