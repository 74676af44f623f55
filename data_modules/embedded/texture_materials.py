"""The two materials of ``tiny_texture``: a plain weave and a board of wood, as colour images in [0, 1]."""

from collections.abc import Callable

import numpy as np

from .fields import FloatArray, spline_field

SIDE = 64
OVERSAMPLING = 2  # drawn finer and averaged, as a camera does
WEAVE_PERIOD = 8.0  # pixels from one thread to the next
WARP_COLOR = (0.80, 0.70, 0.52)
WEFT_COLOR = (0.36, 0.44, 0.56)
WOOD_LIGHT = (0.86, 0.66, 0.42)
WOOD_DARK = (0.38, 0.20, 0.10)


def _pixel_positions() -> tuple[FloatArray, FloatArray]:
    """Row and column of each fine sample, in pixels of the final image, both ``(n, n)``."""
    steps = (np.arange(SIDE * OVERSAMPLING) + 0.5) / OVERSAMPLING
    rows, columns = np.meshgrid(steps, steps, indexing="ij")
    return rows.astype(np.float32), columns.astype(np.float32)


def _averaged(fine: FloatArray) -> FloatArray:
    """Fine samples ``(n, n, 3)`` to pixels ``(SIDE, SIDE, 3)``."""
    return fine.reshape(SIDE, OVERSAMPLING, SIDE, OVERSAMPLING, 3).mean(axis=(1, 3))


def _color(rng: np.random.Generator, color: tuple[float, float, float]) -> FloatArray:
    """The colour as this piece of material has it."""
    return (np.asarray(color) * rng.normal(1.0, 0.015, 3)).astype(np.float32)


def weave(rng: np.random.Generator) -> FloatArray:
    """Warp and weft threads that cross over and under each other, ``(SIDE, SIDE, 3)``, nearly in phase everywhere."""
    rows, columns = _pixel_positions()
    turn = np.deg2rad(rng.normal(0.0, 0.4))
    shift = rng.uniform(-0.75, 0.75, 2)
    along = (rows * np.cos(turn) - columns * np.sin(turn) + shift[0]) / WEAVE_PERIOD
    across = (columns * np.cos(turn) + rows * np.sin(turn) + shift[1]) / WEAVE_PERIOD
    along = along + 0.03 * spline_field(rng, rows.shape, 24)
    across = across + 0.03 * spline_field(rng, rows.shape, 24)
    over = np.cos(np.pi * (np.floor(along) + np.floor(across)))  # +1 where the warp thread lies on top
    warp = np.sin(np.pi * (across % 1)) * (0.62 + 0.38 * over * np.sin(np.pi * (along % 1)))
    weft = np.sin(np.pi * (along % 1)) * (0.62 - 0.38 * over * np.sin(np.pi * (across % 1)))
    warp_fibre = 1 + 0.08 * spline_field(rng, rows.shape, (6.0, 2.0))
    weft_fibre = 1 + 0.08 * spline_field(rng, rows.shape, (2.0, 6.0))
    warp_color = (0.35 + 0.65 * warp * warp_fibre)[..., None] * _color(rng, WARP_COLOR)
    weft_color = (0.35 + 0.65 * weft * weft_fibre)[..., None] * _color(rng, WEFT_COLOR)
    return _averaged(np.where((warp > weft)[..., None], warp_color, weft_color))


def wood(rng: np.random.Generator) -> FloatArray:
    """Growth rings of uneven width along the board, gently bent, with pores, ``(SIDE, SIDE, 3)``."""
    rows, columns = _pixel_positions()
    bend = 0.35 * spline_field(rng, rows.shape, (70.0, 40.0)) + 2.0 * np.sin(rows / 21.0, dtype=np.float64)
    position = columns + bend + rng.uniform(-0.5, 0.5)
    uneven = position + 1.8 * np.sin(2 * np.pi * position / 37.0)
    ring = (uneven / 9.0) % 1
    late = np.where(ring < 0.8, ring / 0.8, (1 - ring) / 0.2) ** 2  # darkens slowly, then ends sharply
    grain = 0.05 * spline_field(rng, rows.shape, (20.0, 2.0))
    pores = np.clip(spline_field(rng, rows.shape, (8.0, 2.0)) - 2.2, 0, 1)
    share = np.clip(0.08 + 0.85 * late + grain + 0.5 * pores, 0, 1)[..., None]
    return _averaged((1 - share) * _color(rng, WOOD_LIGHT) + share * _color(rng, WOOD_DARK))


MATERIALS: dict[str, Callable[[np.random.Generator], FloatArray]] = {"weave": weave, "wood": wood}
