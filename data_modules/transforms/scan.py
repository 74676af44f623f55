"""One subject's volumes while they are preprocessed: arrays, or the MetaTensors that MONAI's transforms take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from torch import Tensor

ANOMALOUS, OTHER = 1, 2  # what a scan's label says of a voxel; 0 elsewhere
Box = tuple[slice, slice, slice]


def forward(array: NDArray[Any]) -> tuple[tuple[int, ...], tuple[slice, ...]]:
    """Axes and flips with which array.transpose(axes)[flips] runs forward through memory: NumPy is several times quicker."""
    axes = tuple(sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis])))
    return axes, tuple(slice(None, None, -1 if array.strides[axis] < 0 else 1) for axis in axes)


def blank(like: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """An uninitialised array that runs through memory as another one does."""
    axes, flips = forward(like)
    return np.empty([like.shape[axis] for axis in axes], dtype)[flips].transpose(np.argsort(axes))


def copied(array: NDArray[Any]) -> NDArray[Any]:
    """A copy that runs through memory as the array does."""
    axes, flips = forward(array)
    return array.transpose(axes)[flips].copy()[flips].transpose(np.argsort(axes))


class Scaling(NamedTuple):
    """v to (v − offset) / width, clipped to [low, high]."""

    offset: float
    width: float
    low: float
    high: float

    def apply(self, values: NDArray[Any], out: NDArray[np.float32]) -> None:
        """Scale in float32, into `out` of the same shape."""
        np.subtract(values, np.float32(self.offset), out=out, dtype=np.float32)
        np.divide(out, np.float32(self.width), out=out)
        np.clip(out, np.float32(self.low), np.float32(self.high), out=out)


@dataclass
class Scan:
    """One subject on one grid, in RAS orientation.

    image: one array (X, Y, Z) per modality, of the type they have on disk until something changes their values;
    label: (X, Y, Z) uint8, ANOMALOUS, OTHER (another label) or 0; brain: (X, Y, Z) bool; either is None where nothing is
    known of it. affine: (4, 4) float64, voxel indices to millimetres. sources: the modalities' files, for messages.
    scaling: for each modality, what is still to be done to its values (nothing if empty), so that slices which are
    not kept are never scaled.
    """

    image: list[NDArray[Any]]
    affine: NDArray[np.float64]
    sources: list[str]
    label: NDArray[np.uint8] | None = None
    brain: NDArray[np.bool_] | None = None
    scaling: list[Scaling] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int, int]:
        x, y, z = self.image[0].shape
        return x, y, z

    def scale(self, channel: int, values: NDArray[Any], brain: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        """Some of a modality's values with the scaling that is due; zero outside the brain, if that is given for them."""
        if self.scaling:
            out = blank(values, np.float32)
            self.scaling[channel].apply(values, out)
        else:
            out = values.astype(np.float32)
        if brain is not None:
            np.multiply(out, brain, out=out)
        return out

    def settle(self) -> None:
        """Do the scaling that is due."""
        if self.scaling:
            self.image = [self.scale(channel, array, self.brain) for channel, array in enumerate(self.image)]
            self.scaling = []

    def crop(self, box: Box) -> None:
        """Keep a box of voxels; copies, so that the rest can be freed."""
        self.image = [copied(array[box]) for array in self.image]
        self.label = None if self.label is None else copied(self.label[box])
        self.brain = None if self.brain is None else copied(self.brain[box])
        shift = np.eye(4)
        shift[:3, 3] = [part.start for part in box]
        self.affine = self.affine @ shift

    def tensors(self) -> dict[str, MetaTensor]:
        """{image: (C, X, Y, Z) float32, label: (1, X, Y, Z) uint8, brain: (1, X, Y, Z) bool}, what is known of them."""
        self.settle()
        image = np.empty((len(self.image), *self.shape), np.float32)
        for channel, array in zip(image, self.image, strict=True):
            channel[...] = array
        return {"image": self._tensor(image), **self._masks()}

    def parts(self) -> Iterator[dict[str, MetaTensor]]:
        """`tensors()` in parts, one for each modality, the first with label and brain; gives each modality away.

        What the scan held of a modality is freed before the next one is made, if the taker keeps nothing of it.
        """
        self.settle()
        masks = self._masks()
        while self.image:
            image = np.ascontiguousarray(self.image.pop(0)[None], np.float32)
            yield {"image": self._tensor(image), **masks}
            masks = {}

    def _masks(self) -> dict[str, MetaTensor]:
        masks = (("label", self.label), ("brain", self.brain))
        return {key: self._tensor(np.ascontiguousarray(mask[None])) for key, mask in masks if mask is not None}

    def _tensor(self, array: NDArray[Any]) -> MetaTensor:
        return MetaTensor(torch.from_numpy(array), affine=torch.from_numpy(self.affine.copy()))

    def replaced(self, tensors: Mapping[str, Tensor], *more: Mapping[str, Tensor]) -> Scan:
        """The scan with what a transform made of `tensors()`, or of all `parts()`; label and brain get back their types."""
        image, label, brain = (tensors.get(key) for key in ("image", "label", "brain"))
        assert image is not None
        return Scan(
            image=[channel for part in (tensors, *more) for channel in plain(part["image"]).float().numpy()],
            affine=np.asarray(image.affine, dtype=np.float64) if isinstance(image, MetaTensor) else self.affine,
            sources=self.sources,
            label=None if label is None else plain(label)[0].float().round().to(torch.uint8).numpy(),
            brain=None if brain is None else (plain(brain)[0] > 0.5).numpy(),
        )


def plain(tensor: Tensor) -> Tensor:
    """The tensor without what MONAI keeps beside it."""
    return tensor.detach().as_subclass(Tensor)
