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
    return F.interpolate(masks.float(), size=size, mode="nearest-exact") > 0


def resize_anomalies(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """As resize_masks, but no region vanishes: one that no pixel centre hits keeps the target pixel of its middle."""
    resized = resize_masks(masks, size)
    if masks.shape[-2:] == size:
        return resized
    scale = np.array(size) / np.array(masks.shape[-2:])
    for index in masks.flatten(1).any(1).nonzero().flatten().tolist():
        labels, count = ndimage.label(masks[index, 0].numpy(), structure=EIGHT_CONNECTED)
        one_target = F.interpolate(torch.from_numpy(labels)[None, None].float(), size=size, mode="nearest-exact")
        for lost in set(range(1, count + 1)) - set(one_target.unique().int().tolist()):
            middle = (np.argwhere(labels == lost).mean(axis=0) + 0.5) * scale
            row, column = middle.astype(int)
            resized[index, 0, row, column] = True
    return resized


def square_box(foreground: Tensor, margin: float = 0.04) -> tuple[int, int, int]:
    """The square that holds the foreground of every slice (N, 1, h, w): (top, left, side) in pixels, may reach outside."""
    plane = foreground.flatten(0, 1).any(0)
    rows, columns = plane.any(1).nonzero().flatten(), plane.any(0).nonzero().flatten()
    (top, bottom), (left, right) = (rows[[0, -1]].tolist(), columns[[0, -1]].tolist())
    side = round(max(bottom - top + 1, right - left + 1) * (1 + 2 * margin))
    return (top + bottom + 1 - side) // 2, (left + right + 1 - side) // 2, side


def crop(images: Tensor, box: tuple[int, int, int]) -> Tensor:
    """The box (top, left, side) of images (N, C, h, w), zero where the box reaches outside."""
    top, left, side = box
    height, width = images.shape[-2:]
    return F.pad(images, (-left, left + side - width, -top, top + side - height))


def region_weights(masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """1/size of the 8-connected anomalous region a pixel lies in, 0 elsewhere; masks and result are (N, 1, H, W)."""
    weights = np.zeros(masks.shape, dtype=np.float32)
    for index in np.flatnonzero(masks.any(axis=(1, 2, 3))):
        labels, _ = ndimage.label(masks[index, 0], structure=EIGHT_CONNECTED)
        inverse = 1.0 / np.maximum(np.bincount(labels.ravel()), 1)
        inverse[0] = 0.0
        weights[index, 0] = inverse[labels]
    return weights
