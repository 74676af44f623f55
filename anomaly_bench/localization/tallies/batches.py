"""Batches as metrics want them: a user's completed, and where their maps are counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from anomaly_bench.metrics import region_weight
from anomaly_bench.metrics.transfers import together
from anomaly_bench.models.batches import image_of, pixels_of
from anomaly_bench.models.slices import slices_of
from anomaly_bench.predictors.ensemble import TimedMap
from data_modules.base.batch import AnomalyBatch
from data_modules.store.batches import free_memory

CPU = torch.device("cpu")


def completed(batch: Mapping[str, Any], numbers: Tensor | None = None) -> AnomalyBatch:
    """A user's batch with all that an AnomalyBatch has.

    Of `image` (B, C, H, W) all but the image may be missing: `mask` (B, 1, H, W) or (B, H, W), bool or 0 and 1, is empty then,
    `foreground`, alike, all true, `subject` (B,) whole numbers, the image's number, and `slice` 0. Of volumes (B, C, D, H, W)
    `slice` is (B, D), and counts from 0. numbers: (B,) those of the images, from 0 on if not given.

    Raises ValueError for another shape and for other values, naming the key.
    """
    image = image_of(batch)
    count, device = len(image), image.device
    mask = pixels_of(batch, "mask", image)
    foreground = pixels_of(batch, "foreground", image)
    mask = torch.zeros_like(image[:, :1], dtype=torch.bool) if mask is None else mask
    weight = batch.get("region_weight") if mask.shape == getattr(batch.get("region_weight"), "shape", None) else None
    numbers = torch.arange(count) if numbers is None else numbers
    places = torch.zeros(count, dtype=torch.int64) if image.ndim == 4 else torch.arange(image.shape[2]).repeat(count, 1)
    return AnomalyBatch(
        image=image,
        mask=mask,
        foreground=torch.ones_like(mask) if foreground is None else foreground,
        region_weight=region_weight(mask) if weight is None else weight,
        subject=_numbers(batch, "subject", numbers.to(device)),
        slice=_numbers(batch, "slice", places.to(device)),
    )


def chosen(batch: AnomalyBatch, images: Tensor) -> AnomalyBatch:
    """Some images of a batch, which (B,) bool names; the batch itself if it names all."""
    if images.all():
        return batch
    return cast(AnomalyBatch, {key: value[images.to(value.device)] for key, value in batch.items()})  # type: ignore[attr-defined, index]


def in_slices(batch: AnomalyBatch) -> AnomalyBatch:
    """A batch of volumes as that of their slices, which are images to all that counts or draws; one of images as it is."""
    if batch["image"].ndim == 4:
        return batch
    return AnomalyBatch(
        image=slices_of(batch["image"]),
        mask=slices_of(batch["mask"]),
        foreground=slices_of(batch["foreground"]),
        region_weight=slices_of(batch["region_weight"]),
        subject=batch["subject"].repeat_interleave(batch["slice"].shape[1]),
        slice=batch["slice"].flatten(),
    )


def placed(batch: AnomalyBatch, device: torch.device) -> AnomalyBatch:
    """The batch on a device, volumes as their slices; in main memory it comes in one copy."""
    batch = in_slices(batch)
    if device.type == "cpu":
        return cast(AnomalyBatch, dict(zip(batch, together(list(batch.values())), strict=True)))  # type: ignore[arg-type]
    return cast(AnomalyBatch, {key: value.to(device, non_blocking=True) for key, value in batch.items()})  # type: ignore[attr-defined]


def brought(maps: Mapping[str, TimedMap]) -> dict[str, TimedMap]:
    """Maps in main memory; those of a device come in one copy."""
    scores = together([score.detach() for score, _ in maps.values()])
    return {name: (score, seconds) for (name, (_, seconds)), score in zip(maps.items(), scores, strict=True)}


def with_room(device: torch.device, curves: int, bits: int) -> torch.device:
    """The device, if a quarter of its free memory takes so many curves; else main memory."""
    needed = curves * 32 << bits
    return device if device.type == "cpu" or 4 * needed <= free_memory(device) else CPU


def _numbers(batch: Mapping[str, Any], key: str, default: Tensor) -> Tensor:
    numbers = batch.get(key)
    if numbers is None:
        return default
    if not isinstance(numbers, Tensor) or numbers.shape != default.shape or numbers.is_floating_point():
        got = f"{numbers.dtype} {list(numbers.shape)}" if isinstance(numbers, Tensor) else type(numbers).__name__
        raise ValueError(f"batch['{key}']: expected whole numbers {list(default.shape)}, got {got}")
    return numbers.long()
