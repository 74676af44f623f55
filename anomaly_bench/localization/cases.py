"""The test images of the pictures, chosen while others are localized."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor

from anomaly_bench.metrics.transfers import Fetch
from anomaly_bench.pictures.choice import Cases
from anomaly_bench.pictures.panels import Sample, samples_of
from data_modules.base.batch import AnomalyBatch

from .tallies.batches import CPU


class LateCases:
    """`Cases` of batches on a device: each is looked at when the next one comes, as its map has come over by then.

    count: images that are shown. subjects: their names by id.
    """

    def __init__(self, count: int, subjects: Mapping[int, str]) -> None:
        self._cases, self._subjects = Cases(count), subjects
        self._unseen: Callable[[], None] | None = None

    def take(
        self, batch: AnomalyBatch, first: int, reconstruction: Tensor, maps: Mapping[str, Tensor], decisive: str
    ) -> None:
        """A batch whose first image has that position in the set, its reconstruction, and its maps where they are counted.

        decisive: whose map ranks the images.
        """
        self._look()
        decided = Fetch([maps[decisive], batch["mask"], batch["foreground"]])
        self._unseen = partial(self._choose, decided, batch, first, reconstruction, maps)
        if maps[decisive].device == CPU:
            self._look()

    def samples(self) -> list[Sample]:
        """See `Cases.samples`."""
        self._look()
        return self._cases.samples()

    def _look(self) -> None:
        unseen, self._unseen = self._unseen, None
        if unseen is not None:
            unseen()

    def _choose(
        self, decided: Fetch, batch: AnomalyBatch, first: int, reconstruction: Tensor, maps: Mapping[str, Tensor]
    ) -> None:
        score, mask, foreground = decided.get()
        drawn = self._cases.wanted(score, mask, foreground, first)
        self._cases.add(first, drawn, samples_of(batch, reconstruction, maps, drawn, self._subjects))
