"""Healthy anatomies for ``tiny_brain``: the MNI152 template, deformed and with folds of its own for each subject."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .fields import BoolArray, FloatArray, exp, spline_field

ASSETS = Path(__file__).parent.parent / "assets"
TEMPLATE_FILES = tuple(ASSETS / f"mni152_{kind}_2mm.nii.gz" for kind in ("t1", "gm", "wm"))
BRAIN_T1 = 0.3  # a warped T1 below this share of the template's range lies outside the brain
VENTRICLES_MM = np.array([0.0, -14.0, 14.0])  # the middle of the lateral ventricles in MNI space
VENTRICLES_SIZE_MM = np.array([22.0, 44.0, 24.0])


@dataclass(frozen=True)
class Template:
    """T1 and tissue probabilities in [0, 1], ``(X, Y, Z)`` in RAS order, and the affine to millimetres (MNI space)."""

    t1: FloatArray
    gray: FloatArray
    white: FloatArray
    affine: NDArray[np.float64]


@dataclass(frozen=True)
class Anatomy:
    """Tissue shares in [0, 1] that sum to 1 inside ``brain`` and are 0 outside, ``(X, Y, Z)`` in RAS order.

    ``detail`` is what T1 shows beyond the tissue classes (deep gray matter); ``caps`` the tissue around the ventricles
    and ``plexus`` the choroid plexus inside them, both normal and brighter than their surroundings on FLAIR.
    """

    brain: BoolArray
    csf: FloatArray
    gray: FloatArray
    white: FloatArray
    detail: FloatArray
    caps: FloatArray
    plexus: FloatArray


@lru_cache(maxsize=1)
def load_template() -> Template:
    """The template shipped beside this package; OSErrors propagate."""
    images = [nib.Nifti1Image.from_filename(path) for path in TEMPLATE_FILES]
    t1, gray, white = (image.get_fdata(dtype=np.float32) / np.float32(255) for image in images)
    return Template(t1, gray, white, np.asarray(images[0].affine, dtype=np.float64))


def _small_affine(rng: np.random.Generator) -> NDArray[np.float64]:
    """A 3 x 3 matrix near the identity: head size, proportions, pose and skew."""
    size = rng.normal(1.0, 0.03)
    return np.diag(size * rng.normal(1.0, 0.02, 3)) + rng.normal(0.0, 0.012, (3, 3))


def _sampling_points(rng: np.random.Generator, template: Template) -> FloatArray:
    """Where each voxel of the subject lies in the template, in voxels, ``(3, X, Y, Z)``."""
    shape = template.t1.shape
    center = (np.array(shape) - 1) / 2
    grid = np.indices(shape, dtype=np.float32)
    points = np.tensordot(_small_affine(rng), grid - center.reshape(3, 1, 1, 1), axes=1).astype(np.float32)
    points += center.reshape(3, 1, 1, 1).astype(np.float32)
    for axis in range(3):
        points[axis] += 1.0 * spline_field(rng, shape, 14) + 0.25 * spline_field(rng, shape, 6)
    middle = np.linalg.inv(template.affine)[:3] @ np.append(VENTRICLES_MM, 1.0)
    offset = points - middle.reshape(3, 1, 1, 1).astype(np.float32)
    near = exp(-(offset**2).sum(axis=0) / (2 * 12.0**2))
    return points - rng.uniform(-0.15, 0.4) * near * offset


def _ventricle_weight(points: FloatArray, template: Template) -> FloatArray:
    """1 where the lateral ventricles may lie, falling to 0 around them."""
    scale = np.diag(template.affine)[:3]
    middle = (VENTRICLES_MM - template.affine[:3, 3]) / scale
    offset = (points - middle.reshape(3, 1, 1, 1)) / (VENTRICLES_SIZE_MM / scale).reshape(3, 1, 1, 1)
    return np.clip(2.5 - 2 * (offset**2).sum(axis=0), 0, 1).astype(np.float32)


def _own_folds(rng: np.random.Generator, shares: list[FloatArray], brain: BoolArray) -> list[FloatArray]:
    """Sharpens the template's blurred tissue shares and moves their boundaries at random, as cortical folds differ."""
    logits = []
    for share in shares:
        noise = 0.5 * spline_field(rng, brain.shape, 3.5)
        logits.append(1.7 * np.log(share[brain] + 0.02, dtype=np.float64) + noise[brain])
    weights = np.exp(np.stack(logits))
    weights /= weights.sum(axis=0)
    folded = [np.zeros(brain.shape, np.float32) for _ in shares]
    for volume, values in zip(folded, weights, strict=True):
        volume[brain] = values
    return folded


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """One subject's healthy anatomy; everything random in it comes from ``rng``."""
    template = load_template()
    points = _sampling_points(rng, template)
    t1, gray, white = (
        ndimage.map_coordinates(volume, points, order=1) for volume in (template.t1, template.gray, template.white)
    )
    brain = t1 > BRAIN_T1
    detail = (t1 - (0.45 * (1 - gray - white) + 0.68 * gray + 0.86 * white)) * brain
    csf, gray, white = _own_folds(rng, [np.clip(1 - gray - white, 0, 1), gray, white], brain)
    ventricles = csf * _ventricle_weight(points, template)
    caps = ndimage.gaussian_filter(ventricles, 1.5, radius=4) * (gray + white)
    caps *= np.clip(1 + 0.7 * spline_field(rng, brain.shape, 12), 0, None)
    plexus = ventricles * np.clip(spline_field(rng, brain.shape, 3) - 0.9, 0, 1)
    return Anatomy(brain, csf, gray, white, detail.astype(np.float32), caps, plexus)
