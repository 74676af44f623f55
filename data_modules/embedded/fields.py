"""Random smooth fields and irregular regions on a grid of any dimension, from which the embedded datasets are built.

Matrix products and the functions of single precision round differently on different processors. The datasets are the same
on all, so whatever has as many values as an image is made of sums and products of fixed order, or in double precision
and rounded at the end.
"""

from collections.abc import Sequence
from functools import lru_cache, reduce

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


def exp(values: FloatArray) -> FloatArray:
    """e to the power of each value, the same on every processor."""
    return np.exp(values, dtype=np.float64).astype(np.float32)


@lru_cache(maxsize=64)
def _spline_basis(size: int, spacing: float) -> tuple[NDArray[np.intp], FloatArray]:
    """The four nodes, ``spacing`` pixels apart, that each pixel lies between, and their cubic B-spline weights.

    Both ``(4, size)``; the first node is number 0. Squared, a pixel's weights sum to 1 on average.
    """
    place = np.arange(size) / spacing
    node = np.floor(place).astype(np.intp) + np.arange(4)[:, None]
    distance = np.abs(place - (node - 1))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    weights = np.where(distance < 1, near, far)
    weights /= np.sqrt(np.mean(np.sum(weights**2, axis=0)))
    return node, weights.astype(np.float32)


def spline_field(rng: np.random.Generator, shape: Sequence[int], spacing: float | Sequence[float]) -> FloatArray:
    """A smooth Gaussian random field of mean 0 and standard deviation 1 (averaged over positions).

    ``spacing`` is the distance of the spline's nodes in pixels, one for all axes or one per axis: larger is smoother.
    """
    spacings = [float(s) for s in np.broadcast_to(spacing, len(shape))]
    sizes = list(zip(shape, spacings, strict=True))
    field = rng.standard_normal([int(np.ceil(size / step)) + 3 for size, step in sizes], dtype=np.float32)
    for size, step in sizes:  # fills the first axis and puts it last: after all axes the order is restored
        nodes, weights = _spline_basis(size, step)
        terms = (np.moveaxis(field[node], 0, -1) * weight for node, weight in zip(nodes, weights, strict=True))
        field = reduce(np.add, terms)
    return field


def irregular_region(
    rng: np.random.Generator, shape: Sequence[int], center: Sequence[float], radius: float, roughness: float = 0.3
) -> FloatArray:
    """Depth inside a rough, randomly turned ellipsoid: positive inside (about 1 at the centre), 0 at its boundary.

    The half axes are ``radius`` pixels on (geometric) average and differ by up to a factor of about 2.
    """
    stretch = rng.uniform(-0.35, 0.35, len(shape))
    half_axes = radius * np.exp(stretch - stretch.mean())
    turn, _ = np.linalg.qr(rng.standard_normal((len(shape), len(shape))))
    offset = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1) - np.asarray(center)
    distance = np.sqrt((((offset @ turn) / half_axes) ** 2).sum(axis=-1))
    rough = spline_field(rng, shape, max(1.5, radius / 2))
    return (1 - distance + roughness * rough).astype(np.float32)


def largest_component(region: BoolArray) -> BoolArray:
    """The largest connected part of ``region`` (all of it when it is empty)."""
    parts, count = ndimage.label(region)
    if count < 2:
        return region
    return parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))


def soft_edge(region: BoolArray, sigma: float = 0.6, radius: int = 1) -> FloatArray:
    """Partial-volume weight in [0, 1] of ``region``: zero farther than ``radius`` pixels (along each axis) from it."""
    return ndimage.gaussian_filter(region.astype(np.float32), sigma, radius=radius)
