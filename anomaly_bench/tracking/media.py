"""Pictures for W&B: test images at full size, and each predictor's map with what it found and missed over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from anomaly_bench.pictures.panels import Sample, grey

if TYPE_CHECKING:
    from anomaly_bench.localization import LocalizationCallback

BUDGET = 10_000_000  # bytes of the pictures of a run's end: of large images fewer, the same for all predictors
MASK = {1: "anomalous"}
OUTCOME = {1: "missed", 2: "found", 3: "false alarm"}


def wandb_pictures(localization: LocalizationCallback) -> dict[str, list[Any]]:
    """The samples of the test by key: `images/input`, `images/reconstruction`, then `maps/<predictor>`.

    Of one sample after the other all keys, as long as they fit into BUDGET.
    """
    logged: dict[str, list[Any]] = {}
    left = BUDGET
    for sample in localization.samples:
        images = [("images/input", _plain(sample, sample.shown))]
        images.append(("images/reconstruction", _plain(sample, sample.reconstruction)))
        images += [(f"maps/{name}", _map(localization, name, sample)) for name in sample.maps]
        for key, image in images:
            left -= (image._size or 0) + sample.mask.numel() // 8
            if left < 0:
                return logged
            logged.setdefault(key, []).append(image)
    return logged


def _plain(sample: Sample, image: torch.Tensor) -> Any:
    return _image(grey(image), caption_of(sample), "mask", sample.mask, MASK)


def _map(localization: LocalizationCallback, name: str, sample: Sample) -> Any:
    """In the colours of the run's pictures; a pixel of the foreground is called at the threshold set on validation."""
    called = (
        localization.tallies[name].curve.keys(sample.maps[name].float()) >= localization.validation.thresholds[name]
    )
    outcome = torch.where(sample.mask, 1 + called.byte(), 3 * (called & sample.foreground).byte())
    caption = f"{caption_of(sample)} · {name}: share of normal pixels that score lower, up to 99.99 %"
    return _image(localization.scale.picture(name, sample), caption, "outcome", outcome, OUTCOME)


def caption_of(sample: Sample) -> str:
    """Which image it is, and how it stands among those of the test."""
    return f"{sample.caption} · {sample.rank}" + ("" if sample.ap is None else f", AP {sample.ap:.3f}")


def _image(picture: NDArray[np.uint8], caption: str, layer: str, mask: torch.Tensor, classes: dict[int, str]) -> Any:
    """A picture (H, W, 3) of W&B with a mask (H, W) of classes laid over it."""
    import wandb

    masks = {layer: {"mask_data": mask.numpy().astype(np.uint8), "class_labels": classes}}
    return wandb.Image(picture, caption=caption, file_type="jpg", masks=masks)
