"""Lesions for ``tiny_brain``: where they lie, their irregular shape, their parts and what they do to the signal."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .brain_anatomy import Anatomy
from .fields import FloatArray, irregular_region, largest_component, soft_edge, spline_field

NECROTIC, EDEMA, ENHANCING = 1, 2, 4  # the labels of BraTS
RADIUS_VOXELS = (2.0, 9.0)
RING_RADIUS = 4.5  # smaller lesions have no necrotic core
KINDS = ("bright", "ring", "dark")
KIND_SHARES = (0.66, 0.2, 0.14)


@dataclass(frozen=True)
class Lesion:
    """One lesion inside the window ``where`` of a volume.

    ``alpha`` in [0, 1] is how much of a voxel it fills; ``labels`` (uint8) are the BraTS labels of the voxels it owns.
    ``flair`` and ``t1`` are the signal it shows, in the units of the tissue signals (white matter near 0.65).
    """

    where: tuple[slice, ...]
    alpha: FloatArray
    labels: NDArray[np.uint8]
    flair: FloatArray
    t1: FloatArray


def draw_lesions(rng: np.random.Generator, anatomy: Anatomy) -> list[Lesion]:
    """One to five lesions, mostly in white matter; they may overlap, then the later one covers the earlier."""
    preference = np.cumsum((anatomy.white**2 + 0.12 * anatomy.gray).ravel(), dtype=np.float64)
    lesions: list[Lesion] = []
    for _ in range(int(rng.integers(1, 6))):
        place = int(np.searchsorted(preference, rng.random() * preference[-1]))
        center = np.array(np.unravel_index(place, anatomy.brain.shape))
        lesions.append(_draw_lesion(rng, anatomy, center))
    return lesions


def _draw_lesion(rng: np.random.Generator, anatomy: Anatomy, center: NDArray[np.intp]) -> Lesion:
    radius = float(np.exp(rng.uniform(*np.log(RADIUS_VOXELS))))
    start = np.maximum(center - int(2 * radius) - 3, 0)
    stop = np.minimum(center + int(2 * radius) + 4, anatomy.brain.shape)
    where = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    depth = irregular_region(rng, (stop - start).tolist(), (center - start).tolist(), radius)
    tissue = anatomy.brain[where] & (anatomy.csf[where] < 0.6)
    tissue[tuple(center - start)] = True  # a lesion owns at least the voxel it grew from
    owned = largest_component((depth > 0) & tissue)
    kind = str(rng.choice(KINDS, p=KIND_SHARES))
    labels = np.where(owned, EDEMA, 0).astype(np.uint8)
    if kind == "ring" and radius >= RING_RADIUS:
        labels[owned & (depth > 0.35)] = ENHANCING
        labels[owned & (depth > 0.55)] = NECROTIC
    flair, t1 = _signals(rng, labels, kind)
    return Lesion(where, soft_edge(owned) * anatomy.brain[where], labels, flair, t1)


def _signals(rng: np.random.Generator, labels: NDArray[np.uint8], kind: str) -> tuple[FloatArray, FloatArray]:
    """FLAIR and T1 signal of a lesion: edema bright on FLAIR and dark on T1, necrosis dark on both.

    A dark lesion has one level, a little below gray and white matter, and so wipes out the contrast between them.
    """
    texture = spline_field(rng, labels.shape, 2.5)
    if kind == "dark":
        level = rng.uniform(-0.25, -0.05)
        return (0.68 + level + 0.04 * texture).astype(np.float32), (0.74 + level + 0.04 * texture).astype(np.float32)
    contrast = float(np.exp(rng.uniform(*np.log((0.17, 0.6)))))
    flair = np.full(labels.shape, 0.70 + contrast, np.float32)
    t1 = np.full(labels.shape, 0.72 - 0.4 * contrast, np.float32)
    flair[labels == ENHANCING], t1[labels == ENHANCING] = 0.72 + 0.7 * contrast, 0.70
    flair[labels == NECROTIC], t1[labels == NECROTIC] = rng.uniform(0.25, 0.5), 0.42
    grain = 0.15 * contrast * texture
    return _softened(flair) + grain, _softened(t1) - grain


def _softened(signal: FloatArray) -> FloatArray:
    """The signal with soft transitions between a lesion's parts."""
    return ndimage.gaussian_filter(signal, 0.6, radius=1)
