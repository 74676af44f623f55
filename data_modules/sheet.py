"""The pictures of `describe`: a contact sheet with outlined anomalies, and histograms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from torch import Tensor

from .config import PictureConfig
from .describe import Description, channel_names, size_bins
from .module import AnomalyDataModule
from .names import dataset_name
from .split import SPLITS

ROWS, COLUMNS, TILE, GAP, MARGIN, LABEL, HEADER, CAPTION = 12, 6, 176, 10, 18, 180, 62, 22
INK, GREY, PAPER = (32, 32, 32), (110, 110, 110), (255, 255, 255)
# Okabe and Ito's sky blue, edged in black: told from grey, white and brown by every kind of colour vision
OUTLINE, HALO = (86, 180, 233), (0, 0, 0)
NORMAL, ANOMALOUS = "#0072B2", "#D55E00"
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Tile:
    """One slice: its image (C, H, W) in units of the window that is shown, its mask (H, W) bool."""

    image: Tensor
    mask: Tensor
    caption: str


@dataclass(frozen=True)
class Row:
    """A subject, or a folder of pictures: lines of text, the first of them large, and some of its slices."""

    lines: list[str]
    tiles: list[Tile]


def contact_sheet(data: AnomalyDataModule, path: Path) -> None:
    """Write a PNG: a row for each of some subjects (folders, for pictures), their slices with the anomalies outlined.

    Volumes of several channels show each; the window is the 0.5th to 99.5th percentile of a channel over the slices shown.
    """
    channels = channel_names(data)
    coloured = data.image_shape[0] == 3 and channels == ["red", "green", "blue"]
    groups = _groups(data)
    shown = {name: groups[name] for name in _spread(list(groups), ROWS)}
    per_row = COLUMNS if coloured or len(channels) == 1 else max(1, COLUMNS // len(channels))
    rows = [_row(data, name, slices, per_row) for name, slices in shown.items()]
    ways: dict[int | None, str] = {None: ""} if coloured else dict(enumerate(channels))
    size = "×".join(str(side) for side in data.image_shape[1:])
    what = "" if coloured or channels == ["grey"] else f", {', '.join(channels)}"
    left_out = f"; {len(shown)} of {len(groups)} rows shown" if len(shown) < len(groups) else ""
    title = f"{dataset_name(data.config)}{what}, {size} pixels{left_out}"
    _draw(rows, ways, title).save(path)


def draw_histograms(description: Description, path: Path) -> None:
    """Write a PNG: the intensities of normal and anomalous foreground pixels per channel, and the sizes of regions."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = len(description.intensities) + 1
    columns = 2 if panels in (2, 4) else 3
    lines = -(-panels // columns)
    figure = Figure(figsize=(4.6 * columns, 3.4 * lines), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axis, channel in zip(axes, description.intensities, strict=False):
        for name, counts, colour in (("normal", channel.normal, NORMAL), ("anomalous", channel.anomalous, ANOMALOUS)):
            if density := _density(counts, channel.edges):
                axis.stairs(density, channel.edges, fill=True, alpha=0.3, color=colour)
                axis.stairs(density, channel.edges, color=colour, linewidth=1.5, label=f"{name} pixels")
        axis.set(title=f"intensity, {channel.channel}", xlabel="intensity as the model sees it", ylabel="density")
    bins = size_bins(description.regions)
    labels = [str(low) if low == high else f"{low}–{high}" for low, high, _ in bins]
    axes[panels - 1].bar(range(len(bins)), [count for *_, count in bins], color=ANOMALOUS, width=0.85)
    axes[panels - 1].set_xticks(range(len(bins)), labels, rotation=40, ha="right")
    axes[panels - 1].set(title="anomalous regions", xlabel="pixels of a region, in a slice", ylabel="regions")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[panels:]:
        axis.set_visible(False)
    share = description.parts["all"].share
    figure.suptitle(f"{description.dataset}: {share:.2%} of the foreground is anomalous", x=0.01, ha="left")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    figure.savefig(path)


def _density(counts: Sequence[int], edges: Sequence[float]) -> list[float]:
    total = sum(counts)
    return [count / total / (edges[1] - edges[0]) for count in counts] if total else []


def _groups(data: AnomalyDataModule) -> dict[str, NDArray[np.int64]]:
    """The slices of every row, by title: a volume's own; pictures by folder, the normal and the anomalous ones apart."""
    store, groups = data.store, dict[str, list[int]]()
    pictures = isinstance(data.config, PictureConfig)
    names = [
        f"{PurePosixPath(store.subjects[subject]).parent}\n{'anomalous' if anomalous else 'normal'}"
        if pictures
        else store.subjects[subject]
        for subject, anomalous in zip(store.subject, store.anomalous, strict=True)
    ]
    for index, name in enumerate(names):
        groups.setdefault(name, []).append(index)
    return {name: np.array(groups[name], dtype=np.int64) for name in sorted(groups)}


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """Up to `count` items, evenly spread over all."""
    if len(items) <= count:
        return list(items)
    return [items[round(position)] for position in np.linspace(0, len(items) - 1, count)]


def _row(data: AnomalyDataModule, name: str, slices: NDArray[np.int64], count: int) -> Row:
    """From each of `count` stretches the middle picture; of a volume, the slice with most anomalous pixels if it has any."""
    store, pictures = data.store, "\n" in name
    chosen = []
    for stretch in np.array_split(slices, min(count, len(slices))):
        anomalous = stretch[store.anomalous[stretch] & (not pictures)]
        areas = store.batch(anomalous)["mask"].flatten(1).sum(1).numpy() if len(anomalous) else np.zeros(0)
        chosen.append(anomalous[areas.argmax()] if len(anomalous) else stretch[len(stretch) // 2])
    batch = store.batch(np.array(chosen))
    tiles = []
    for at, index in enumerate(chosen):
        pixels = int(batch["mask"][at].sum())
        stem = PurePosixPath(store.subjects[store.subject[index]]).stem
        what = stem if pictures else f"slice {store.slice[index]}"
        caption = f"{what} · {pixels} px" if pixels else what
        tiles.append(Tile(batch["image"][at], batch["mask"][at, 0], caption))
    return Row(_lines(data, name, slices), tiles)


def _lines(data: AnomalyDataModule, name: str, slices: NDArray[np.int64]) -> list[str]:
    title, _, kind = name.partition("\n")
    if kind:
        return [title, f"{len(slices)} {kind} pictures"]
    part = next(part for part in SPLITS if name in data.split[part])
    anomalous = int(data.store.anomalous[slices].sum())
    known = next((case.attributes for case in data.cases if case.subject == name), {})
    return [title, part, f"{len(slices)} slices", f"{anomalous} anomalous", *(f"{k} {v}" for k, v in known.items())][:7]


def _draw(rows: Sequence[Row], ways: dict[int | None, str], title: str) -> Image.Image:
    height, width = _fit(rows[0].tiles[0].image.shape[1:])
    across = max(len(row.tiles) for row in rows) * len(ways)
    step = height + CAPTION + GAP
    size = (2 * MARGIN + LABEL + across * (width + GAP), 2 * MARGIN + HEADER + len(rows) * step)
    canvas = Image.new("RGB", (max(size[0], 640), size[1]), PAPER)
    draw = ImageDraw.Draw(canvas)
    large, middle, small = (_font(points) for points in (19, 13, 12))
    draw.text((MARGIN, MARGIN), _cut(title, large, canvas.width - 2 * MARGIN), INK, large)
    _legend(draw, middle)
    windows = {way: _window(rows, way) for way in ways}
    for number, row in enumerate(rows):
        top = MARGIN + HEADER + number * step
        for line, text in enumerate(row.lines):
            font, ink = (middle, INK) if line == 0 else (small, GREY)
            draw.text((MARGIN, top + line * 18), _cut(text, font, LABEL - GAP), ink, font)
        for at, tile in enumerate(row.tiles):
            left = MARGIN + LABEL + at * len(ways) * (width + GAP)
            for channel, (way, modality) in enumerate(ways.items()):
                place = left + channel * (width + GAP)
                picture = _outlined(_shown(tile.image, way, windows[way]), tile.mask, (height, width))
                canvas.paste(Image.fromarray(picture), (place, top))
                caption = (
                    tile.caption if len(ways) == 1 else f"{modality} · {tile.caption}" if not channel else modality
                )
                draw.text((place, top + height + 4), _cut(caption, small, width), INK, small)
    return canvas


def _legend(draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont) -> None:
    top = MARGIN + 30
    draw.rectangle((MARGIN, top + 2, MARGIN + 16, top + 16), outline=HALO, width=4)
    draw.rectangle((MARGIN + 1, top + 3, MARGIN + 15, top + 15), outline=OUTLINE, width=2)
    draw.text((MARGIN + 24, top), "around what is anomalous; px: how many pixels of it the slice has", GREY, font)


def _fit(shape: Sequence[int]) -> tuple[int, int]:
    """The size of a tile with the picture's aspect; at least a third of TILE, whatever the aspect."""
    height, width = (max(round(TILE * side / max(shape)), TILE // 3) for side in shape)
    return height, width


def _window(rows: Sequence[Row], way: int | None) -> tuple[float, float]:
    """What is shown as black and white; pictures in colour are in [0, 1] as they are."""
    if way is None:
        return 0.0, 1.0
    values = np.concatenate([tile.image[way].numpy().ravel() for row in rows for tile in row.tiles])
    low, high = (float(value) for value in np.percentile(values, [0.5, 99.5]))
    return (low, high) if high > low else (low, low + 1.0)


def _shown(image: Tensor, way: int | None, window: tuple[float, float]) -> Picture:
    low, high = window
    chosen = image if way is None else image[way : way + 1].expand(3, -1, -1)
    return (((chosen - low) / (high - low)).clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()


def _outlined(picture: Picture, mask: Tensor, size: tuple[int, int]) -> Picture:
    """The picture at the size of a tile with a line around the mask, outside it, so that nothing of it is covered."""
    height, width = size
    large = np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
    shrinks = width < mask.shape[1] or height < mask.shape[0]
    way = Image.Resampling.BOX if shrinks else Image.Resampling.NEAREST
    region = np.asarray(Image.fromarray(mask.numpy().astype(np.uint8) * 255).resize((width, height), way)) > 0
    line = ndimage.binary_dilation(region, iterations=2)
    large[ndimage.binary_dilation(line) & ~line] = HALO
    large[line & ~region] = OUTLINE
    return large


def _font(points: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has the letters of most names."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), points)


def _cut(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, with … in its middle if it is too wide."""
    kept = len(text)
    cut = text
    while font.getlength(cut) > width and kept > 2:
        kept -= 1
        cut = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return cut
