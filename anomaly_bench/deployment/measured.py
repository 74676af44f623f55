"""How well a map localizes what a mask calls anomalous, on the grid of the source."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anomaly_bench.metrics import ExactCurve

from .opened import Opened

Array = NDArray[Any]


def measures_of(
    opened: Opened, raw: Array, segmentation: Array, anomalous: Array, counted: Array
) -> dict[str, float | int | None]:
    """The metrics of a test (docs/metrics.md) over the voxels that were looked at, exact; None where undefined.

    raw, segmentation: the map and what is called anomalous in it. anomalous, counted: see Opened.mask. dice and iou are of the
    segmentation. anomalous_inside and anomalous_outside: how many anomalous voxels were looked at, and how many were not and
    count nowhere.
    """
    foreground = opened.back.looked & counted
    mask = anomalous & foreground
    planes = [opened.as_planes(array) for array in (raw, mask, foreground)]
    used = planes[2].any(axis=(1, 2))
    curve = ExactCurve()
    curve.update(*(torch.from_numpy(np.ascontiguousarray(part[used])) for part in planes))
    metrics = {name: None if known is None else known.value for name, known in curve.compute().items()}
    hits, called, total = (
        int(np.count_nonzero(part)) for part in (segmentation & mask, segmentation & foreground, mask)
    )
    return {
        **metrics,
        "dice": 2 * hits / (called + total) if total else None,
        "iou": hits / (called + total - hits) if total else None,
        "anomalous_inside": total,
        "anomalous_outside": int(np.count_nonzero(anomalous & ~opened.back.looked)),
    }
