"""From the arrays of a store to batches: out of mapped files, or out of the memory of a device."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.base.batch import AnomalyBatch
from data_modules.base.errors import DataError

Device = str | torch.device
CHUNK = 256  # slices that are unpacked at a time
GIB = 1 << 30


@dataclass(frozen=True)
class Scale:
    """How stored pixels become intensities.

    zero and levels (subjects, C, 1, 1) float32 of a store in uint8, whose pixel q stands for (q - zero) / levels; None
    for float16, whose pixels are the intensities.
    """

    zero: Tensor | None = None
    levels: Tensor | None = None

    def __call__(self, stored: Tensor, subject: Tensor) -> Tensor:
        """Intensities (B, C, H, W) float32 of pixels of the same shape; subject (B,) int64."""
        image = stored.float()
        if self.zero is None or self.levels is None:
            return image
        # a division, since k * (1 / 255) is not always k / 255
        return image.sub_(self.zero.index_select(0, subject)).div_(self.levels.index_select(0, subject))

    def to(self, device: Device) -> Scale:
        if self.zero is None or self.levels is None:
            return self
        return Scale(self.zero.to(device), self.levels.to(device))


@dataclass(frozen=True)
class Mapped:
    """Batches out of mapped files: image (n, C, H, W) as stored, masks one bit per pixel, weights of anomalous pixels.

    In memory, of every slice: subject, number, and pixels (how many are anomalous), (n,) int64 each; full (n,) bool, whether
    all pixels are foreground.
    """

    subject: NDArray[np.int64]
    number: NDArray[np.int64]
    pixels: NDArray[np.int64]
    full: NDArray[np.bool_]
    scale: Scale
    image: Tensor
    foreground: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    region: NDArray[np.float32]

    @cached_property
    def mask_row(self) -> NDArray[np.int64]:
        """The row of a slice's mask among those of anomalous slices, -1 for the others."""
        return _rank(self.pixels > 0)

    @cached_property
    def foreground_row(self) -> NDArray[np.int64]:
        """The row of a slice's foreground among those that are stored, -1 for the others."""
        return _rank(~self.full)

    @cached_property
    def region_end(self) -> NDArray[np.int64]:
        """Where the region weights of a slice end."""
        return np.cumsum(self.pixels)

    @property
    def held_bytes(self) -> int:
        """The memory that `Held` takes."""
        pixels = self.image.shape[2:].numel()
        partial, anomalous = int((~self.full).sum()), int((self.pixels > 0).sum())
        return self.image.nbytes + pixels * (partial + 1) + 5 * pixels * (anomalous + 1) + 4 * self.subject.nbytes

    def batch(self, indices: NDArray[np.int64]) -> AnomalyBatch:
        """The slices at the given indices (B,)."""
        subject = torch.from_numpy(self.subject[indices])
        mask, weights = self.regions(indices)
        return AnomalyBatch(
            image=self.scale(self.image.index_select(0, torch.from_numpy(indices)), subject),
            mask=mask,
            foreground=self.foregrounds(indices),
            region_weight=weights,
            subject=subject,
            slice=torch.from_numpy(self.number[indices]),
        )

    def regions(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Mask (B, 1, H, W) bool and region weight, float32 of the same shape, of slices."""
        shape = (len(indices), 1, *self.image.shape[2:])
        masks, weights = np.zeros(shape, np.bool_), np.zeros(shape, np.float32)
        anomalous = np.flatnonzero(self.pixels[indices])
        if len(anomalous):
            chosen = indices[anomalous]
            ends, lengths = self.region_end[chosen], self.pixels[chosen]
            unpacked = self._unpack(self.mask[self.mask_row[chosen]])
            for row, mask, end, length in zip(anomalous, unpacked, ends, lengths, strict=True):
                masks[row] = mask
                weights[row][mask] = self.region[end - length : end]
        return torch.from_numpy(masks), torch.from_numpy(weights)

    def foregrounds(self, indices: NDArray[np.int64]) -> Tensor:
        """Foreground (B, 1, H, W) bool of slices."""
        rows = self.foreground_row[indices]
        partial = np.flatnonzero(rows >= 0)
        if len(partial) == len(rows):
            return torch.from_numpy(self._unpack(self.foreground[rows]))
        foreground = np.ones((len(rows), 1, *self.image.shape[2:]), np.bool_)
        if len(partial):
            foreground[partial] = self._unpack(self.foreground[rows[partial]])
        return torch.from_numpy(foreground)

    def in_memory(self) -> Mapped:
        """The same with copies in memory in the place of the files."""
        copies = {name: getattr(self, name).copy() for name in ("foreground", "mask", "region")}
        return replace(self, image=self.image.clone(), **copies)

    def _unpack(self, packed: NDArray[np.uint8]) -> NDArray[np.bool_]:
        height, width = self.image.shape[2:]
        bits = np.unpackbits(packed, axis=1, count=height * width)
        return bits.view(np.bool_).reshape(-1, 1, height, width)


@dataclass(frozen=True)
class Held:
    """Batches out of a device's memory; masks and weights unpacked, so that a batch is gathered without a wait.

    image (n, C, H, W) as stored; foreground, mask and region have a row for each slice that the files have a row for, and
    a last one for all others: all foreground, nothing anomalous. rows (3, n) int64: of the foreground, of mask and
    region, and the subject.
    """

    scale: Scale
    image: Tensor
    foreground: Tensor
    mask: Tensor
    region: Tensor
    rows: Tensor
    number: Tensor

    @classmethod
    def load(cls, mapped: Mapped, device: Device) -> Held:
        """Everything that is mapped, on the device; unpacked there bit by bit, so that the host needs little memory.

        Raises DataError if a GPU has not enough free memory.
        """
        anomalous, partial = np.flatnonzero(mapped.pixels), np.flatnonzero(~mapped.full)
        size = mapped.image.shape[2:]
        _check_memory(torch.device(device), mapped.held_bytes)
        foreground = torch.ones(len(partial) + 1, 1, *size, dtype=torch.bool, device=device)
        mask = torch.zeros(len(anomalous) + 1, 1, *size, dtype=torch.bool, device=device)
        region = torch.zeros(len(anomalous) + 1, 1, *size, device=device)
        for start in range(0, len(partial), CHUNK):
            chunk = partial[start : start + CHUNK]
            foreground[start : start + len(chunk)] = mapped.foregrounds(chunk).to(device)
        for start in range(0, len(anomalous), CHUNK):
            chunk = anomalous[start : start + CHUNK]
            masks, weights = mapped.regions(chunk)
            mask[start : start + len(chunk)], region[start : start + len(chunk)] = masks.to(device), weights.to(device)
        rows = [mapped.foreground_row % len(foreground), mapped.mask_row % len(mask), mapped.subject]
        return cls(
            scale=mapped.scale.to(device),
            image=mapped.image.to(device, copy=True),
            foreground=foreground,
            mask=mask,
            region=region,
            rows=torch.from_numpy(np.stack(rows)).to(device),
            number=torch.from_numpy(mapped.number).to(device, copy=True),
        )

    def batch(self, indices: NDArray[np.int64]) -> AnomalyBatch:
        """The slices at the given indices (B,), on the device."""
        index = torch.from_numpy(indices).to(self.image.device)
        foreground, mask, subject = self.rows.index_select(1, index)
        return AnomalyBatch(
            image=self.scale(self.image.index_select(0, index), subject),
            mask=self.mask.index_select(0, mask),
            foreground=self.foreground.index_select(0, foreground),
            region_weight=self.region.index_select(0, mask),
            subject=subject,
            slice=self.number.index_select(0, index),
        )


def _rank(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.where(chosen, np.cumsum(chosen) - 1, -1)


def free_memory(device: torch.device) -> float:
    """The bytes of a device that are free, with those that torch keeps for what comes next; infinite where nobody says."""
    if device.type != "cuda":
        return math.inf
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _check_memory(device: torch.device, needed: int) -> None:
    free = free_memory(device)
    if needed > free:
        raise DataError(
            f"{device}: holding the slice store takes {needed / GIB:.1f} GiB, and {free / GIB:.1f} GiB of its memory are free; "
            "free some, or leave the store on the disk"
        )
