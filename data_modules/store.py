"""The slice store: every volume and picture is decoded once, into arrays that training reads by index.

A store is a folder of flat binary files and a manifest. It is written to a temporary sibling and renamed, so that what
is there is whole; a store whose files do not have the sizes that the manifest states is built again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .batch import AnomalyBatch
from .geometry import region_weights

FORMAT = 2
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Slices:
    """One case, decoded.

    image (n, C, H, W) float32; mask and foreground (n, 1, H, W) bool; number (n,) int64, the slice's index in its volume;
    labelled (n,) bool, whether the slice has any label, of interest or not, so that it is not normal; digest, the content
    of the case's files; kept and dropped, how many anomalous voxels lie in these slices and in those left out.
    """

    subject: str
    image: Tensor
    mask: Tensor
    foreground: Tensor
    number: Tensor
    labelled: Tensor
    digest: str
    kept: int = 0
    dropped: int = 0


class SliceStore:
    """Slices of all subjects, memory-mapped.

    Public arrays: `subject` (n,) int64, index into `subjects`; `slice` (n,) int64; `anomalous` (n,) bool, whether the
    slice has an anomalous pixel; `normal` (n,) bool, whether it has no label at all. `dropped`: the share of anomalous
    voxels that lie in slices that were left out.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        manifest = json.loads((folder / "manifest.json").read_text())
        self.fingerprint: str = manifest["fingerprint"]
        self.subjects: list[str] = manifest["subjects"]
        self.dropped: float = manifest["dropped"]
        self.shape: tuple[int, int, int] = tuple(manifest["shape"])
        count, regions = manifest["slices"], manifest["anomalous_slices"]
        plane = (1, *self.shape[1:])
        self._image = self._open("image", np.float16, (count, *self.shape))
        self._foreground = self._open("foreground", np.bool_, (count, *plane))
        self._region = self._open("region", np.float32, (regions, *plane))
        index = np.fromfile(folder / "index.bin", dtype=np.int64).reshape(count, 4)
        self.subject, self.slice, self._region_row, labelled = index.T
        self.anomalous, self.normal = self._region_row >= 0, labelled == 0

    def __len__(self) -> int:
        return len(self.subject)

    def batch(self, indices: NDArray[np.int64]) -> AnomalyBatch:
        """The slices at the given indices (B,), gathered in one go."""
        rows = torch.as_tensor(np.asarray(indices, dtype=np.int64))
        image = self._image[rows].float()
        region = torch.zeros(len(rows), 1, *self.shape[1:])
        stored = torch.from_numpy(self._region_row[rows.numpy()])
        has_region = stored >= 0
        region[has_region] = self._region[stored[has_region]]
        return AnomalyBatch(
            image=image,
            mask=region > 0,
            foreground=self._foreground[rows],
            region_weight=region,
            subject=torch.from_numpy(self.subject[rows.numpy()]),
            slice=torch.from_numpy(self.slice[rows.numpy()]),
        )

    def _open(self, name: str, dtype: Any, shape: tuple[int, ...]) -> Tensor:
        path = self.folder / f"{name}.bin"
        expected = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if path.stat().st_size != expected:
            raise ValueError(f"{path}: {path.stat().st_size} bytes where {expected} were written")
        if expected == 0:
            return torch.from_numpy(np.zeros(shape, dtype))
        return torch.from_numpy(np.memmap(path, dtype=dtype, mode="c", shape=shape))


def open_store(folder: Path) -> SliceStore | None:
    """The store in a folder, or None if there is none that is whole."""
    try:
        return SliceStore(folder)
    except (OSError, ValueError, KeyError):
        return None


def build_store(folder: Path, settings: dict[str, Any], cases: Iterable[Slices]) -> SliceStore:
    """Write the cases (decoded one at a time) to a new store at `folder`.

    The fingerprint is the digest of the settings that change pixels and of the content of every file.
    Errors of a case pass through and leave no store behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write(temporary, settings, cases)
        if open_store(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)
            try:
                temporary.replace(folder)
            except OSError:  # another process was quicker
                if open_store(folder) is None:
                    raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return SliceStore(folder)


def _write(folder: Path, settings: dict[str, Any], cases: Iterable[Slices]) -> None:
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    subjects: list[str] = []
    index: list[NDArray[np.int64]] = []
    shape: tuple[int, ...] = ()
    regions = kept = dropped = 0
    with (
        (folder / "image.bin").open("wb") as image,
        (folder / "foreground.bin").open("wb") as foreground,
        (folder / "region.bin").open("wb") as region,
    ):
        for case in cases:
            digest.update(f"{case.subject}:{case.digest}".encode())
            weights = region_weights(case.mask.numpy())
            anomalous = weights.any(axis=(1, 2, 3))
            row = np.where(anomalous, regions + np.cumsum(anomalous) - 1, -1)
            regions += int(anomalous.sum())
            subject = np.full(len(row), len(subjects))
            index.append(np.stack([subject, case.number.numpy(), row, case.labelled.numpy()], axis=1))
            kept, dropped = kept + case.kept, dropped + case.dropped
            subjects.append(case.subject)
            shape = tuple(case.image.shape[1:])
            # write() rather than tofile(), which forgets why a full disk refused
            image.write(case.image.half().numpy().tobytes())
            foreground.write(case.foreground.numpy().tobytes())
            region.write(weights[anomalous].tobytes())
    rows = np.concatenate(index).astype(np.int64)
    (folder / "index.bin").write_bytes(rows.tobytes())
    manifest = {
        "format": FORMAT,
        "fingerprint": digest.hexdigest(),
        "settings": settings,
        "subjects": subjects,
        "shape": shape,
        "slices": len(rows),
        "anomalous_slices": regions,
        "dropped": dropped / max(kept + dropped, 1),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
