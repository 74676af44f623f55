"""What an unfinished run leaves: the note beside a checkpoint says how far it has come. Imports nothing heavy."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from msgspec import Meta, convert

from data_modules.base.atomic import write_atomic
from data_modules.base.regular import regular
from data_modules.base.strict_json import loads

NOTE = "checkpoint.json"
LOG_FILE = "run.log"
T = TypeVar("T")
Count = Annotated[int, Meta(ge=0, le=10**12)]


@dataclass(frozen=True)
class CheckpointNote:
    """A checkpoint: whose it is, its file with the digest of its bytes, and what was reached.

    epoch of epochs: training epochs that are done. seconds: that they took. fitted: training is over, localization is not.
    """

    run_id: str
    file: Annotated[str, Meta(pattern=r"^[^/\x00]+\.ckpt$")]
    digest: str
    epoch: Count
    epochs: Count
    seconds: Annotated[float, Meta(ge=0)]
    fitted: bool


def write_note(folder: Path, note: CheckpointNote) -> None:
    """Make the checkpoint count: the note is written after the file, which no one looks at before."""
    write_atomic(folder / NOTE, json.dumps(asdict(note)).encode())


def read_note(folder: Path) -> CheckpointNote | None:
    """The note in a run's folder, if there is a whole one."""
    return read_json(folder / NOTE, CheckpointNote)


def read_json(path: Path, kind: type[T]) -> T | None:
    """The note of that dataclass in a file; None if there is none, or what there is is no such note."""
    try:
        content: Any = loads(regular(path).read_bytes())
        return convert(content, kind)
    except (OSError, ValueError):  # msgspec's too
        return None
