"""MONAI's Spacingd slab by slab: the same voxels, without the coordinates of a whole volume in 64 bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import AFFINE_TOL
from monai.networks import to_norm_affine
from monai.transforms import Spacingd
from monai.utils import LazyAttr, TraceKeys
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from .scan import Scan
from .steps import Step

SLAB = 1 << 15  # voxels whose coordinates are held at a time
DEFAULTS = {"dtype": "float64", "padding_mode": "border"}
LINEAR, NEAREST = "bilinear", "nearest"


class _Plan(NamedTuple):
    """A change of grid: (4, 4) from new to old voxel indices, both shapes, and MONAI's align_corners."""

    matrix: NDArray[np.float64]
    old: tuple[int, int, int]
    new: tuple[int, int, int]
    align_corners: bool


def resampled(scan: Scan, step: Step) -> Scan | None:
    """The scan after a step of Spacingd with its defaults, whose images are used up; None if the step is another one.

    MONAI says what is to be done, in its lazy mode. Masks are those that it would make itself; images are interpolated in
    64 bits as well and differ by the rounding to float32.
    """
    if not isinstance(step.transform, Spacingd) or step.transform.spacing_transform.recompute_affine:
        return None
    plan = _plan(scan, step)
    if plan is None:
        return None
    scan.settle()
    images, scan.image = scan.image, []
    after = Scan(
        image=[np.empty(plan.new, np.float32) for _ in images],
        affine=scan.affine @ plan.matrix,
        sources=scan.sources,
        label=None if scan.label is None else np.empty(plan.new, np.uint8),
        brain=None if scan.brain is None else np.empty(plan.new, np.bool_),
    )
    masks = [(old, new) for old, new in ((scan.label, after.label), (scan.brain, after.brain)) if old is not None]
    for slab, where in _slabs(plan):
        for old, new in zip(images, after.image, strict=True):
            ndimage.map_coordinates(old, where, output=new[slab], order=1, mode="nearest", prefilter=False)
        nearest = tuple(np.rint(where).astype(np.intp))
        for mask, target in masks:
            cast(NDArray[Any], target)[slab] = mask[nearest]
    return after


def _plan(scan: Scan, step: Step) -> _Plan | None:
    """What the step would do, asked on tensors that take no memory; None if MONAI itself has to do it."""
    present = {"image": LINEAR} | {key: NEAREST for key in ("label", "brain") if getattr(scan, key) is not None}
    blank = torch.zeros(1, 1, 1, 1).expand(1, *scan.shape)
    data = {key: MetaTensor(blank, affine=torch.from_numpy(scan.affine.copy())) for key in present}
    plans = []
    for key, tensor in step(data, scan.sources[0], lazy=True).items():
        if not tensor.pending_operations:
            return None
        pending = tensor.pending_operations[-1]
        how = pending[TraceKeys.EXTRA_INFO]
        if any(how[name] != value for name, value in (DEFAULTS | {"mode": present[key]}).items()):
            return None
        shape = tuple(int(length) for length in pending[LazyAttr.SHAPE])
        corners = how["align_corners"] if how["align_corners"] != TraceKeys.NONE else False
        plans.append(_Plan(pending[LazyAttr.AFFINE].numpy(), scan.shape, cast(Any, shape), corners))
    first = plans[0]
    alike = all(plan[1:] == first[1:] and np.array_equal(plan.matrix, first.matrix) for plan in plans)
    return first if alike and not _unchanged(first, scan.affine) else None


def _unchanged(plan: _Plan, affine: NDArray[np.float64]) -> bool:
    """Whether MONAI leaves the volume as it is."""
    near = (np.allclose(a, b, atol=AFFINE_TOL) for a, b in ((affine, affine @ plan.matrix), (plan.matrix, np.eye(4))))
    return plan.old == plan.new and any(near)


def _slabs(plan: _Plan) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Slabs of the new grid's first axis with where their voxels lie in the old one, (3, slab, Y, Z) indices.

    Computed in the order of operations of torch's affine_grid and grid_sample: which voxel is the nearest to a place
    half-way between two is a matter of the last bit. Places outside are moved to the border.
    """
    theta = to_norm_affine(torch.from_numpy(plan.matrix)[None], plan.old, plan.new, plan.align_corners)
    order = [2, 1, 0, 3]  # torch's coordinates begin with the last axis
    theta = theta[0][order][:, order][None, :3].transpose(1, 2)
    x, y, z = (_centres(length, plan.align_corners) for length in plan.new)
    size, last = torch.tensor(plan.old[::-1], dtype=torch.float64), torch.tensor(plan.old, dtype=torch.float64) - 1
    thick = max(1, SLAB // (plan.new[1] * plan.new[2]))
    for start in range(0, plan.new[0], thick):
        slab = x[start : start + thick]
        base = torch.ones(len(slab), *plan.new[1:], 4, dtype=torch.float64)
        base[..., 0], base[..., 1], base[..., 2] = z, y[:, None], slab[:, None, None]
        grid = base.view(1, -1, 4).bmm(theta)[0]
        place = (grid + 1) / 2 * (size - 1) if plan.align_corners else ((grid + 1) * size - 1) / 2
        inside = torch.minimum(place.flip(-1).clamp(min=0), last)
        yield slice(start, start + thick), inside.T.reshape(3, *base.shape[:3]).numpy()


def _centres(length: int, align_corners: bool) -> Tensor:
    """Where voxels lie along an axis that runs from -1 to 1, as affine_grid has it."""
    if length == 1:
        return torch.zeros(1, dtype=torch.float64)
    line = torch.linspace(-1, 1, length, dtype=torch.float64)
    return line if align_corners else line * (length - 1) / length
