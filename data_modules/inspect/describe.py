"""What a prepared dataset holds: subjects, slices, anomalous pixels, region sizes, intensities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.base.batch import AnomalyBatch
from data_modules.base.config import NiftiConfig
from data_modules.base.digests import Progress
from data_modules.base.names import dataset_name, unit_of
from data_modules.cases.case import SPLITS, Case
from data_modules.cases.cohorts import modalities
from data_modules.modules.base import AnomalyDataModule
from data_modules.readers.headers import header_size
from data_modules.store.store import SliceStore

BINS, CHUNK, FEW = 64, 256, 8
UNKNOWN = ("", "nan", "n/a", "na", "none")
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """A split, or all of them: how much there is. Pixels are counted at the size to which images are brought."""

    subjects: int
    slices: int
    normal: int
    anomalous: int
    foreground_pixels: int
    anomalous_pixels: int

    @property
    def share(self) -> float:
        """The share of the foreground pixels that are anomalous."""
        return self.anomalous_pixels / max(self.foreground_pixels, 1)


@dataclass(frozen=True)
class Intensities:
    """Histograms of one channel's foreground pixels: edges (BINS + 1), counts of normal and of anomalous pixels (BINS)."""

    channel: str
    edges: list[float]
    normal: list[int]
    anomalous: list[int]


@dataclass(frozen=True)
class Description:
    """What a dataset holds, as `describe` found it.

    parts: 'all', every split, and 'left out' where a split leaves some out; regions: for each size in pixels how many
    8-connected anomalous regions have it, in a slice; attributes: per attribute either the counts of its values or {min,
    median, max} of its numbers, and 'missing'; sources: sizes of the files, of volumes with their spacing, the most
    frequent first, with counts; grids: the same of what preprocessing makes of volumes and is sliced; dropped: the share of
    the anomalous voxels in slices that were left out; unit: what the subjects are, 'subject' or 'picture'.
    """

    dataset: str
    root: str
    fingerprint: str
    channels: list[str]
    size: list[int]
    parts: dict[str, Part]
    regions: dict[int, int]
    intensities: list[Intensities]
    attributes: dict[str, dict[str, Any]]
    sources: dict[str, int] = field(default_factory=dict)
    grids: dict[str, int] = field(default_factory=dict)
    dropped: float = 0.0
    unit: str = "subject"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = asdict(self)
        for name, part in self.parts.items():
            plain["parts"][name]["share"] = part.share
        return plain


