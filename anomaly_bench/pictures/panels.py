"""Picture panels: what each predictor made of some images, beside their masks and reconstructions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor

from anomaly_bench.metrics.images import image_ap
from anomaly_bench.models import VAE
from anomaly_bench.models.slices import middle_of
from data_modules.base.batch import AnomalyBatch
from leaderboard.record import PanelRow, Rank

from .model import prior_pictures
from .montage import Bar, montage, outlined, tile
from .scale import LABELLED, Picture, coloured, heights_of, share_text

WHY = "which has the highest AP on validation of those that use the model"
FIRST = "the first predictor that uses the model, as no validation image is anomalous"


@dataclass(frozen=True)
class Sample:
    """One image (C, H, W), mask and foreground (H, W) bool, reconstruction (C, H, W) and the maps (H, W) by predictor.

    image: as the model sees it, so maybe with its neighbours; `shown` is without. rank, ap: how it stands among the images of a
    test under the predictor that decides, and that one's AP in it.
    """

    caption: str
    image: Tensor
    mask: Tensor
    foreground: Tensor
    reconstruction: Tensor
    maps: dict[str, Tensor]
    rank: Rank = ""
    ap: float | None = None

    @property
    def shown(self) -> Tensor:
        """What of the image is reconstructed and drawn, (C, H, W)."""
        return middle_of(self.image, len(self.reconstruction))


@dataclass(frozen=True)
class Calibrated:
    """The one scale of all maps once they are calibrated: the share of normal validation pixels that score lower.

    shares: from a predictor's name and its scores to shares, same shape. threshold: the share from which on a pixel is called
    anomalous. decided_by: the predictor whose AP ranks the samples; validated: whether it has the highest on validation, where
    else no image is anomalous and it is the first one.
    """

    shares: Callable[[str, Tensor], Tensor]
    threshold: float
    decided_by: str
    validated: bool = True

    def picture(self, name: str, sample: Sample) -> Picture:
        """A map in colours, (H, W, 3)."""
        return coloured(heights_of(self.shares(name, sample.maps[name]).numpy()), sample.foreground.numpy())

    def row(self, name: str, sample: Sample) -> PanelRow:
        """How a map of one image ranks its pixels, and what it calls anomalous at the threshold."""
        scores, mask = (part[sample.foreground] for part in (sample.maps[name], sample.mask))
        called = self.shares(name, scores) >= self.threshold
        counts = (int(part.sum()) for part in (mask, called & mask, called & ~mask))
        return PanelRow(sample.caption, sample.rank, sample.ap, image_ap(scores.numpy(), mask.numpy()), *counts)

    def bar(self, name: str = "") -> Bar:
        """That of every map."""
        labels = zip(heights_of(LABELLED).tolist(), map(share_text, LABELLED), strict=True)
        return Bar([*labels], float(heights_of(self.threshold)))

    @property
    def why(self) -> str:
        """Why this predictor decides."""
        return WHY if self.validated else FIRST

    @property
    def notes(self) -> list[str]:
        """What is shown, in words."""
        return [
            "Rows: the best and the worst of all anomalous test images and some between, by their AP under "
            f"{self.decided_by}, {self.why}.",
            "Colour: share of normal validation pixels that score lower, one scale for all maps; white: not foreground. "
            f"Arrow: threshold, {share_text(self.threshold)}. Outline: mask.",
        ]


class Stretched:
    """A scale for each predictor's maps while a model trains: from the lowest to the highest score shown, in the foreground."""

    decided_by = why = ""
    notes = (
        "Colour: from the lowest to the highest score in each column, not calibrated yet; white: not foreground. "
        "Outline: mask.",
    )

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.ranges = {name: _range([s.maps[name][s.foreground] for s in samples]) for name in samples[0].maps}

    def picture(self, name: str, sample: Sample) -> Picture:
        """A map in colours, (H, W, 3)."""
        low, high = self.ranges[name]
        heights = (sample.maps[name].float().numpy() - low) / (high - low or 1.0)
        return coloured(heights, sample.foreground.numpy())

    def row(self, name: str, sample: Sample) -> PanelRow:
        """Nothing is called anomalous yet."""
        return PanelRow(sample.caption)

    def bar(self, name: str = "") -> Bar:
        """That of a predictor, or of all together."""
        lowest, highest = (f"{value:.2g}" for value in self.ranges[name]) if name else ("lowest", "highest")
        return Bar([(0.0, lowest), (1.0, highest)])


