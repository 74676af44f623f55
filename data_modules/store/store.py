"""The slice store: every volume and picture is decoded once, into arrays that training reads by index."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray

from data_modules.base.batch import AnomalyBatch
from data_modules.transforms.context import neighbours, side_by_side

from .batches import Device, Held, Mapped, Scale
from .folders import read_whole
from .format import STORAGES, intact, map_bytes, packed_bytes
from .journal import FILES, Entry

DAMAGE = (
    ValueError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
)  # other errors may pass, the store whole
_verified: set[tuple[Any, ...]] = set()


class SliceStore:
    """Slices of all subjects, memory-mapped; those that are images, and more that are neighbours of such alone.

    Public arrays, of images: `subject` (n,) int64, index into `subjects`; `slice` (n,) int64; `anomalous` (n,) bool, whether
    the slice has an anomalous pixel; `normal` (n,) bool, whether it has no label at all. `dropped`: the share of anomalous
    voxels that lie in slices that were left out. Per subject: `geometry`, how its slices lie in the source (see Slices),
    `pixels`, digests of its channels (see Entry), `truths`, which are the same where the same pixels are anomalous, and
    `attributes`, what is known of it, which the data module sets since it is no part of the files.

    Raises one of DAMAGE if the folder holds no whole store. The checksums of all files are computed once per
    process and state of the files. `streams`: whether loaders are to gather batches before they are asked for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        header, entries = read_whole(folder)
        files = {name: map_bytes(folder / f"{name}.bin") for name in FILES}
        _verify(folder, list(files.values()), entries)
        self.fingerprint = header.fingerprint
        self.subjects = [entry.subject for entry in entries]
        self.geometry = [entry.geometry for entry in entries]
        self.pixels = [entry.pixels for entry in entries]
        self.truths = [[entry.checksums[FILES.index(name)] for name in ("mask", "index")] for entry in entries]
        self.attributes: list[dict[str, str]] = [{} for _ in entries]
        _, channels, height, width = entries[0].shape
        self.shape = channels, height, width
        kept, dropped = (sum(getattr(entry, name) for entry in entries) for name in ("kept", "dropped"))
        self.dropped: float = dropped / max(kept + dropped, 1)
        number, labelled, pixels, full, own = files["index"].view(np.int64).reshape(-1, 5).T.copy()
        subject = np.repeat(np.arange(len(entries)), [entry.shape[0] for entry in entries])
        self._rows, self._labelled = np.flatnonzero(own), labelled > 0
        self.slice, self.subject = number[self._rows], subject[self._rows]
        self.anomalous, self.normal = pixels[self._rows] > 0, labelled[self._rows] == 0
        packed = packed_bytes(height * width)
        self._mapped = Mapped(
            subject=subject,
            number=number,
            pixels=pixels,
            full=full > 0,
            scale=_scale(entries),
            image=torch.from_numpy(files["image"].view(STORAGES[header.storage])).view(-1, *self.shape),
            foreground=files["foreground"].reshape(-1, packed),
            mask=files["mask"].reshape(-1, packed),
            region=files["region"].view(np.float32),
        )
        self._source: Mapped | Held = self._mapped
        self.streams = False
        self._around: dict[tuple[int, bool], NDArray[np.int64]] = {}

    def __len__(self) -> int:
        return len(self.subject)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the files, which are not sent to it."""
        return _reopened, (self.folder, self.attributes)

    def batch(self, indices: NDArray[np.int64]) -> AnomalyBatch:
        """The images at the given indices (B,), gathered in one go, on the device that holds the store."""
        return self._source.batch(self._rows[np.asarray(indices, dtype=np.int64)])

    def batch_around(self, indices: NDArray[np.int64], context: int, normal: bool) -> AnomalyBatch:
        """The same with `context` neighbours on either side of each: images (B, (2 · context + 1) · C, H, W), see `neighbours`.

        foreground: of each slice, (B, 2 · context + 1, H, W); all else is of the one in the middle. normal: whether a
        neighbour with a label counts as if the volume ended before it, so that nobody sees an anomaly.
        """
        if (context, normal) not in self._around:
            found = neighbours(self._mapped.subject, self._mapped.number, context, self._labelled if normal else None)
            self._around[context, normal] = found[self._rows]
        rows = self._around[context, normal][np.asarray(indices, dtype=np.int64)]
        every = self._source.batch(rows.ravel())
        batch = {key: value[context :: 2 * context + 1] for key, value in every.items()}  # type: ignore[index]
        batch |= {key: side_by_side(every[key], 2 * context + 1) for key in ("image", "foreground")}
        return cast(AnomalyBatch, batch)

    @property
    def held_bytes(self) -> int:
        """The memory of a device that `hold` takes."""
        return self._mapped.held_bytes

    def hold(self, device: Device) -> Self:
        """Load everything into the memory of a device ('cpu', 'cuda:0'), where batches are gathered from now on."""
        on_cpu = torch.device(device).type == "cpu"
        self._source = self._mapped.in_memory() if on_cpu else Held.load(self._mapped, device)
        return self


def open_store(folder: Path) -> SliceStore | None:
    """The store in a folder, or None if there is none that is whole. Other errors of the disk (OSError) propagate."""
    try:
        store = SliceStore(folder)
    except DAMAGE:
        return None
    with suppress(OSError):
        os.utime(folder)  # when it was last used
    return store


def _reopened(folder: Path, attributes: list[dict[str, str]]) -> SliceStore:
    store = SliceStore(folder)
    store.attributes = attributes
    return store


def _verify(folder: Path, files: list[NDArray[np.uint8]], entries: Sequence[Entry]) -> None:
    stats = [path.stat() for path in sorted(folder.iterdir())]
    state = (str(folder), *((stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats))
    if state in _verified:
        return
    if not all(intact(files, entries)):
        raise ValueError(f"{folder}: its checksums do not fit its content")
    _verified.add(state)


def _scale(entries: Sequence[Entry]) -> Scale:
    if not entries[0].levels:
        return Scale()
    zero, levels = ([getattr(entry, name) for entry in entries] for name in ("zero", "levels"))
    return Scale(*(torch.tensor(values, dtype=torch.float32)[:, :, None, None] for values in (zero, levels)))
