"""Scans with the headers that scanners write: oblique, anisotropic, integers with a scale."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

SLOPE, INTER = 0.5, 10.0


def oblique(spacing: tuple[float, float, float], degrees: float = 12.0) -> np.ndarray:
    """An affine in LPS order, turned about two axes, with voxels of this size and an origin of its own."""
    one, two = np.deg2rad([degrees, degrees / 2])
    about_x = np.array([[1, 0, 0], [0, np.cos(one), -np.sin(one)], [0, np.sin(one), np.cos(one)]])
    about_z = np.array([[np.cos(two), -np.sin(two), 0], [np.sin(two), np.cos(two), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([-1, -1, 1]) @ np.diag(spacing)
    affine[:3, 3] = [41.5, 37.25, -20.75]
    return affine


def write_scan(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    """int16 with scl_slope and scl_inter, sform code 1 and qform code 2 of one affine, mm and s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.round((values - INTER) / SLOPE).astype(np.int16), affine)
    image.header.set_slope_inter(SLOPE, INTER)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, 1)
    image.set_qform(affine, 2)
    nib.save(image, path)


def block(seed: int, shape: tuple[int, int, int] = (46, 50, 8)) -> np.ndarray:
    """A brain that is a box of noise, 3 voxels from the sides and 1 from top and bottom."""
    volume = np.zeros(shape)
    inside = np.random.default_rng(seed).normal(100, 10, (shape[0] - 6, shape[1] - 6, shape[2] - 2))
    volume[3:-3, 3:-3, 1:-1] = inside
    return volume


def blob(shape: tuple[int, int, int], affine: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """The voxels within a radius (mm) of a place (mm)."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return np.linalg.norm(index @ affine[:3, :3].T + affine[:3, 3] - centre, axis=-1) <= radius
