"""Which lesions a threshold finds, by their size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from anomaly_bench.metrics.regions import Regions

SIZES = (1, 10, 100, 1000)
SHARE = 0.5


class LesionDetection:
    """Counts of lesions and of detected lesions per size class, over any number of batches.

    A lesion is an 8-connected region of one image's mask. It is detected when at least `share` of its pixels is called
    anomalous. Counts are exact and add up over batches and processes.

    Args:
        sizes: ascending least sizes of the classes, in pixels; a smaller lesion is not counted.
        share: in (0, 1].
    """

    def __init__(self, sizes: Sequence[int] = SIZES, share: float = SHARE) -> None:
        if not sizes or sorted(set(sizes)) != list(sizes) or sizes[0] < 1:
            raise ValueError(f"expected ascending sizes from 1 pixel on, got {list(sizes)}")
        if not 0 < share <= 1:
            raise ValueError(f"expected a share in (0, 1], got {share}")
        self.sizes, self.share = tuple(sizes), share
        self.counts = np.zeros((2, len(sizes)), dtype=np.int64)

    def update(self, called: Tensor, regions: Regions) -> None:
        """Count the lesions of a batch.

        Args:
            called: bool, of the shape of the mask: the pixels called anomalous, e.g. `curve.keys(scores) >= threshold`.
            regions: of that mask, `find_regions(mask).within(foreground)`: once per batch, for all predictors.
        """
        regions.check(called, "called pixels")
        hit = called.detach().cpu().flatten().numpy()[regions.pixels]
        found = np.bincount(regions.owner, weights=hit, minlength=len(regions.sizes))
        detected = found / regions.sizes >= self.share
        group = np.searchsorted(self.sizes, regions.sizes, side="right") - 1
        for row, chosen in enumerate((group >= 0, (group >= 0) & detected)):
            self.counts[row] += np.bincount(group[chosen], minlength=len(self.sizes))

    def merge(self, other: LesionDetection) -> None:
        """Add what another one counted. Raises ValueError if its sizes or share differ."""
        mine, theirs = (self.sizes, self.share), (other.sizes, other.share)
        if mine != theirs:
            raise ValueError(f"expected sizes and share {mine}, got {theirs}")
        self.counts = self.counts + other.counts

    def rate(self) -> float | None:
        """The share of lesions that is detected; None if there is none."""
        lesions, detected = self.counts.sum(axis=1).tolist()
        return detected / lesions if lesions else None

    def rows(self) -> list[dict[str, int | None]]:
        """One row per size class: smallest and largest size in pixels (None: no limit), lesions, detected."""
        largest = [*(size - 1 for size in self.sizes[1:]), None]
        return [
            {"smallest": least, "largest": most, "lesions": lesions, "detected": found}
            for least, most, lesions, found in zip(self.sizes, largest, *self.counts.tolist(), strict=True)
        ]
