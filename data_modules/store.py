"""The slice store: every volume and picture is decoded once, into arrays that training reads by index."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from .batch import AnomalyBatch
from .digests import Progress as Progress
from .errors import DataError
from .gather import Columns, Device, Held, Mapped, Scale
from .store_format import FILES, STORAGES, Entry, Header, intact, map_bytes, packed_bytes, read_journal
from .store_format import Slices as Slices

logger = logging.getLogger(__name__)
PARTIAL = ".partial"
DAMAGE = (
    ValueError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
)  # other errors may pass, the store whole
_verified: set[tuple[Any, ...]] = set()


class SliceStore:
    """Slices of all subjects, memory-mapped.

    Public arrays: `subject` (n,) int64, index into `subjects`; `slice` (n,) int64; `anomalous` (n,) bool, whether the
    slice has an anomalous pixel; `normal` (n,) bool, whether it has no label at all. `dropped`: the share of anomalous
    voxels that lie in slices that were left out. Per subject: `geometry`, how its slices lie in the source (see Slices),
    `pixels`, digests of its channels (see Entry), and `attributes`, what is known of it, which the data module sets since
    it is no part of the files.

    Raises one of DAMAGE if the folder holds no whole store. The checksums of all files are computed once per
    process and state of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        header, entries = _whole(folder)
        files = {name: map_bytes(folder / f"{name}.bin") for name in FILES}
        _verify(folder, list(files.values()), entries)
        self.fingerprint = header.fingerprint
        self.subjects = [entry.subject for entry in entries]
        self.geometry = [entry.geometry for entry in entries]
        self.pixels = [entry.pixels for entry in entries]
        self.attributes: list[dict[str, str]] = [{} for _ in entries]
        _, channels, height, width = entries[0].shape
        self.shape = channels, height, width
        kept, dropped = (sum(getattr(entry, name) for entry in entries) for name in ("kept", "dropped"))
        self.dropped: float = dropped / max(kept + dropped, 1)
        self.slice, labelled, pixels, full = files["index"].view(np.int64).reshape(-1, 4).T.copy()
        self.subject = np.repeat(np.arange(len(entries)), [entry.shape[0] for entry in entries])
        self.anomalous, self.normal = pixels > 0, labelled == 0
        packed = packed_bytes(height * width)
        self._mapped = Mapped(
            columns=Columns(self.subject, self.slice, pixels, full > 0),
            scale=_scale(entries),
            image=torch.from_numpy(files["image"].view(STORAGES[header.storage])).view(-1, *self.shape),
            foreground=files["foreground"].reshape(-1, packed),
            mask=files["mask"].reshape(-1, packed),
            region=files["region"].view(np.float32),
        )
        self._source: Mapped | Held = self._mapped

    def __len__(self) -> int:
        return len(self.subject)

    def batch(self, indices: NDArray[np.int64]) -> AnomalyBatch:
        """The slices at the given indices (B,), gathered in one go, on the device that holds the store."""
        return self._source.batch(np.asarray(indices, dtype=np.int64))

    def hold(self, device: Device) -> Self:
        """Load everything into the memory of a device ('cpu', 'cuda:0'), where batches are gathered from now on."""
        on_cpu = torch.device(device).type == "cpu"
        self._source = self._mapped.in_memory() if on_cpu else Held.load(self._mapped, device)
        return self


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


def open_store(folder: Path) -> SliceStore | None:
    """The store in a folder, or None if there is none that is whole. Other errors of the disk (OSError) propagate."""
    try:
        store = SliceStore(folder)
    except DAMAGE:
        return None
    with suppress(OSError):
        os.utime(folder)  # when it was last used
    return store


def list_stores(cache_dir: Path) -> list[StoreInfo]:
    """Every store below a cache folder, by name, then by last use; also those that are unfinished or damaged."""
    folders = [folder for folder in (cache_dir / "stores").glob("*") if folder.is_dir()]
    found = [info for folder in folders if (info := _describe(folder))]
    return sorted(found, key=lambda info: (info.name, info.last_used))


def remove_store(info: StoreInfo) -> None:
    """Delete a store, unless it is gone. Raises DataError while a process prepares it."""
    final = info.folder.with_name(final_name(info.folder.name))
    try:
        with locked(final, wait=False), suppress(FileNotFoundError):
            shutil.rmtree(info.folder)
    except Timeout as error:
        raise DataError(f"{info.folder}: a process is preparing it; wait until it is done, or stop it") from error


def lock_path(folder: Path) -> Path:
    """The lock of a store, held by the process that writes it; the file stays, since one who waits has it open."""
    return folder.parent.parent / "locks" / f"{folder.name}.lock"


def partial_path(folder: Path) -> Path:
    """Where a store is while it is being written."""
    return folder.with_name(f".{folder.name}{PARTIAL}")


def final_name(name: str) -> str:
    """The name of a finished store's folder, from that or from the name of its unfinished one."""
    return name.removeprefix(".").removesuffix(PARTIAL)


@contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a store; if another process has it, say so and wait. The lock of a dead process holds nobody.

    Raises filelock.Timeout if another process has it and this one is not to wait.
    """
    path = lock_path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise
        logger.warning("waiting for another process that prepares the same data (%s)", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _whole(folder: Path) -> tuple[Header, list[Entry]]:
    header, entries, finished = read_journal(folder)
    if header is None or not entries or not finished:
        raise ValueError(f"{folder}: no whole store")
    expected = dict(zip(FILES, entries[-1][0].ends, strict=True))
    for name, size in expected.items():
        path = folder / f"{name}.bin"
        if path.stat().st_size != size:
            raise ValueError(f"{path}: {path.stat().st_size} bytes where {size} were written")
    return header, [entry for entry, _ in entries]


def _verify(folder: Path, files: list[NDArray[np.uint8]], entries: list[Entry]) -> None:
    stats = [path.stat() for path in sorted(folder.iterdir())]
    state = (str(folder), *((stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats))
    if state in _verified:
        return
    if not all(intact(files, entries)):
        raise ValueError(f"{folder}: its checksums do not fit its content")
    _verified.add(state)


def _scale(entries: list[Entry]) -> Scale:
    if not entries[0].levels:
        return Scale()
    zero, levels = ([getattr(entry, name) for entry in entries] for name in ("zero", "levels"))
    return Scale(*(torch.tensor(values, dtype=torch.float32)[:, :, None, None] for values in (zero, levels)))


def _describe(folder: Path) -> StoreInfo | None:
    """What a folder holds; None if another process has just renamed or removed it."""
    header: Header | None = None
    entries: list[tuple[Entry, int]] = []
    whole = False
    with suppress(OSError, ValueError):
        header, entries, _ = read_journal(folder)
        _whole(folder)
        whole = not folder.name.startswith(".")
    try:
        size, last_used = sum(path.stat().st_size for path in folder.iterdir()), folder.stat().st_mtime
    except FileNotFoundError:
        return None
    return StoreInfo(
        name=header.name if header else final_name(folder.name).rpartition("-")[0],
        folder=folder,
        subjects=len(entries),
        slices=sum(entry.shape[0] for entry, _ in entries),
        bytes=size,
        last_used=last_used,
        whole=whole,
    )
