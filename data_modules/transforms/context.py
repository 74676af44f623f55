"""Which slices of a volume go together to the model: neighbours of an image as more of its channels, or volumes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def neighbours(
    subject: NDArray[np.int64], number: NDArray[np.int64], context: int, beyond: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """The rows (n, 2 · context + 1) of each slice's neighbours, in the order of the volume, itself in the middle.

    subject, number: (n,), of slices in the order of subjects and of their volumes. Where a volume ends, and at a gap in its
    numbers, the last slice before is repeated. beyond: (n,), slices that count as if the volume ended before them.
    """
    rows = np.arange(len(subject))
    columns = [rows]
    for side in (-1, 1):
        nearest, last = [], rows
        for distance in range(1, context + 1):
            other = np.clip(rows + side * distance, 0, len(rows) - 1)
            there = (subject[other] == subject) & (number[other] == number + side * distance)
            there &= last == rows + side * (distance - 1)  # nothing is seen past an end
            if beyond is not None:
                there &= ~beyond[other]
            last = np.where(there, other, last)
            nearest.append(last)
        columns = [*nearest[::-1], *columns] if side < 0 else [*columns, *nearest]
    return np.stack(columns, axis=1)


def windows(
    subject: NDArray[np.int64],
    number: NDArray[np.int64],
    depth: int,
    step: int,
    wanted: NDArray[np.bool_],
    seen: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Volumes of so many slices, each the next one to the one before: their rows (N, depth), and which of these count.

    subject, number: (n,), of slices in the order of subjects and of their volumes; step: how far the numbers of neighbours are
    apart. wanted: (n,), the slices that are to count, each in one volume, in their order. seen: those that there are for the
    model, all if not given; a gap between them ends a volume. Volumes do not overlap but for the last of each run of slices,
    which is moved back to end with it; where the run is shorter than a volume, its last slice is repeated.
    """
    rows = np.arange(len(subject)) if seen is None else np.flatnonzero(seen)
    apart = (np.diff(subject[rows]) != 0) | (np.diff(number[rows]) != step)
    volumes, counts = [np.empty((0, depth), np.int64)], [np.empty((0, depth), np.bool_)]
    for run in np.split(rows, np.flatnonzero(apart) + 1):
        for start in range(0, len(run), depth):
            places = np.arange(depth) + min(start, max(len(run) - depth, 0))
            volume = run[places.clip(max=len(run) - 1)]
            count = (start <= places) & (places < len(run)) & wanted[volume]
            if count.any():
                volumes.append(volume[None])
                counts.append(count[None])
    return np.concatenate(volumes), np.concatenate(counts)


def side_by_side(slices: Tensor, count: int) -> Tensor:
    """Images (B, count · C, H, W) of their slices (B · count, C, H, W), one image after the other."""
    return slices.view(-1, count * slices.shape[1], *slices.shape[2:])


def with_context(image: Tensor, number: Tensor, own: Tensor, context: int) -> Tensor:
    """Images, see `side_by_side`, of those of a subject's slices (n, C, H, W) that are own (n,) bool; number: (n,) int64."""
    rows = neighbours(np.zeros(len(image), np.int64), number.numpy(), context)
    return side_by_side(image[torch.from_numpy(rows[own.numpy()].ravel())], 2 * context + 1)
