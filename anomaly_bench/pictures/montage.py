"""Tiles in columns on one sheet of paper, a caption below each row, a colour bar beside them and what all means below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from scipy import ndimage

from leaderboard.record import PANEL, Panel, PanelRow

from .scale import PAPER, Picture, coloured

SIDE, GAP, MARGIN, TITLE, CAPTION, LINE = 144, 6, 12, 22, 24, 16
RAMP, BAR = 14, 74  # width of the colour bar, and with its labels
INK, FAINT, OUTLINE = (32, 32, 32), (96, 96, 96), (64, 224, 255)
TAGS = {"best": (0, 114, 178), "worst": (213, 94, 0), "between": (120, 120, 120)}

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Bar:
    """A colour bar: its labels, and a threshold if there is one, by their heights in [0, 1]."""

    labels: Sequence[tuple[float, str]]
    threshold: float | None = None


def tile_size(shape: Sequence[int]) -> tuple[int, int]:
    """Width and height of a tile of an image (H, W): SIDE or about so, a whole multiple of a small image's."""
    longest = max(shape)
    scale = max(1, round(SIDE / longest)) if longest <= SIDE else SIDE / longest
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def tile(picture: Picture) -> Picture:
    """A picture (H, W, 3) at the size of its tile."""
    size = tile_size(picture.shape[:2])
    how = Image.Resampling.BOX if size[1] < len(picture) else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize(size, how))


def outline(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A line of two pixels around a region (H, W), outside of it."""
    border: NDArray[np.bool_] = ndimage.binary_dilation(region, iterations=2) & ~region
    return border


def outlined(picture: Picture, region: NDArray[np.bool_]) -> Picture:
    """The tile of a picture with a line around a region of it, (H, W)."""
    size = tile_size(region.shape)
    border = outline(np.asarray(Image.fromarray(region).resize(size, Image.Resampling.NEAREST)))
    return np.where(border[..., None], np.array(OUTLINE, dtype=np.uint8), tile(picture))


def montage(
    columns: Mapping[str, Sequence[Picture]],
    rows: Sequence[PanelRow],
    bar: Bar | None = None,
    notes: Sequence[str] = (),
    decided_by: str = "",
    why: str = "",
) -> tuple[Image.Image, PngInfo]:
    """Titled columns of tiles of one size, a caption below each row, a bar at the right and notes below.

    The second is what the file has to be saved with: where all is on the sheet (`Panel`), for the leaderboard's report.
    """
    font, small = ImageFont.load_default(13), ImageFont.load_default(12)
    height, width = next(iter(columns.values()))[0].shape[:2]
    pitch = max(width, *(round(font.getlength(title)) for title in columns)) + GAP
    lefts = [MARGIN + at * pitch for at in range(len(columns))]
    right = lefts[-1] + pitch - GAP + (GAP + BAR if bar else 0)
    lines = [line for note in notes for line in _wrapped(note, small, right - MARGIN)]
    top, step = MARGIN + TITLE, height + CAPTION
    bottom = top + len(rows) * step
    canvas = Image.new("RGB", (right + MARGIN, bottom + MARGIN + LINE * len(lines)), PAPER)
    draw = ImageDraw.Draw(canvas)
    for left, (title, tiles) in zip(lefts, columns.items(), strict=True):
        draw.text((left, MARGIN), title, INK, font)
        for at, picture in enumerate(tiles):
            canvas.paste(Image.fromarray(picture), (left, top + at * step))
    for at, row in enumerate(rows):
        _caption(draw, row, (MARGIN, top + at * step + height + 3), small)
    for at, line in enumerate(lines):
        draw.text((MARGIN, bottom + 6 + LINE * at), line, FAINT, small)
    box = (right - BAR + GAP, top, RAMP, min(2, len(rows)) * step - CAPTION)
    if bar:
        _draw_bar(canvas, bar, box, small)
    panel = Panel(
        rows=list(rows),
        decided_by=decided_by,
        why=why,
        lefts=lefts,
        top=top,
        step=step,
        tile=(width, height),
        bar=box if bar else None,
        labels=list(bar.labels) if bar else [],
        threshold=bar.threshold if bar else None,
    )
    info = PngInfo()
    info.add_itxt(PANEL, msgspec.json.encode(panel).decode())
    return canvas, info


def _caption(draw: ImageDraw.ImageDraw, row: PanelRow, corner: tuple[int, int], font: Font) -> None:
    x, y = corner
    if row.rank:
        wide = round(font.getlength(row.rank)) + 10
        draw.rounded_rectangle((x, y, x + wide, y + 15), 3, TAGS[row.rank])
        draw.text((x + 5, y + 1), row.rank, PAPER, font)
        x += wide + 6
    known = "" if row.ap is None else f"AP {row.ap:.3f}   "
    draw.text((x, y + 1), f"{known}{row.caption}", INK, font)


def _draw_bar(canvas: Image.Image, bar: Bar, box: tuple[int, int, int, int], font: Font) -> None:
    draw, (left, top, width, height) = ImageDraw.Draw(canvas), box
    ramp = coloured(np.linspace(1, 0, height)[:, None].repeat(width, 1), np.ones((height, width), dtype=bool))
    canvas.paste(Image.fromarray(ramp), (left, top))
    for place, text in bar.labels:
        y = top + round((1 - place) * (height - 1))
        draw.line((left + width, y, left + width + 3, y), INK)
        draw.text((left + width + 6, min(max(y, top + 5), top + height - 6)), text, INK, font, anchor="lm")
    if bar.threshold is not None:
        y = top + round((1 - bar.threshold) * (height - 1))
        draw.polygon([(left - 8, y - 4), (left - 8, y + 4), (left - 2, y)], INK)


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
