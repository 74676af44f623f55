"""The images and pixel maps of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def image_of(batch: Mapping[str, Any]) -> Tensor:
    """The images (B, C, H, W) of a batch, or its volumes (B, C, D, H, W). Raises ValueError if there are none."""
    image = batch.get("image") if isinstance(batch, Mapping) else None
    if not (isinstance(image, Tensor) and image.ndim in (4, 5) and image.is_floating_point()):
        held = f"a dict of {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else type(batch).__name__
        got = f"image {image.dtype} {list(image.shape)}" if isinstance(image, Tensor) else held
        raise ValueError(f'expected a batch {{"image": floating (B, C, H, W), "mask": (B, 1, H, W), …}}, got {got}')
    return image


def normal_images(batch: Mapping[str, Any]) -> Tensor:
    """Those of a batch's images (B, C, H, W) whose mask is empty; all if it has none."""
    image = image_of(batch)
    mask = pixels_of(batch, "mask", image)
    if mask is None:
        return image
    anomalous = mask.flatten(1).any(1)
    return image[~anomalous] if anomalous.any() else image


def check_training(batch: Mapping[str, Any]) -> None:
    """Raises ValueError unless a batch to train on is of finite, normal images alone. On a GPU it waits for the batch."""
    image = image_of(batch)
    finite = image.isfinite().flatten(1).all(1)
    if not finite.all():
        raise ValueError(
            f"batch['image'] holds NaN or infinite values in {int((~finite).sum())} of {len(image)} training images, expected "
            "finite ones; mend or leave out those images in the train loader"
        )
    mask = pixels_of(batch, "mask", image)
    anomalous = 0 if mask is None else int(mask.flatten(1).any(1).sum())
    if anomalous:
        raise ValueError(
            f"batch['mask']: {anomalous} of {len(image)} training images are anomalous, expected none; leave them out of the "
            "train loader and train on normal images alone"
        )


def pixels_of(batch: Mapping[str, Any], key: str, image: Tensor) -> Tensor | None:
    """A mask of a batch, `mask` or `foreground`, for its images (B, C, H, W): (B, 1, H, W) bool, None if there is none.

    Raises ValueError for another shape than the images', and for values but 0 and 1.
    """
    mask, size = batch.get(key), image.shape[2:]
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.shape not in ((len(image), 1, *size), (len(image), *size)):
        got = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"batch['{key}']: expected {[len(image), 1, *size]}, as the image's pixels, got {got}")
    if mask.dtype != torch.bool and not ((mask == 0) | (mask == 1)).all():
        raise ValueError(
            f"batch['{key}']: expected bool or 0 and 1, got values from {float(mask.min()):g} to {float(mask.max()):g}; "
            f"say what counts, such as {key} > 0.5"
        )
    return mask.bool().view(len(image), 1, *size)
