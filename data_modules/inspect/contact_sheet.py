"""The contact sheet of `describe`: slices of some subjects, with their anomalies outlined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from data_modules.base.config import NiftiConfig, PictureConfig
from data_modules.base.names import dataset_name
from data_modules.cases.case import SPLITS
from data_modules.modules.base import AnomalyDataModule

from .describe import channel_names
from .tiles import ANOMALY, HALO, fit, letter_directions, marked, pointers, shown, window

ROWS, COLUMNS, GAP, MARGIN, LABEL, HEADER, CAPTION, ARROW = 12, 6, 10, 18, 180, 62, 22, 14
INK, GREY, PAPER = (32, 32, 32), (110, 110, 110), (255, 255, 255)


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
    size = "×".join(str(side) for side in data.image_shape[-2:])
    what = "" if coloured or channels == ["grey"] else f", {', '.join(channels)}"
    left_out = f"; {len(shown)} of {len(groups)} rows shown" if len(shown) < len(groups) else ""
    title = f"{dataset_name(data.config)}{what}, {size} pixels{left_out}"
    plane = data.config.plane if isinstance(data.config, NiftiConfig) else None
    _draw(rows, ways, title, plane).save(path)


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
    for position, index in enumerate(chosen):
        pixels = int(batch["mask"][position].sum())
        stem = PurePosixPath(store.subjects[store.subject[index]]).stem
        what = stem if pictures else f"slice {store.slice[index]}"
        caption = f"{what} · {pixels} px" if pixels else what
        tiles.append(Tile(batch["image"][position], batch["mask"][position, 0], caption))
    return Row(_lines(data, name, slices), tiles)


def _lines(data: AnomalyDataModule, name: str, slices: NDArray[np.int64]) -> list[str]:
    title, _, kind = name.partition("\n")
    if kind:
        return [title, f"{len(slices)} {kind} pictures"]
    part = next((part for part in SPLITS if name in data.split[part]), "left out")
    anomalous = int(data.store.anomalous[slices].sum())
    known = next((case.attributes for case in data.cases if case.subject == name), {})
    return [title, part, f"{len(slices)} slices", f"{anomalous} anomalous", *(f"{k} {v}" for k, v in known.items())][:7]


def _draw(rows: Sequence[Row], ways: dict[int | None, str], title: str, plane: str | None) -> Image.Image:
    height, width = fit(rows[0].tiles[0].image.shape[1:])
    across = max(len(row.tiles) for row in rows) * len(ways)
    step = height + CAPTION + GAP
    size = (2 * MARGIN + LABEL + across * (width + GAP), 2 * MARGIN + HEADER + len(rows) * step)
    canvas = Image.new("RGB", (max(size[0], 760), size[1]), PAPER)
    draw = ImageDraw.Draw(canvas)
    large, middle, small = (_font(points) for points in (19, 13, 12))
    draw.text((MARGIN, MARGIN), _cut(title, large, canvas.width - 2 * MARGIN), INK, large)
    _legend(draw, middle, plane)
    limits = {way: window([tile.image for row in rows for tile in row.tiles], way) for way in ways}
    for number, row in enumerate(rows):
        top = MARGIN + HEADER + number * step
        for line, text in enumerate(row.lines):
            font, ink = (middle, INK) if line == 0 else (small, GREY)
            draw.text((MARGIN, top + line * 18), _cut(text, font, LABEL - GAP), ink, font)
        for column, tile in enumerate(row.tiles):
            for channel, (way, modality) in enumerate(ways.items()):
                left = MARGIN + LABEL + (column * len(ways) + channel) * (width + GAP)
                canvas.paste(Image.fromarray(marked(shown(tile.image, way, limits[way]), tile.mask)), (left, top))
                for x, y in pointers(tile.mask):
                    _arrow(draw, left + x, top + y, left + width)
                if plane is not None:
                    letter_directions(draw, (left, top, left + width, top + height), plane, small)
                text = f"{modality} · {tile.caption}" if not channel else modality
                draw.text(
                    (left, top + height + 4), _cut(tile.caption if len(ways) == 1 else text, small, width), INK, small
                )
    return canvas


def _arrow(draw: ImageDraw.ImageDraw, x: int, y: int, right: int) -> None:
    """An arrow that ends beside (x, y), and comes from the right, or from the left where there is no room."""
    side = 1 if x + ARROW + 8 < right else -1
    near, far = x + side * 8, x + side * (8 + ARROW)
    for colour, wide in ((HALO, 5), (ANOMALY, 2)):
        draw.line((near, y, far, y), colour, wide)
        grown = wide - 2
        head = [
            (near - side * grown, y),
            (near + side * (5 + grown), y - 4 - grown),
            (near + side * (5 + grown), y + 4 + grown),
        ]
        draw.polygon(head, colour)


def _legend(draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, plane: str | None) -> None:
    top = MARGIN + 30
    draw.rectangle((MARGIN, top + 1, MARGIN + 17, top + 17), outline=HALO, fill=(128, 128, 128), width=1)
    draw.rectangle((MARGIN + 2, top + 3, MARGIN + 15, top + 15), outline=ANOMALY, width=2)
    text = "around an anomaly"
    draw.text((MARGIN + 26, top), text, GREY, font)
    x = round(MARGIN + 26 + font.getlength(text) + 26)
    _arrow(draw, x - 8, top + 9, x + 100)
    text = "at small ones; px: anomalous pixels"
    if plane is not None:
        text += "; L R A P S I: left, right, front, back, top, bottom of the head"
    draw.text((x + ARROW + 10, top), text, GREY, font)


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
