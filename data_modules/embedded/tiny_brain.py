"""``tiny_brain``: synthetic FLAIR and T1 volumes with annotated lesions, written in the layout of BraTS 2021."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from .brain_anatomy import Anatomy, draw_anatomy, load_template
from .brain_lesions import Lesion, draw_lesions
from .fields import FloatArray, exp, spline_field

LESION_FREE_SHARE = 0.3
GOLDEN_RATIO = 0.6180339887498949
GZIP_LEVEL = 1


@dataclass(frozen=True)
class Phantom:
    """One subject, ``(X, Y, Z)`` in RAS order: signals in arbitrary scanner units (0 outside the brain) and labels."""

    flair: NDArray[np.int16]
    t1: NDArray[np.int16]
    seg: NDArray[np.uint8]


def write_tiny_brain(
    root: Path, *, subjects: int = 36, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> None:
    """Writes ``root/TinyBrain_00000/TinyBrain_00000_{flair,t1,seg}.nii.gz`` and so on, 80 x 96 x 80 voxels of 2 mm.

    Volumes are skull-stripped and stored in LPS order, as those of BraTS; ``seg`` holds the labels 0 (normal),
    1 (necrotic core), 2 (edema) and 4 (enhancing). The same arguments give the same bytes, and a subject depends on
    ``seed`` and its own number only. ``progress`` is called with (subjects done, subjects). OSErrors propagate.
    """
    for index in range(subjects):
        phantom = render_subject(seed, index)
        name = f"TinyBrain_{index:05d}"
        (root / name).mkdir(parents=True, exist_ok=True)
        for kind in ("flair", "t1", "seg"):
            _write_lps(root / name / f"{name}_{kind}.nii.gz", getattr(phantom, kind))
        if progress is not None:
            progress(index + 1, subjects)


def render_subject(seed: int, index: int, *, with_lesions: bool = True) -> Phantom:
    """Subject ``index`` of the dataset ``seed``; ``with_lesions=False`` gives the same scan as it was before."""
    anatomy_rng, lesion_rng, scan_rng = (np.random.default_rng([seed, index, stream]) for stream in range(3))
    anatomy = draw_anatomy(anatomy_rng)
    lesions = draw_lesions(lesion_rng, anatomy) if with_lesions and not is_lesion_free(seed, index) else []
    flair, t1 = _tissue_signals(anatomy_rng, anatomy)
    seg = np.zeros(anatomy.brain.shape, np.uint8)
    for lesion in lesions:
        _blend(flair, lesion, lesion.flair)
        _blend(t1, lesion, lesion.t1)
        np.copyto(seg[lesion.where], lesion.labels, where=lesion.labels > 0)
    return Phantom(_scan(scan_rng, flair, anatomy), _scan(scan_rng, t1, anatomy), seg)


def is_lesion_free(seed: int, index: int) -> bool:
    """About 30 % of the subjects, spread evenly over their numbers so that small splits get some as well."""
    start = np.random.default_rng(seed).random()
    return (start + index * GOLDEN_RATIO) % 1 < LESION_FREE_SHARE


def _tissue_signals(rng: np.random.Generator, anatomy: Anatomy) -> tuple[FloatArray, FloatArray]:
    """FLAIR and T1 before the scanner: each tissue's level varies from subject to subject."""
    csf, white, gain = rng.uniform(0.32, 0.42), rng.normal(0.62, 0.02), rng.uniform(0.05, 0.13)
    flair = csf * anatomy.csf + (white + gain) * anatomy.gray + white * anatomy.white - 0.2 * anatomy.detail
    flair += rng.uniform(0.05, 0.25) * anatomy.caps + 0.3 * anatomy.plexus
    csf, white, gain = rng.uniform(0.2, 0.3), rng.normal(0.86, 0.02), rng.uniform(0.16, 0.26)
    t1 = csf * anatomy.csf + (white - gain) * anatomy.gray + white * anatomy.white + 0.6 * anatomy.detail
    return flair.astype(np.float32), t1.astype(np.float32)


def _blend(signal: FloatArray, lesion: Lesion, target: FloatArray) -> None:
    """Puts the lesion's signal into the volume, in place."""
    window = signal[lesion.where]
    window += lesion.alpha * (target - window)


def _scan(rng: np.random.Generator, signal: FloatArray, anatomy: Anatomy) -> NDArray[np.int16]:
    """What the scanner makes of a signal: bias field, Rician noise, arbitrary units; at least 1 inside the brain."""
    brain = anatomy.brain
    bias = exp(0.04 * spline_field(rng, brain.shape, 40)[brain])
    sigma, unit = rng.uniform(0.015, 0.03), np.exp(rng.uniform(np.log(300), np.log(3000)))
    real, imaginary = sigma * rng.standard_normal((2, int(brain.sum())), dtype=np.float32)
    scan = np.zeros(brain.shape, np.int16)
    magnitude = np.sqrt((signal[brain] * bias + real) ** 2 + imaginary**2)
    scan[brain] = np.clip(np.rint(unit * magnitude), 1, np.iinfo(np.int16).max)
    return scan


def _write_lps(path: Path, volume: NDArray[np.int16] | NDArray[np.uint8]) -> None:
    """Writes a RAS volume in LPS order; the bytes hold no time and no name, so they depend on the content only."""
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:2, 3] = np.array(volume.shape[:2]) - 1
    image = nib.Nifti1Image(volume[::-1, ::-1], load_template().affine @ flip)
    image.header.set_xyzt_units("mm")
    with path.open("wb") as file, gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0) as packed:
        packed.write(image.to_bytes())
