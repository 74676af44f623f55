"""One slice or picture as it is shown: scaled, windowed, its anomalies outlined, its directions lettered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from torch import Tensor

TILE = 208  # pixels of a tile's longer side
# Okabe and Ito's orange, edged in black: told from grey, white and brown by every kind of colour vision
ANOMALY, HALO, LETTER = (255, 176, 0), (0, 0, 0), (120, 200, 255)
SMALL, FEW = 10, 4  # pixels of a tile, both ways, and regions: so few of so small ones have arrows as well
# left, right, top and bottom of a slice, as planes() turns them: radiologists look from the feet, this from the head
DIRECTIONS = {"axial": "LRAP", "coronal": "LRSI", "sagittal": "PASI"}
Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def fit(shape: Sequence[int]) -> tuple[int, int]:
    """The size of a tile with the picture's aspect; at least a third of TILE, whatever the aspect."""
    height, width = (max(round(TILE * side / max(shape)), TILE // 3) for side in shape)
    return height, width


def window(images: Sequence[Tensor], way: int | None) -> tuple[float, float]:
    """What is shown as black and white; pictures in colour (way None) are in [0, 1] as they are."""
    if way is None:
        return 0.0, 1.0
    values = np.concatenate([image[way].numpy().ravel() for image in images])
    low, high = (float(value) for value in np.percentile(values, [0.5, 99.5]))
    return (low, high) if high > low else (low, low + 1.0)


def shown(image: Tensor, way: int | None, limits: tuple[float, float]) -> Picture:
    """(C, H, W) as 8-bit colours (H, W, 3), of channel `way` or of all three."""
    low, high = limits
    chosen = image if way is None else image[way : way + 1].expand(3, -1, -1)
    return (((chosen - low) / (high - low)).clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()


def marked(picture: Picture, mask: Tensor) -> Picture:
    """The picture at the size of a tile, a line around each anomaly, outside it, so that nothing of it is covered."""
    height, width = fit(picture.shape[:2])
    large = np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
    region = _enlarged(mask, (height, width))
    gap = ndimage.binary_dilation(region, _DISK)
    line = ndimage.binary_dilation(gap, _DISK, iterations=2) & ~gap
    edge = ndimage.binary_dilation(line, _DISK) & ~gap & ~line
    large[edge] = HALO
    large[line] = ANOMALY
    return large


def pointers(mask: Tensor) -> list[tuple[int, int]]:
    """The middles (x, y) of a tile's anomalies where they are few and all small: arrows find what outlines alone hide."""
    region = _enlarged(mask, fit(mask.shape))
    labels, _ = ndimage.label(region, np.ones((3, 3)))
    boxes = ndimage.find_objects(labels)
    sides = [max(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in boxes]
    if len(boxes) > FEW or max(sides, default=0) >= SMALL:
        return []
    return [((columns.start + columns.stop) // 2, (rows.start + rows.stop) // 2) for rows, columns in boxes]


def letter_directions(
    draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], plane: str, font: ImageFont.FreeTypeFont
) -> None:
    """Write the directions of the head at the edges of a tile, box = (left, top, right, bottom)."""
    left, top, right, bottom = box
    middle = ((left + right) // 2, (top + bottom) // 2)
    places = (
        (left + 3, middle[1], "lm"),
        (right - 3, middle[1], "rm"),
        (middle[0], top + 2, "mt"),
        (middle[0], bottom - 2, "mb"),
    )
    for text, (x, y, anchor) in zip(DIRECTIONS[plane], places, strict=True):
        draw.text((x, y), text, LETTER, font, anchor=anchor, stroke_width=1, stroke_fill=HALO)


def _enlarged(mask: Tensor, size: tuple[int, int]) -> Mask:
    """A mask (H, W) at the size of a tile: no anomalous pixel is lost where it shrinks."""
    height, width = size
    shrinks = width < mask.shape[1] or height < mask.shape[0]
    way = Image.Resampling.BOX if shrinks else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(mask.numpy().astype(np.uint8) * 255).resize((width, height), way)) > 0


_DISK = ndimage.generate_binary_structure(2, 1)
