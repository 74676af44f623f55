"""The picture of an input: where its map is strongest, drawn on it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from anomaly_bench.pictures.montage import OUTLINE, outline
from anomaly_bench.pictures.scale import LABELLED, PALETTE, heights_of, share_text

from .opened import Opened

Array = NDArray[Any]
SLICES = 4
TILE, GAP, MARGIN, HEADER, CAPTION, BAR = 300, 8, 16, 58, 22, 86
PAPER, INK, FAINT = (17, 19, 24), (236, 238, 242), (150, 156, 168)
TRUTH = (126, 240, 110)
LOWEST = 0.9  # the share of normal pixels up to which the image alone is seen
TOP_SHARE = 0.01
LUMA, DIMMED = np.array([0.299, 0.587, 0.114]), 0.8
FEW = 0.15  # of the pixels of the fullest slice: one with fewer is not shown


class Tile(NamedTuple):
    """One slice or picture as it is drawn: grey (h, w) or colour (h, w, 3), the strength of its map in [0, 1], outlines."""

    caption: str
    image: Array
    strength: Array
    called: Array
    truth: Array | None


def draw_overlay(
    opened: Opened,
    predictor: str,
    found: dict[str, Any],
    raw: Array,
    calibrated: Array,
    segmentation: Array,
    mask: tuple[Array, Array] | None,
) -> bytes:
    """A PNG: the slices with the strongest response, or the picture, bare and under its map.

    The map's colour is the share of normal validation pixels that score lower, on a logarithmic scale from 90 % to 99.99 %; a
    line runs around what is called anomalous, and another one around the mask if there is one. Slices are seen from the feet,
    from the front or from the left, as radiologists do: letters say which side is which.
    """
    arrays = [
        opened.background(),
        *(opened.as_planes(part) for part in (raw, calibrated, segmentation, opened.back.looked)),
    ]
    truth = None if mask is None else opened.as_planes(mask[0])
    chosen = strongest(arrays[1], arrays[4])
    window, flipped, marks = opened.view(arrays[4])

    def shown(array: Array, index: int) -> Array:
        part: Array = array[index][window]
        return part[:, ::-1] if flipped else part

    tiles = [
        Tile(
            opened.caption(index),
            shown(arrays[0], index),
            heights_of(shown(arrays[2], index), LOWEST),
            shown(arrays[3], index),
            None if truth is None else shown(truth, index),
        )
        for index in chosen
    ]
    size = _tile_size(tiles[0].image.shape[:2], opened.pixel_sides, TILE if opened.pixel_sides else round(1.4 * TILE))
    title = f"{opened.item.name} · {predictor}"
    unit = "slices" if opened.pixel_sides else "pictures"
    line = f"score {found['image_score']:.3g}, higher than {place_text(found['higher_than'])} normal validation {unit}"
    return _png(_sheet(tiles, size, title, line, marks))


def place_text(share: float) -> str:
    """A share of normal images in words, rounded down: none of them is above what is 'all'."""
    return "all" if share >= 1 else f"{np.floor(share * 1000) / 10:.3g} % of"


def strongest(raw: Array, looked: Array) -> list[int]:
    """The slices, of maps (N, h, w), whose highest scores are the highest, no two next to each other; in their order."""
    counts = looked.sum(axis=(1, 2))
    usable = np.flatnonzero(counts >= max(1, FEW * counts.max()))
    peaks = {}
    for index in usable.tolist():
        scores = raw[index][looked[index]]
        top = max(1, round(TOP_SHARE * len(scores)))
        peaks[index] = float(np.partition(scores, -top)[-top:].mean())
    apart = max(1, len(usable) // (3 * SLICES))
    chosen: list[int] = []
    for index in sorted(peaks, key=lambda index: -peaks[index]):
        if len(chosen) < SLICES and all(abs(index - other) > apart for other in chosen):
            chosen.append(index)
    return sorted(chosen)


def _tile_size(shape: tuple[int, ...], sides: tuple[float, float] | None, longest: int) -> tuple[int, int]:
    """Width and height of a tile, true to the millimetres of its pixels."""
    height, width = (length * side for length, side in zip(shape, sides or (1.0, 1.0), strict=True))
    scale = longest / max(height, width)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _sheet(tiles: Sequence[Tile], size: tuple[int, int], title: str, line: str, marks: str) -> Image.Image:
    """Volumes: bare slices above, slices under their maps below. A picture: both side by side."""
    width, height = size
    across = len(tiles) if marks else 2
    rows = 2 if marks else 1
    needed = max(across * (width + GAP) - GAP + BAR, 520)
    caption = CAPTION if marks else 0
    canvas = Image.new(
        "RGB", (2 * MARGIN + needed, HEADER + rows * (height + GAP) - GAP + caption + 2 * MARGIN + 14), PAPER
    )
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, 12), title, INK, _font(17))
    draw.text((MARGIN, 35), line, FAINT, _font(13))
    for number, tile in enumerate(tiles):
        bare = _colour(tile.image, size)
        heated = _heated(bare, tile, size)
        places = [(number, 0), (number, 1)] if marks else [(0, 0), (1, 0)]
        for picture, (column, row) in zip((bare, heated), places, strict=True):
            left, top = MARGIN + column * (width + GAP), HEADER + row * (height + GAP)
            canvas.paste(Image.fromarray((picture * 255 + 0.5).astype(np.uint8)), (left, top))
            _mark(draw, marks, (left, top), size)
        below = HEADER + 2 * (height + GAP) - GAP + 5
        if marks:
            draw.text(
                (MARGIN + number * (width + GAP) + width // 2, below), tile.caption, FAINT, _font(12), anchor="ma"
            )
    _bar(canvas, draw, (MARGIN + across * (width + GAP) + 6, HEADER), rows * (height + GAP) - GAP)
    _legend(draw, canvas.height - MARGIN - 8, any(tile.truth is not None for tile in tiles))
    return canvas


def _colour(image: Array, size: tuple[int, int]) -> Array:
    """An image in [0, 1] at the tile's size, (h, w, 3)."""
    channels = image[..., None].repeat(3, -1) if image.ndim == 2 else image
    return np.stack(
        [_resized(channels[..., channel], size, Image.Resampling.BICUBIC) for channel in range(3)], -1
    ).clip(0, 1)


