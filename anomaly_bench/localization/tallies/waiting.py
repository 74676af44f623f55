"""Batches whose maps are counted on a device, and what comes over of them when a pass ends."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from anomaly_bench.metrics import Regions, find_regions
from anomaly_bench.metrics.bins import any_order
from anomaly_bench.metrics.transfers import Fetch
from data_modules.base.batch import AnomalyBatch


class Facts(NamedTuple):
    """Of each image of a batch, (B,): its foreground pixels, whether one is anomalous, its subject and its slice."""

    size: Tensor
    label: Tensor
    subject: Tensor
    slice: Tensor


class Batch:
    """An AnomalyBatch on a device, `batch["mask"]` and so on; all rows share what is asked of it.

    facts: on the device, until `read` puts them in main memory. lesions: whether regions will be asked for.
    """

    def __init__(self, batch: AnomalyBatch, lesions: bool) -> None:
        self.batch: Mapping[str, Tensor] = batch  # type: ignore[assignment]
        mask, foreground = batch["mask"], batch["foreground"]
        label = (mask & foreground).flatten(1).any(1)
        self.facts = Facts(foreground.flatten(1).sum(1), label, batch["subject"], batch["slice"])
        self._fetch = Fetch([mask, foreground]) if lesions else None

    def __getitem__(self, key: str) -> Tensor:
        return self.batch[key]

    @cached_property
    def regions(self) -> Regions:
        """The regions of its masks within the foreground; waits until these have come over."""
        assert self._fetch is not None
        mask, foreground = self._fetch.get()
        return find_regions(mask).within(foreground)

    @cached_property
    def owned(self) -> tuple[Tensor, Tensor]:
        """The regions' pixels and whose each is, (P,) int64 on the device."""
        device = self.batch["mask"].device
        pixels, owner = (torch.from_numpy(part).long() for part in (self.regions.pixels, self.regions.owner))
        return pixels.to(device, non_blocking=True), owner.to(device, non_blocking=True)


class Waiting:
    """What one row knows of a batch on a device: top (B, k) its highest scores, nan (B,) whether an image has any.

    called: (B, 1, H, W) bool, until `cover` makes of it how many pixels of each region are called anomalous: covered.
    """

    def __init__(self, batch: Batch, top: Tensor, nan: Tensor, called: Tensor | None) -> None:
        self.batch, self.top, self.nan, self.called = batch, top, nan, called
        self.covered: Tensor | None = None

    def cover(self) -> None:
        """Count the called pixels of each region; waits for the masks of the batch, and for no map."""
        if self.called is not None:
            pixels, owner = self.batch.owned
            covered = owner.new_zeros(len(self.batch.regions.sizes))
            with any_order():
                self.covered = covered.scatter_add_(0, owner, self.called.flatten()[pixels].long())
            self.called = None
