"""Counting a batch of maps into histograms: on the CPU by the loops of `loops`, on devices by torch and without a wait.

All walk over groups of planes, so that the memory they need does not grow with the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .bins import EMPTY, MANY, MIXED, Histograms, keys_of, score_codes
from .formulas import Array
from .loops import loops_for
from .regions import label_planes, region_weight

GROUP = 1 << 20  # pixels that are looked at together
DEVICE_GROUP = 1 << 23  # on a device, in about 60 bytes each
THREAD_WORTH = 1 << 22  # pixels that pay for the histograms of one more thread
HOLD_WORTH = 1 << 23  # pixels from which on `loops.count` holds some back
MAX_THREADS = 4  # whose histograms, at 20 bits, stay below 100 MB together
_WHOLE = 2.0**53  # float64 holds every whole number below it


class Planes(NamedTuple):
    """A checked batch, each entry (N, H, W): a mask, and where they are given a foreground and region weights."""

    scores: Tensor
    mask: Tensor
    foreground: Tensor | None
    weight: Tensor | None

    def groups(self, size: int | None = None) -> Iterator[Planes]:
        """The batch in pieces of about `size` pixels, or GROUP, at least a plane each."""
        each = planes_each(self.scores, size)
        for start in range(0, len(self.scores), each):
            yield self.part(start, start + each)

    def part(self, start: int, stop: int) -> Planes:
        """Planes start to stop."""
        return Planes(*(None if values is None else values[start:stop] for values in self))  # type: ignore[arg-type]

    def pixels(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Scores, mask and region weights of the foreground, (n,) each, in pieces of at most GROUP pixels."""
        for group in self.groups():
            weight = region_weight(group.mask) if group.weight is None else group.weight
            parts = [group.scores, group.mask, weight, *([] if group.foreground is None else [group.foreground])]
            flat = [part.to(device).reshape(-1) for part in parts]
            for start in range(0, len(flat[0]), GROUP):
                pieces = [part[start : start + GROUP] for part in flat]
                chosen = [piece[pieces[3]] for piece in pieces[:3]] if len(pieces) > 3 else pieces
                yield chosen[0], chosen[1], chosen[2].float()


def checked(
    scores: Tensor,
    mask: Tensor,
    foreground: Tensor | None = None,
    region_weight: Tensor | None = None,
    look: bool = True,
) -> Planes:
    """The batch as planes, its scores floating; NumPy arrays will do as well. look: for NaN, which waits for a device.

    Raises:
        ValueError: shapes or types do not fit, an integer score is too large, or a foreground score is NaN.
    """
    names = ("scores", "mask", "foreground", "region_weight")
    given = (scores, mask, foreground, region_weight)
    maps = {name: _tensor(part) for name, part in zip(names, given, strict=True) if part is not None}
    for name, part in maps.items():
        if part.shape != maps["scores"].shape:
            raise ValueError(f"expected {name} of shape {tuple(maps['scores'].shape)}, got {tuple(part.shape)}")
        if name in ("foreground", "mask") and part.dtype != torch.bool:
            raise ValueError(f"expected {name} of dtype bool, got {part.dtype}; {name} != 0 makes it so")
    shape = maps["scores"].shape
    if len(shape) < 2:
        raise ValueError(f"expected maps of shape (B, 1, H, W), (B, H, W) or (H, W), got {tuple(shape)}")
    maps["scores"] = _floating(maps["scores"])
    planes = Planes(*(maps[name].reshape(-1, *shape[-2:]) if name in maps else None for name in names))  # type: ignore[arg-type]
    if look:
        _refuse_nan(planes, shape)
    return planes


def _tensor(part: Tensor | Array) -> Tensor:
    """A tensor, in the memory of what is given wherever torch can take it."""
    if isinstance(part, np.ndarray):
        part = part.astype(part.dtype.newbyteorder("="), copy=min(part.strides, default=0) < 0)
    return torch.as_tensor(part).detach()


