"""Pictures for a tracker: test images at full size, and each predictor's map with what it found and missed over it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib import colormaps
from numpy.typing import NDArray

from anomaly_bench.pictures.panels import Sample

if TYPE_CHECKING:
    from anomaly_bench.localization import LocalizationCallback

BUDGET = (
    10_000_000  # bytes of the pictures of a run's end: of large images fewer are logged, the same for all predictors
)
MASK = {1: "anomalous"}
OUTCOME = {1: "missed", 2: "found", 3: "false alarm"}
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Shown:
    """A picture (H, W, 3), its caption, and a mask (H, W) of classes to lay over it, by `layer`."""

    picture: Picture
    caption: str
    layer: str
    mask: Picture
    classes: Mapping[int, str]


def pictures_of(localization: LocalizationCallback) -> Iterator[tuple[str, list[Shown]]]:
    """The samples of the test by key: `images/input`, `images/reconstruction`, then `maps/<predictor>`."""
    samples = localization.samples
    if not samples:
        return
    for key in ("image", "reconstruction"):
        shown = [_plain(sample, getattr(sample, key)) for sample in samples]
        yield f"images/{'input' if key == 'image' else key}", shown
    for name in samples[0].maps:
        yield f"maps/{name}", _maps(localization, name, samples)


def _plain(sample: Sample, image: torch.Tensor) -> Shown:
    shown = image if len(image) == 3 else image.mean(0, keepdim=True).expand(3, -1, -1)
    picture = (shown.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
    return Shown(picture, sample.caption, "mask", sample.mask.numpy().astype(np.uint8), MASK)


def _maps(localization: LocalizationCallback, name: str, samples: Sequence[Sample]) -> list[Shown]:
    """Colours run from the lowest to the highest value shown; a pixel is called at the threshold set on validation."""
    maps = torch.stack([sample.maps[name].float() for sample in samples])
    low, high = float(maps.min()), float(maps.max())
    coloured = colormaps["viridis"](((maps - low) / max(high - low, 1e-12)).numpy())[..., :3]
    called = localization.tallies[name].curve.keys(maps) >= localization.validation.thresholds[name]
    shown = []
    for picture, calls, sample in zip((coloured * 255).astype(np.uint8), called, samples, strict=True):
        outcome = torch.where(sample.mask, 1 + calls.byte(), 3 * calls.byte())
        caption = f"{sample.caption} · {name}, {low:.3g} to {high:.3g}"
        shown.append(Shown(picture, caption, "outcome", outcome.numpy().astype(np.uint8), OUTCOME))
    return shown


def wandb_pictures(localization: LocalizationCallback) -> dict[str, Any]:
    """The pictures as W&B's: of one test image after the other all keys, as long as they fit into BUDGET."""
    logged: dict[str, list[Any]] = {}
    pictures = dict(pictures_of(localization))
    left = BUDGET
    for at in range(len(localization.samples)):
        for key, shown in pictures.items():
            image = _wandb_image(shown[at])
            left -= (image._size or 0) + shown[at].mask.size // 8
            if left < 0:
                return logged
            logged.setdefault(key, []).append(image)
    return logged


def _wandb_image(shown: Shown) -> Any:
    import wandb

    layer = {"mask_data": shown.mask, "class_labels": dict(shown.classes)}
    return wandb.Image(shown.picture, caption=shown.caption, file_type="jpg", masks={shown.layer: layer})
