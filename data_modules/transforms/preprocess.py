"""`dataset.preprocess`: what is done to a subject's volumes before they are cut into slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import nibabel as nib
import numpy as np
from monai.data import MetaTensor
from monai.transforms import Randomizable
from numpy.typing import NDArray
from scipy import ndimage

from data_modules.base.errors import DataError

from .brain import ScanTransform, bounding_box
from .resample import resampled
from .scan import ANOMALOUS, OTHER, Scan
from .steps import Step, build_steps

KEY = "dataset.preprocess"
RESAMPLING = ("Spacingd", "Resized", "Zoomd")  # which take modalities alike


class Preprocess:
    """The transforms of the mapping, in its order; see build_steps. Safe to call from several threads.

    Labels are resampled to the nearest voxel, which can miss a small lesion: a connected region of the label (26
    neighbours) that a change of grid leaves without a voxel keeps the voxel at its middle, unless that lies outside.
    Raises DataError naming the entry, and for transforms that are random, which belong in dataset.augment.
    """

    def __init__(self, mapping: Mapping[str, Any]) -> None:
        self.steps = build_steps(mapping, KEY, "image", ("label", "brain"))
        for step in self.steps:
            if isinstance(step.transform, Randomizable):
                raise DataError(f"{step.key}: {step.use} is random; put it in dataset.augment, for training only")

    def __call__(self, scan: Scan) -> Scan:
        """The preprocessed scan; the given one is used up."""
        for step in self.steps:
            if isinstance(step.transform, ScanTransform):
                step.transform.apply(scan)
                continue
            after = resampled(scan, step) or _by_monai(scan, step)
            _check_grids(after, step.key)
            if scan.label is not None and after.label is not None:
                _keep_regions(scan.label, scan.affine, after)
            scan = after
        return scan


def _by_monai(scan: Scan, step: Step) -> Scan:
    made = [
        step(cast(dict[str, Any], part), scan.sources[0])
        for part in (scan.parts() if _takes_parts(step) else [scan.tensors()])
    ]
    for tensors in made:
        _check_axes(tensors, scan.sources[0], step)
    return scan.replaced(*made)


def _takes_parts(step: Step) -> bool:
    """Whether one modality after the other gives the same as all at once, for a fraction of the memory."""
    return step.use in RESAMPLING and bool(getattr(step.transform, "allow_missing_keys", False))


def _check_axes(tensors: Mapping[str, Any], source: str, step: Step) -> None:
    """Slices are cut along the axes of the head: a step that turns or mirrors them would do so to every slice."""
    for key, tensor in tensors.items():
        if isinstance(tensor, MetaTensor) and (axes := nib.aff2axcodes(tensor.affine.numpy())) != ("R", "A", "S"):
            codes = "".join(code or "?" for code in axes)
            raise DataError(
                f"{source}: {step.key} ({step.use}) leaves the {key} in the orientation {codes}, slices need RAS; "
                "leave the step out, and choose the slices by dataset.plane"
            )


def _check_grids(scan: Scan, key: str) -> None:
    for name, array in (("label", scan.label), ("brain", scan.brain)):
        if array is not None and array.shape != scan.shape:
            raise DataError(
                f"{scan.sources[0]}: {key} leaves the {name} with {array.shape} voxels, the image with {scan.shape}; "
                "give it the keys image, label and brain"
            )
    if not all(np.isfinite(channel).all() for channel in scan.image):
        raise DataError(f"{scan.sources[0]}: {key} makes NaN or infinite voxels; change its arguments")


def _keep_regions(before: NDArray[np.uint8], affine: NDArray[np.float64], scan: Scan) -> None:
    """Give each region of a label that the scan's new grid has lost the voxel at its middle."""
    label = scan.label
    if label is None or (label.shape == before.shape and np.allclose(scan.affine, affine)):
        return
    to_new = np.linalg.inv(scan.affine) @ affine
    for value in (OTHER, ANOMALOUS):
        there = bounding_box(before == value)
        if there is None:
            continue
        corner = np.array([part.start for part in there])
        regions, _ = ndimage.label(before[there] == value, structure=np.ones((3, 3, 3)))
        for number, box in enumerate(ndimage.find_objects(regions), start=1):
            voxels = np.argwhere(regions[box] == number) + [part.start for part in box] + corner
            moved = _inside(_move(voxels, to_new), label.shape)
            middle = voxels[[((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1).argmin()]]
            target = _inside(_move(middle, to_new), label.shape)
            if len(target) and not (label[tuple(moved.T)] == value).any():
                label[tuple(target.T)] = value
                if value == ANOMALOUS and scan.brain is not None:
                    scan.brain[tuple(target.T)] = True


def _move(voxels: NDArray[np.int64], matrix: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(voxels @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.int64)


def _inside(voxels: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    return voxels[((voxels >= 0) & (voxels < shape)).all(axis=1)]
