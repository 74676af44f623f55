"""Which slices of a volume go with an image to the model, as more of its channels."""

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


def side_by_side(slices: Tensor, context: int) -> Tensor:
    """Images (B, (2 · context + 1) · C, H, W) of their slices (B · (2 · context + 1), C, H, W), one image after the other."""
    return slices.view(-1, (2 * context + 1) * slices.shape[1], *slices.shape[2:])


def with_context(image: Tensor, number: Tensor, own: Tensor, context: int) -> Tensor:
    """Images, see `side_by_side`, of those of a subject's slices (n, C, H, W) that are own (n,) bool; number: (n,) int64."""
    rows = neighbours(np.zeros(len(image), np.int64), number.numpy(), context)
    return side_by_side(image[torch.from_numpy(rows[own.numpy()].ravel())], context)
