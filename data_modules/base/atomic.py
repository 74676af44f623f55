"""Files and folders that are there whole or not at all, whatever becomes of the process that writes them."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from pathlib import Path

from .checksummed_lines import decode_line, encode_line

MANIFEST = ".manifest"


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file by way of a temporary one beside it, and a rename."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_whole(folder: Path) -> bool:
    """Whether a folder holds the files that its manifest was written for: as many, of the same names and sizes."""
    try:
        return bool(decode_line((folder / MANIFEST).read_bytes()) == _listing(folder))
    except (ValueError, FileNotFoundError, NotADirectoryError):
        return False


def publish(written: Path, folder: Path) -> None:
    """Write the manifest of a folder and give it its final name in one step.

    A folder of that name that is whole stays, since another process was quicker; one that is not makes room, to where
    `written` was. Raises OSError, as when the name is that of a file.
    """
    (written / MANIFEST).write_bytes(encode_line(_listing(written)))
    if folder.is_dir() and not is_whole(folder):
        folder.rename(written.with_name(f"{written.name}.old"))
    try:
        written.rename(folder)
    except OSError:
        if not is_whole(folder):
            raise


def _listing(folder: Path) -> dict[str, int | str]:
    """How many files there are, and the digest of their names and sizes."""
    files = sorted(
        (os.path.relpath(path, folder), path.stat().st_size)
        for path in folder.rglob("*")
        if path.name != MANIFEST and path.is_file()
    )
    return {"files": len(files), "digest": hashlib.sha256(json.dumps(files).encode()).hexdigest()}