def describe(data: AnomalyDataModule, progress: Progress | None = None) -> Description:
    """Go through the slice store of a data module that is prepared and set up, twice, a few slices at a time."""
    store = data.store
    channels = channel_names(data)
    tally = _Tally(len(channels))
    steps = 2 * -(-len(store) // CHUNK)
    for done, (first, batch) in enumerate(_chunks(store)):
        tally.count(first, batch, len(store))
        if progress:
            progress(done + 1, steps)
    histograms = [_Histogram(low, high) for low, high in zip(tally.low, tally.high, strict=True)]
    for done, (_, batch) in enumerate(_chunks(store)):
        for channel, histogram in enumerate(histograms):
            histogram.count(batch, channel)
        if progress:
            progress(steps // 2 + done + 1, steps)
    return Description(
        dataset=dataset_name(data.config),
        root=str(data.root()),
        fingerprint=data.fingerprint,
        channels=channels,
        size=list(data.image_shape[-2:]),
        parts=_parts(data, tally),
        regions={size: int(pixels) // size for size, pixels in sorted(tally.region_pixels.items())},
        intensities=[histogram.result(name) for histogram, name in zip(histograms, channels, strict=True)],
        attributes=summarize(data.cases),
        sources=_counts(_sources(data)),
        grids=_counts(map(_grid, store.geometry)) if isinstance(data.config, NiftiConfig) else {},
        dropped=store.dropped,
        unit=unit_of(data.config),
    )


def channel_names(data: AnomalyDataModule) -> list[str]:
    """The modalities of volumes; grey or red, green, blue of pictures."""
    if isinstance(data.config, NiftiConfig):
        return modalities(data.config)
    count = data.image_shape[0]
    return {1: ["grey"], 3: ["red", "green", "blue"]}.get(count, [str(channel) for channel in range(count)])


def summarize(cases: Sequence[Case]) -> dict[str, dict[str, Any]]:
    """Per attribute of the subjects: {min, median, max} of numbers of which there are more than a few, else counts."""
    keys = sorted({key for case in cases for key in case.attributes})
    summary: dict[str, dict[str, Any]] = {}
    for key in keys:
        values = [case.attributes[key] for case in cases if key in case.attributes]
        values = [value for value in values if value.strip().lower() not in UNKNOWN]
        numbers = _numbers(values)
        if numbers is not None and len(set(values)) > FEW:
            numeric = {"min": numbers.min(), "median": np.median(numbers), "max": numbers.max()}
            summary[key] = {name: float(value) for name, value in numeric.items()}
        else:
            summary[key] = {"counts": dict(Counter(values).most_common())}
        summary[key]["missing"] = len(cases) - len(values)
    return summary


def size_bins(regions: dict[int, int]) -> list[tuple[int, int, int]]:
    """Regions by size in bins that double: (first size, last size, how many), up to the largest region."""
    bins: list[tuple[int, int, int]] = []
    low = 1
    while regions and low <= max(regions):
        bins.append((low, 2 * low - 1, sum(count for size, count in regions.items() if low <= size < 2 * low)))
        low *= 2
    return bins


def _chunks(store: SliceStore) -> Iterator[tuple[int, AnomalyBatch]]:
    for first in range(0, len(store), CHUNK):
        yield first, store.batch(np.arange(first, min(first + CHUNK, len(store)), dtype=np.int64))


class _Tally:
    """The first pass: pixels of every slice, region sizes and the range of every channel."""

    def __init__(self, channels: int) -> None:
        self.foreground: Counts = np.zeros(0, np.int64)
        self.anomalous: Counts = np.zeros(0, np.int64)
        self.region_pixels: Counter[int] = Counter()
        self.low, self.high = [np.inf] * channels, [-np.inf] * channels

    def count(self, first: int, batch: AnomalyBatch, total: int) -> None:
        if first == 0:
            self.foreground, self.anomalous = np.zeros(total, np.int64), np.zeros(total, np.int64)
        rows = slice(first, first + len(batch["slice"]))
        foreground = batch["foreground"][:, 0]
        self.foreground[rows] = foreground.flatten(1).sum(1).numpy()
        self.anomalous[rows] = batch["mask"].flatten(1).sum(1).numpy()
        # a pixel's weight is 1/size of its region, so that sizes need no second search for regions
        sizes = (1.0 / batch["region_weight"][batch["mask"]].double()).round().long().numpy()
        self.region_pixels.update(
            {int(size): int(n) for size, n in zip(*np.unique(sizes, return_counts=True), strict=True)}
        )
        for channel in range(len(self.low)):
            values = batch["image"][:, channel][foreground]
            if len(values):
                self.low[channel] = min(self.low[channel], float(values.min()))
                self.high[channel] = max(self.high[channel], float(values.max()))


class _Histogram:
    """The second pass, of one channel."""

    def __init__(self, low: float, high: float) -> None:
        low, high = (low, high) if np.isfinite(low) else (0.0, 1.0)
        self.edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
        self.normal, self.anomalous = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)

    def count(self, batch: AnomalyBatch, channel: int) -> None:
        image = batch["image"][:, channel]
        foreground, mask = batch["foreground"][:, 0], batch["mask"][:, 0]
        self.normal += np.histogram(image[foreground & ~mask].numpy(), self.edges)[0]
        self.anomalous += np.histogram(image[foreground & mask].numpy(), self.edges)[0]

    def result(self, channel: str) -> Intensities:
        return Intensities(channel, self.edges.tolist(), self.normal.tolist(), self.anomalous.tolist())


def _parts(data: AnomalyDataModule, tally: _Tally) -> dict[str, Part]:
    store = data.store
    part_of = {name: part for part in SPLITS for name in data.split[part]}
    of_slice = np.array([part_of.get(name, "") for name in store.subjects])[store.subject]
    chosen = {"all": np.ones(len(store), dtype=bool), **{part: of_slice == part for part in SPLITS}}
    if (unused := of_slice == "").any():
        chosen["left out"] = unused
    return {
        name: Part(
            subjects=len(np.unique(store.subject[rows])),
            slices=int(rows.sum()),
            normal=int(store.normal[rows].sum()),
            anomalous=int(store.anomalous[rows].sum()),
            foreground_pixels=int(tally.foreground[rows].sum()),
            anomalous_pixels=int(tally.anomalous[rows].sum()),
        )
        for name, rows in chosen.items()
    }


def _sources(data: AnomalyDataModule) -> list[str]:
    """The size of each subject's file: of a volume as its header says, of a picture in pixels, height first."""
    if isinstance(data.config, NiftiConfig):
        return [header_size(case.root / next(iter(case.images.values()))) for case in data.cases]
    return [f"{'×'.join(str(side) for side in geometry.get('shape', ()))} pixels" for geometry in data.store.geometry]


def _counts(texts: Iterable[str]) -> dict[str, int]:
    return dict(Counter(texts).most_common())


def _grid(geometry: dict[str, Any]) -> str:
    """The size of a volume as it is sliced, in RAS."""
    size = "×".join(str(side) for side in geometry.get("shape", ()))
    sides = np.linalg.norm(np.array(geometry["affine"])[:3, :3], axis=0)
    return f"{size} voxels of {'×'.join(f'{side:.3g}' for side in sides)} mm"


def _numbers(values: Sequence[str]) -> NDArray[np.float64] | None:
    try:
        return np.array([float(value) for value in values]) if values else None
    except ValueError:
        return None