def _floating(scores: Tensor) -> Tensor:
    """Integers as floats that hold them; ValueError if none does."""
    if scores.is_floating_point():
        return scores
    if scores.dtype in (torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16):
        return scores.float()
    wide = scores.double()
    if wide.numel() and (most := float(wide.abs().amax())) >= _WHOLE:
        raise ValueError(f"expected integer scores below 2**53 in size, got {most:.0f}; take their ranks instead")
    return wide


def _refuse_nan(planes: Planes, shape: Sequence[int]) -> None:
    """ValueError when a foreground score is NaN."""
    scores = planes.scores
    if not scores.numel():
        return
    if not bool(scores.amax().isnan()):  # NaN if any score is: one quick look, no memory
        return
    bad = scores.isnan()
    if planes.foreground is not None:
        bad &= planes.foreground.to(bad.device)
    if count := int(bad.sum()):
        plane, row, column = bad.nonzero()[0].tolist()
        where = f"in image {plane} of a batch {tuple(shape)} at row {row}, column {column}"
        raise ValueError(
            f"expected scores without NaN, got {count} NaN in the foreground, the first {where}; "
            "mend the map before it ranks"
        )


def count(histograms: Histograms, planes: Planes, pivot: float, bits: int) -> None:
    """Add the foreground pixels of a batch in place, in main memory, where the histograms are."""
    planes = Planes(*(None if part is None else part.cpu() for part in planes))  # type: ignore[arg-type]
    whole, target = CpuPlanes.of(planes), [part.numpy() for part in histograms]
    loops = loops_for(whole.scores.size)
    threads = min(MAX_THREADS, torch.get_num_threads(), whole.scores.size // THREAD_WORTH, len(whole.scores))
    if threads < 2:
        _count_on_cpu(loops, whole, pivot, bits, target)
        return
    cuts = np.linspace(0, len(whole.scores), threads + 1).astype(int).tolist()
    targets = [target, *(_scratch(1 << bits) for _ in range(threads - 1))]
    with ThreadPoolExecutor(threads) as pool:
        jobs = [
            pool.submit(_count_on_cpu, loops, whole.part(start, stop), pivot, bits, part_bins)
            for (start, stop), part_bins in zip(pairwise(cuts), targets, strict=True)
        ]
        for job in jobs:
            job.result()
    for part_bins in targets[1:]:
        _fold(target, part_bins)


def count_there(histograms: Histograms, planes: Planes, pivot: float, bits: int) -> Tensor:
    """`count` on the device of the histograms, and how many foreground scores were NaN, which count nowhere: () int64."""
    device, bad = histograms.normal.device, torch.zeros_like(histograms.normal[0])
    for group in planes.groups(DEVICE_GROUP):
        scores, mask, foreground, weight = (None if part is None else part.to(device).flatten() for part in group)
        assert scores is not None
        assert mask is not None
        weight = region_weight(group.mask).to(device).flatten() if weight is None else weight
        lost = scores.isnan()
        inside = ~lost if foreground is None else foreground & ~lost
        bad += (lost if foreground is None else foreground & lost).sum()
        scores = scores.masked_fill(~inside, pivot)
        histograms.add(keys_of(scores, pivot, bits), score_codes(scores), inside & ~mask, inside & mask, weight)
    return bad


def counted_on(device: torch.device) -> torch.device:
    """Where maps of a device are counted: there, but in main memory if it has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


def on_cpu(*tensors: Tensor) -> bool:
    """Whether all are in main memory, where the loops of `loops` count."""
    return all(tensor.device.type == "cpu" for tensor in tensors)


class CpuPlanes(NamedTuple):
    """Planes as NumPy arrays: threads that call torch would each bring their own pool of threads."""

    scores: Array
    mask: Array
    foreground: Array | None
    weight: Array | None

    @classmethod
    def of(cls, planes: Planes) -> CpuPlanes:
        """Views of the tensors; only bfloat16, which NumPy does not know, is copied."""
        scores = planes.scores.float() if planes.scores.dtype == torch.bfloat16 else planes.scores
        return cls(*(None if part is None else part.numpy() for part in (scores, *planes[1:])))  # type: ignore[arg-type]

    def part(self, start: int, stop: int) -> CpuPlanes:
        """Planes start to stop."""
        return CpuPlanes(*(None if values is None else values[start:stop] for values in self))  # type: ignore[arg-type]

    def chosen(self, indices: Array) -> CpuPlanes:
        """Some planes, by ascending index; copied unless they lie together."""
        if len(indices) and indices[-1] - indices[0] == len(indices) - 1:
            return self.part(indices[0], indices[-1] + 1)
        return CpuPlanes(*(None if values is None else values[indices] for values in self))  # type: ignore[arg-type]

    def groups(self) -> Iterator[CpuPlanes]:
        """The batch in pieces of about GROUP pixels, at least a plane each."""
        each = planes_each(self.scores)
        for start in range(0, len(self.scores), each):
            yield self.part(start, start + each)

    def flat(self, loops: ModuleType) -> Flat:
        """The planes as the loops take them."""
        mask = _flat(self.mask, np.bool_)
        if self.weight is None:
            regions = label_planes(self.mask, loops)
            pixels, weight = regions.pixels, regions.weights()
        else:
            pixels = np.flatnonzero(mask)
            weight = _flat(self.weight, np.float32)[pixels]
        kind = np.float64 if self.scores.dtype == np.float64 else np.float32
        foreground = None if self.foreground is None else _flat(self.foreground, np.bool_)
        return Flat(_flat(self.scores, kind), mask, foreground, pixels, weight)


class Flat(NamedTuple):
    """Maps (N,), a foreground if not all of it counts, and the indices and region weights (P,) of the anomalous pixels."""

    scores: Array
    mask: Array
    foreground: Array | None
    pixels: Array
    weight: Array

    def by_class(self) -> tuple[Array, Array, Array]:
        """Foreground scores of normal and of anomalous pixels, +0.0 for −0.0, and region weights of these."""
        scores, mask, zero = self.scores, self.mask, self.scores.dtype.type(0)
        inside = np.ones_like(mask) if self.foreground is None else self.foreground
        return scores[~mask & inside] + zero, scores[mask & inside] + zero, self.weight[inside[self.pixels]]


def _count_on_cpu(loops: ModuleType, planes: CpuPlanes, pivot: float, bits: int, target: Sequence[Array]) -> None:
    held = np.zeros(1 << bits, dtype=np.uint8) if planes.scores.size > HOLD_WORTH else None
    for group in planes.groups():
        scores, _, foreground, pixels, weight = group.flat(loops)
        loops.count(scores, foreground, pixels, weight, np.float32(pivot), bits, held, *target)
    if held is not None:
        late = np.flatnonzero(held > MANY)
        target[0][late] += held[late] - np.uint8(MANY)


def planes_each(scores: Tensor | Array, size: int | None = None) -> int:
    """How many planes (N, H, W) make a group of about `size` pixels, or GROUP; at least one."""
    return max((size or GROUP) // max(scores.shape[1] * scores.shape[2], 1), 1)


def _flat(values: Array, dtype: type) -> Array:
    return np.ascontiguousarray(values, dtype=dtype).ravel()


def _scratch(bins: int) -> list[Array]:
    """Histograms of one thread: counts in int32, which one batch does not overflow."""
    counts = [np.zeros(bins, dtype=np.int32) for _ in range(2)]
    return [*counts, np.zeros(bins), np.zeros(bins, dtype=np.int64)]


def _fold(target: Sequence[Array], bins: Sequence[Array]) -> None:
    """Add one thread's histograms to the first's."""
    filled = np.flatnonzero(bins[3] != EMPTY)
    for total, part in zip(target[:3], bins[:3], strict=True):
        total[filled] += part[filled]
    held, new = target[3][filled], bins[3][filled]
    target[3][filled] = np.where(held == EMPTY, new, np.where(held == new, held, MIXED))
