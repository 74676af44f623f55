"""The folders of slice stores in the cache: what is there, who writes to it, and removing it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from data_modules.base.errors import DataError
from data_modules.base.locks import locked

from .journal import FILES, Entry, Header, Journal, offsets, read_journal

PARTIAL = ".partial"


@dataclass(frozen=True)
class StoreInfo:
    """A store on disk. whole: whether it can be read, as far as its sizes tell; last_used in seconds since the epoch."""

    name: str
    folder: Path
    subjects: int
    slices: int
    bytes: int
    last_used: float
    whole: bool


def list_stores(cache_dir: Path) -> list[StoreInfo]:
    """Every store below a cache folder, by name, then by last use; also those that are unfinished or damaged."""
    folders = [folder for folder in (cache_dir / "stores").glob("*") if folder.is_dir()]
    stores = [info for folder in folders if (info := _describe(folder))]
    return sorted(stores, key=lambda info: (info.name, info.last_used))


def remove_store(info: StoreInfo) -> None:
    """Delete a store, unless it is gone. Raises DataError while a process prepares it, and where the cache is read-only."""
    final = info.folder.with_name(final_name(info.folder.name))
    try:
        with locked(final, wait=False), suppress(FileNotFoundError):
            shutil.rmtree(info.folder)
    except Timeout as error:
        raise DataError(f"{info.folder}: a process is preparing it; wait until it is done, or stop it") from error
    except OSError as error:
        raise DataError(
            f"{info.folder}: cannot be removed ({error.strerror}); remove it as a user who may write there"
        ) from error


def partial_path(folder: Path) -> Path:
    """Where a store is while it is being written."""
    return folder.with_name(f".{folder.name}{PARTIAL}")


def final_name(name: str) -> str:
    """The name of a finished store's folder, from that or from the name of its unfinished one."""
    return name.removeprefix(".").removesuffix(PARTIAL)


def read_whole(folder: Path) -> tuple[Header, Sequence[Entry]]:
    """The header and the entries of a finished store. Raises ValueError or OSError if a file is not as long as they say."""
    header, entries, finished = read_journal(folder)
    if header is None or not entries or not finished:
        raise ValueError(f"{folder}: no whole store")
    for name, size in zip(FILES, offsets(entries)[-1], strict=True):
        path = folder / f"{name}.bin"
        if path.stat().st_size != size:
            raise ValueError(f"{path}: {path.stat().st_size} bytes where {size} were written")
    return header, entries


def _describe(folder: Path) -> StoreInfo | None:
    """What a folder holds; None if another process has just renamed or removed it."""
    journal, whole = Journal(), False
    with suppress(OSError, ValueError):
        journal = read_journal(folder)
        read_whole(folder)
        whole = not folder.name.startswith(".")
    try:
        size, last_used = sum(path.stat().st_size for path in folder.iterdir()), folder.stat().st_mtime
    except FileNotFoundError:
        return None
    return StoreInfo(
        name=journal.header.name if journal.header else final_name(folder.name).rpartition("-")[0],
        folder=folder,
        subjects=len(journal.entries),
        slices=sum(entry.shape[0] for entry in journal.entries),
        bytes=size,
        last_used=last_used,
        whole=whole,
    )
