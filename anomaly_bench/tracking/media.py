"""Pictures for W&B: test images at full size, and each predictor's map with what it found and missed over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib import colormaps
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
    samples = localization.samples
    ranges = {name: _range([sample.maps[name] for sample in samples]) for name in (samples[0].maps if samples else ())}
    logged: dict[str, list[Any]] = {}
    left = BUDGET
    for sample in samples:
        images = [("images/input", _plain(sample, sample.image))]
        images.append(("images/reconstruction", _plain(sample, sample.reconstruction)))
        images += [(f"maps/{name}", _map(localization, name, sample, *ranges[name])) for name in ranges]
        for key, image in images:
            left -= (image._size or 0) + sample.mask.numel() // 8
            if left < 0:
                return logged
            logged.setdefault(key, []).append(image)
    return logged


def _range(maps: Sequence[torch.Tensor]) -> tuple[float, float]:
    return min(float(values.min()) for values in maps), max(float(values.max()) for values in maps)


def _plain(sample: Sample, image: torch.Tensor) -> Any:
    return _image(grey(image), sample.caption, "mask", sample.mask, MASK)


def _map(localization: LocalizationCallback, name: str, sample: Sample, low: float, high: float) -> Any:
    """Colours run from the lowest to the highest value shown; a pixel is called at the threshold set on validation."""
    values = sample.maps[name].float()
    coloured = colormaps["viridis"](((values - low) / max(high - low, 1e-12)).numpy())[..., :3]
    called = (localization.tallies[name].curve.keys(values) >= localization.validation.thresholds[name]).byte()
    outcome = torch.where(sample.mask, 1 + called, 3 * called)
    caption = f"{sample.caption} · {name}, {low:.3g} to {high:.3g}"
    return _image((coloured * 255).astype(np.uint8), caption, "outcome", outcome, OUTCOME)


def _image(picture: NDArray[np.uint8], caption: str, layer: str, mask: torch.Tensor, classes: dict[int, str]) -> Any:
    """A picture (H, W, 3) of W&B with a mask (H, W) of classes laid over it."""
    import wandb

    masks = {layer: {"mask_data": mask.numpy().astype(np.uint8), "class_labels": classes}}
    return wandb.Image(picture, caption=caption, file_type="jpg", masks=masks)