def samples_of(
    batch: AnomalyBatch,
    reconstruction: Tensor,
    maps: Mapping[str, Tensor],
    chosen: Sequence[int],
    subjects: Mapping[int, str],
) -> list[Sample]:
    """The chosen images of a batch, by position, with reconstruction (B, C, H, W) and maps (B, 1, H, W) by predictor.

    subjects: names by id.
    """
    samples = []
    for index in chosen:
        caption = f"{subjects[int(batch['subject'][index])]} · {int(batch['slice'][index])}"
        parts = (batch["image"], batch["mask"], batch["foreground"], reconstruction)
        image, mask, foreground, decoded = (part[index].detach().cpu() for part in parts)
        shown = {name: score[index, 0].cpu() for name, score in maps.items()}
        samples.append(Sample(caption, image, mask[0], foreground[0], decoded, shown))
    return samples


def draw_panels(samples: Sequence[Sample], folder: Path, calibrated: Calibrated | None = None) -> None:
    """Write `<predictor>.png` for every predictor and `overview.png` with all of them; nothing without samples.

    Maps are drawn inside the foreground, on the calibrated scale or else each predictor's on its own; masks are outlined.
    """
    if not samples:
        return
    folder.mkdir(parents=True, exist_ok=True)
    scale = calibrated or Stretched(samples)
    masks = [sample.mask.numpy() for sample in samples]
    images = [grey(sample.shown) for sample in samples]
    maps = {name: [scale.picture(name, sample) for sample in samples] for name in samples[0].maps}
    common = {
        "image": [tile(image) for image in images],
        "mask": list(map(outlined, images, masks)),
        "reconstruction": [tile(grey(sample.reconstruction)) for sample in samples],
    }
    columns = {name: list(map(outlined, pictures, masks)) for name, pictures in maps.items()}
    rows = [PanelRow(sample.caption, sample.rank, sample.ap) for sample in samples]
    sheets = {
        name: ({name: column}, [scale.row(name, sample) for sample in samples], scale.bar(name))
        for name, column in columns.items()
    }
    for title, (shown, own, bar) in {**sheets, "overview": (columns, rows, scale.bar())}.items():
        picture, info = montage({**common, **shown}, own, bar, scale.notes, scale.decided_by, scale.why)
        picture.save(folder / f"{title}.png", pnginfo=info)


def draw_model(samples: Sequence[Sample], model: pl.LightningModule, folder: Path) -> None:
    """Write `model.png`: the images of the samples beside their reconstructions and as many decoded samples of the prior.

    Nothing without samples.
    """
    if not samples:
        return
    assert isinstance(model, VAE)
    columns: dict[str, Iterable[Tensor]] = {
        "image": [sample.shown for sample in samples],
        "reconstruction": [sample.reconstruction for sample in samples],
        **prior_pictures(model, len(samples)),
    }
    tiles = {title: [tile(grey(picture.cpu())) for picture in column] for title, column in columns.items()}
    picture, info = montage(tiles, [PanelRow(sample.caption) for sample in samples])
    picture.save(folder / "model.png", pnginfo=info)


def grey(image: Tensor) -> Picture:
    """(C, H, W) in about [0, 1] to (H, W, 3); other than three channels are shown by their mean."""
    shown = image if len(image) == 3 else image.mean(0, keepdim=True).expand(3, -1, -1)
    return (shown.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()


def _range(scores: Sequence[Tensor]) -> tuple[float, float]:
    inside = torch.cat([*scores]).float()
    return (float(inside.min()), float(inside.max())) if len(inside) else (0.0, 0.0)