def _heated(bare: Array, tile: Tile, size: tuple[int, int]) -> Array:
    strength = _resized(tile.strength, size, Image.Resampling.BILINEAR).clip(0, 1)[..., None]
    colours = colormaps[PALETTE](0.35 + 0.6 * strength[..., 0])[..., :3]
    alpha = np.sqrt(strength) * 0.85
    grey = bare @ LUMA * DIMMED  # so that colour means the map alone
    heated = grey[..., None] * (1 - alpha) + colours * alpha
    for region, colour in ((tile.called, OUTLINE), (tile.truth, TRUTH)):
        if region is not None:
            heated[_border(region, size)] = np.array(colour) / 255
    return np.asarray(heated)


def _border(region: Array, size: tuple[int, int]) -> Array:
    large = _resized(region.astype(np.float32), size, Image.Resampling.BILINEAR) >= 0.5
    return outline(large)


def _resized(array: Array, size: tuple[int, int], how: Image.Resampling) -> Array:
    return np.asarray(Image.fromarray(np.ascontiguousarray(array, dtype=np.float32)).resize(size, how))


def _mark(draw: ImageDraw.ImageDraw, marks: str, corner: tuple[int, int], size: tuple[int, int]) -> None:
    left, top = corner
    width, height = size
    middle, centre = top + height // 2, left + width // 2
    sides = ((left + 5, middle, "lm"), (left + width - 5, middle, "rm"))
    ends = ((centre, top + 4, "ma"), (centre, top + height - 4, "md"))
    for letter, (x, y, anchor) in zip(marks, (*sides, *ends), strict=False):
        draw.text((x, y), letter, INK, _font(14), anchor=anchor, stroke_width=1, stroke_fill=(0, 0, 0))


def _bar(canvas: Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], height: int) -> None:
    left, top = corner
    strength = np.linspace(1, 0, height)[:, None, None]
    colours = colormaps[PALETTE](0.35 + 0.6 * strength[..., 0])[..., :3]
    ramp = np.full(3, 0.45) * (1 - np.sqrt(strength) * 0.85) + colours * np.sqrt(strength) * 0.85
    canvas.paste(Image.fromarray((ramp.repeat(14, axis=1) * 255).astype(np.uint8)), corner)
    for share, place in zip(LABELLED[1:], heights_of(LABELLED[1:], LOWEST).tolist(), strict=True):
        y = top + (height - 1) * (1 - place)
        anchor = {1.0: "lt", 0.0: "lb"}.get(place, "lm")
        draw.text((left + 20, y), share_text(share), INK, _font(12), anchor=anchor)


def _legend(draw: ImageDraw.ImageDraw, y: int, masked: bool) -> None:
    x = MARGIN
    parts = [(OUTLINE, "called anomalous"), *([(TRUTH, "mask")] if masked else [])]
    for colour, text in parts:
        draw.line((x, y, x + 18, y), colour, 2)
        draw.text((x + 24, y), text, FAINT, _font(12), anchor="lm")
        x += 24 + round(draw.textlength(text, _font(12))) + 18
    draw.text((x, y), "colour: share of normal pixels that score lower", FAINT, _font(12), anchor="lm")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _png(canvas: Image.Image) -> bytes:
    stream = io.BytesIO()
    canvas.save(stream, "PNG", compress_level=1)
    return stream.getvalue()
