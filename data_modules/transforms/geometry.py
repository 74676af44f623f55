"""Pure functions on arrays of slices: crops, resizing, anomalous regions."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


def resize_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (N, C, h, w) float32 to (N, C, H, W), bilinear with anti-aliasing."""
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", antialias=True)


def resize_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (N, 1, h, w) bool to (N, 1, H, W), by nearest pixel centre; for foregrounds."""
    if masks.shape[-2:] == size:
        return masks
    rows, columns = (_nearest(old, new) for old, new in zip(masks.shape[-2:], size, strict=True))
    return masks[..., rows, :][..., columns]


def resize_anomalies(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """As resize_masks, but no region vanishes: one that no pixel centre hits keeps the target pixel of its middle."""
    resized = resize_masks(masks, size)
    shape = masks.shape[-2:]
    if shape == size or not masks.numpy().any():
        return resized
    labels, count, corner = label_regions(masks[:, 0].numpy())
    hits = [_nearest(old, new).numpy() - first for old, new, first in zip(shape, size, corner, strict=True)]
    rows, columns = (hit[(hit >= 0) & (hit < length)] for hit, length in zip(hits, labels.shape[1:], strict=True))
    lost = np.ones(count + 1, dtype=bool)
    lost[0] = lost[labels[:, rows][:, :, columns]] = False
    where = np.nonzero(lost[labels])
    regions = labels[where]
    area = np.maximum(np.bincount(regions, minlength=count + 1), 1)
    middle = [(np.bincount(regions, weights=axis, minlength=count + 1) / area)[lost] for axis in where]
    row, column = (
        ((centre + first + 0.5) * (new / old)).astype(int)
        for centre, first, new, old in zip(middle[1:], corner, size, shape, strict=True)
    )
    resized[middle[0].astype(int), 0, row, column] = True
    return resized


def label_regions(masks: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int, tuple[int, int]]:
    """Numbers from 1 of the 8-connected regions of masks (N, h, w), no region in two of them, and how many there are.

    The numbers are those of the rows and columns where some mask is true, of which the first are given as well.
    """
    structure = np.zeros((3, 3, 3), dtype=bool)
    structure[1] = EIGHT_CONNECTED
    plane = np.logical_or.reduce(masks)
    rows, columns = (np.flatnonzero(plane.any(axis=axis)) for axis in (1, 0))
    labels, count = ndimage.label(masks[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], structure=structure)
    return labels, int(count), (int(rows[0]), int(columns[0]))


def _nearest(old: int, new: int) -> Tensor:
    """For each of `new` pixels along an axis, the one of `old` whose centre is nearest, as torch's 'nearest-exact'."""
    centres = torch.arange(old, dtype=torch.float32)[None, None]
    return F.interpolate(centres, size=new, mode="nearest-exact")[0, 0].long()


def square_box(rows: slice, columns: slice, margin: float = 0.04) -> tuple[int, int, int]:
    """The square around a box of pixels: (top, left, side), may reach outside of the image."""
    side = round(max(rows.stop - rows.start, columns.stop - columns.start) * (1 + 2 * margin))
    return (rows.start + rows.stop - side) // 2, (columns.start + columns.stop - side) // 2, side


def region_weights(masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """1/size of the 8-connected anomalous region a pixel lies in, 0 elsewhere; masks and result are (N, 1, H, W)."""
    weights = np.zeros(masks.shape, dtype=np.float32)
    for index in np.flatnonzero(masks.any(axis=(1, 2, 3))):
        labels, _ = ndimage.label(masks[index, 0], structure=EIGHT_CONNECTED)
        inverse = 1.0 / np.maximum(np.bincount(labels.ravel()), 1)
        inverse[0] = 0.0
        weights[index, 0] = inverse[labels]
    return weights
