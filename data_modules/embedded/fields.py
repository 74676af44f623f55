"""Random smooth fields and irregular regions on a grid of any dimension, from which the embedded datasets are built."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


@lru_cache(maxsize=64)
def _spline_basis(size: int, spacing: float) -> FloatArray:
    """Cubic B-spline weights ``(size, nodes)`` of nodes ``spacing`` pixels apart, of mean squared row norm 1."""
    nodes = int(np.ceil(size / spacing)) + 3
    distance = np.abs(np.arange(size)[:, None] / spacing - (np.arange(nodes)[None, :] - 1))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    basis = np.where(distance < 1, near, far)
    basis /= np.sqrt(np.mean(np.sum(basis**2, axis=1)))
    return basis.astype(np.float32)


def spline_field(rng: np.random.Generator, shape: Sequence[int], spacing: float | Sequence[float]) -> FloatArray:
    """A smooth Gaussian random field of mean 0 and standard deviation 1 (averaged over positions).

    ``spacing`` is the distance of the spline's nodes in pixels, one for all axes or one per axis: larger is smoother.
    """
    spacings = [float(s) for s in np.broadcast_to(spacing, len(shape))]
    bases = [_spline_basis(size, step) for size, step in zip(shape, spacings, strict=True)]
    field = rng.standard_normal([basis.shape[1] for basis in bases], dtype=np.float32)
    for basis in bases:  # contracts the first axis and appends the new one: after all axes the order is restored
        field = np.tensordot(field, basis, axes=(0, 1))
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
