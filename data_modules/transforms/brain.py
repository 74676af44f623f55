"""Transforms of a brain scan that MONAI does not have, as MONAI dictionary transforms.

They take and return what `dataset.preprocess` hands on: {image: (C, X, Y, Z), label: (1, X, Y, Z) uint8, brain:
(1, X, Y, Z) bool}, in RAS orientation, where label and brain may be missing. A label is 1 where a voxel is anomalous, 2
where it has another label, 0 elsewhere. They work in any monai.transforms.Compose as well.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from monai.transforms import MapTransform
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from data_modules.base.errors import DataError

from .percentiles import percentiles as exact_percentiles
from .scan import ANOMALOUS, Box, Scaling, Scan, blank, forward

METHODS = ("percentile", "zscore")


class ScanTransform(MapTransform):
    """A transform of image, label and brain together.

    `apply` changes a Scan in place; calling the transform does the same to a dictionary, other keys of which it keeps.
    """

    def __init__(self) -> None:
        super().__init__(["image", "label", "brain"], allow_missing_keys=True)

    @abstractmethod
    def apply(self, scan: Scan) -> None:
        """Raises DataError naming the file if the scan does not allow the transform."""

    def __call__(self, data: Mapping[str, Tensor]) -> dict[str, Tensor]:
        source = str(getattr(data["image"], "meta", {}).get("filename_or_obj", "image"))
        empty = Scan(image=[], affine=np.eye(4), sources=[source] * len(data["image"]))
        scan = empty.replaced(dict(data))
        self.apply(scan)
        return {**data, **scan.tensors()}


class BrainMaskd(ScanTransform):
    """Which voxels are brain: those of the given mask, else those that are not 0 in any modality (stripped skulls).

    Anomalous voxels always belong to the brain. strip: whether to set the image to 0 outside at once, which matters to
    transforms that look there, such as resampling; slices are 0 outside the brain in any case.
    Raises DataError if there is no brain voxel.
    """

    def __init__(self, strip: bool = False) -> None:
        super().__init__()
        if not isinstance(strip, bool):
            raise ValueError(f"strip={strip}: expected true or false")
        self.strip = strip

    def apply(self, scan: Scan) -> None:
        brain = scan.brain
        if brain is None:
            brain = _not_zero(scan.image)
        if not brain.any():
            raise DataError(
                f"{scan.sources[0]}: no brain voxel (all background); remove the subject or give a brain mask"
            )
        box = None if scan.label is None else bounding_box(scan.label)
        if scan.label is not None and box is not None:
            brain[box] |= scan.label[box] == ANOMALOUS
        scan.brain = brain
        if self.strip:
            scan.settle()
            scan.image = [array * brain for array in scan.image]


class HeadMaskd(ScanTransform):
    """What counts as brain where the skull is there and the background is not 0: the head less a border of scalp and bone.

    The head is, in each axial slice, the largest region of the first modality above a threshold, with its holes filled. A given
    mask is kept, and anomalous voxels always belong to it. threshold: as a share of Otsu's (1979), which divides the voxels
    of the volume above 0 in two; border: the millimetres that are taken off all around (a scalp with its bone is about
    12 mm thick). Raises DataError if nothing is left.
    """

    def __init__(self, threshold: float = 0.3, border: float = 12.0) -> None:
        super().__init__()
        if not threshold > 0 or not border >= 0:
            raise ValueError(f"threshold={threshold}, border={border}: expected above 0, and 0 or more millimetres")
        self.threshold, self.border = threshold, border

    def apply(self, scan: Scan) -> None:
        scan.settle()
        if scan.brain is None:
            pixel = float(np.linalg.norm(scan.affine[:3, :2], axis=0).mean())
            scan.brain = self._inside(scan.image[0], pixel)
        if scan.label is not None:
            scan.brain |= scan.label == ANOMALOUS
        if not scan.brain.any():
            raise DataError(
                f"{scan.sources[0]}: no head is found; lower dataset.preprocess.brain.threshold or border, or give a brain mask"
            )

    def _inside(self, voxels: NDArray[Any], pixel: float) -> NDArray[np.bool_]:
        positive = voxels[voxels > 0]
        inside = np.zeros(voxels.shape, bool)
        level = self.threshold * otsu(positive) if positive.size else np.inf
        for z in range(voxels.shape[2]):
            regions, count = ndimage.label(ndimage.gaussian_filter(voxels[:, :, z].astype(np.float32), 1.0) > level)
            if count:
                largest = regions == 1 + np.bincount(regions.ravel())[1:].argmax()
                filled = np.pad(ndimage.binary_fill_holes(ndimage.binary_closing(largest, iterations=3) | largest), 1)
                inside[:, :, z] = (ndimage.distance_transform_edt(filled) > self.border / pixel)[1:-1, 1:-1]
        return inside


class CropToBraind(ScanTransform):
    """The box of the brain, or of the image where it is not 0 if the brain is not known; the affine moves with it.

    margin: voxels to keep around it, as far as the volume goes.
    """

    def __init__(self, margin: int = 0) -> None:
        super().__init__()
        if not isinstance(margin, int) or margin < 0:
            raise ValueError(f"margin={margin}: expected 0 or more voxels")
        self.margin = margin

    def apply(self, scan: Scan) -> None:
        inside = _not_zero(scan.image) if scan.brain is None else scan.brain
        box = bounding_box(inside, self.margin)
        if box is not None:
            scan.crop(box)


class ScaleInBraind(ScanTransform):
    """Intensities of each modality brought to one scale by those inside its brain; 0 outside.

    method 'percentile': the lower of two percentiles goes to 0, the upper to 1 (robust min-max, as Nyúl and Udupa 1999
    cut the tails), then a clip to [0, clip]. 'zscore': mean 0 and standard deviation 1 (Reinhold et al. 2019,
    arXiv 1812.04652), then a clip to [−clip, clip]. clip: a number, [low, high], or null for none.
    Raises DataError naming the file if the brain has one intensity only.
    """

    def __init__(
        self,
        method: str = "percentile",
        percentiles: Sequence[float] = (1.0, 99.0),
        clip: float | Sequence[float] | None = 2.0,
    ) -> None:
        super().__init__()
        if method not in METHODS:
            raise ValueError(f"method={method}: expected {' or '.join(METHODS)}")
        ascending = len(percentiles) == 2 and 0 <= percentiles[0] < percentiles[1] <= 100
        if not ascending:
            raise ValueError(f"percentiles={list(percentiles)}: expected two, the lower first, such as [1, 99]")
        self.method, self.percentiles = method, (float(percentiles[0]), float(percentiles[1]))
        self.low, self.high = self._range(clip)

    def apply(self, scan: Scan) -> None:
        scan.settle()
        scan.scaling = [
            self._scaling(array, scan.brain, source) for array, source in zip(scan.image, scan.sources, strict=True)
        ]

    def _range(self, clip: float | Sequence[float] | None) -> tuple[float, float]:
        if clip is None:
            return -np.inf, np.inf
        if isinstance(clip, int | float):
            clip = (0.0 if self.method == "percentile" else -clip, clip)
        low_high = list(clip)
        if len(low_high) != 2 or not low_high[0] < low_high[1]:
            raise ValueError(f"clip={low_high}: expected a number above 0, or [low, high]")
        return float(low_high[0]), float(low_high[1])

    def _scaling(self, array: NDArray[Any], brain: NDArray[np.bool_] | None, source: str) -> Scaling:
        values = array.ravel(order="K") if brain is None else select(array, brain)
        if self.method == "percentile":
            low, high = exact_percentiles(values, self.percentiles)
            offset, width = low, high - low
        else:
            offset, width = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        if width <= 0:
            raise DataError(
                f"{source}: the brain has the one intensity {offset}; the volume is empty: copy it again or remove it"
            )
        return Scaling(offset, width, self.low, self.high)


def otsu(values: NDArray[Any], bins: int = 256) -> float:
    """The threshold (Otsu 1979) that divides values into the two classes between which their variance is largest."""
    counts, edges = np.histogram(values, bins)
    middle, below = (edges[:-1] + edges[1:]) / 2, np.cumsum(counts) / len(values)
    sums = np.cumsum(counts * middle) / len(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num((sums[-1] * below - sums) ** 2 / (below * (1 - below)), posinf=0.0)
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))  # all of a gap between two heaps is
    return float(edges[1 + best].mean())


def _not_zero(arrays: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
    """Where any of the arrays is not 0."""
    inside: NDArray[np.bool_] = np.not_equal(arrays[0], 0, out=blank(arrays[0], bool))
    for array in arrays[1:]:
        inside |= np.not_equal(array, 0, out=blank(array, bool))
    return inside


def bounding_box(inside: NDArray[Any], margin: int = 0) -> Box | None:
    """The smallest box that holds every voxel of (X, Y, Z) that is true or not 0, with a margin as far as the volume goes.

    None if there is no such voxel.
    """
    axes, flips = forward(inside)
    ordered = inside.transpose(axes)[flips]
    plane: NDArray[Any] = np.bitwise_or.reduce(ordered, axis=0)
    if not plane.any():
        return None
    rows, columns = _extent(plane.any(axis=1)), _extent(plane.any(axis=0))
    extents = (_extent(ordered[:, rows, columns].any(axis=(1, 2))), rows, columns)
    box = [slice(None)] * 3
    for axis, flip, part in zip(axes, flips, extents, strict=True):
        length, (start, stop) = inside.shape[axis], (part.start, part.stop)
        if flip.step < 0:
            start, stop = length - stop, length - start
        box[axis] = slice(max(start - margin, 0), min(stop + margin, length))
    return box[0], box[1], box[2]


def _extent(line: Any) -> slice:
    first, last = np.flatnonzero(line)[[0, -1]].tolist()
    return slice(first, last + 1)


def select(array: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[Any]:
    """The voxels where a mask is true (n,), in the order of memory, which is the quickest."""
    axes, flips = forward(array)
    chosen: NDArray[Any] = array.transpose(axes)[flips][where.transpose(axes)[flips]]
    return chosen
