"""The images of a split as a torch dataset, one by one or as volumes of neighbouring ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from data_modules.base.batch import AnomalyBatch
from data_modules.store.store import SliceStore
from data_modules.transforms.context import side_by_side, windows

Augment = Callable[[AnomalyBatch], AnomalyBatch]


class SliceDataset(Dataset[AnomalyBatch]):
    """Some images of a store; an item is a batch of one, and a loader gathers a whole batch at once, augmented if so wished.

    context: how many neighbouring slices on either side go with each. normal: whether those with a label are left out of it.
    """

    def __init__(
        self,
        store: SliceStore,
        indices: NDArray[np.int64],
        augment: Augment | None = None,
        context: int = 0,
        normal: bool = False,
    ) -> None:
        self.store, self.indices, self.augment = store, indices, augment
        self.context, self.normal = context, normal

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> AnomalyBatch:
        return self.__getitems__([position])

    def __getitems__(self, positions: Sequence[int]) -> AnomalyBatch:
        """The batch of these positions; torch's loaders ask for it, and hand it to their collate_fn."""
        indices = self.indices[np.asarray(positions)]
        around = self.context > 0
        batch = self.store.batch_around(indices, self.context, self.normal) if around else self.store.batch(indices)
        batch = self.augment(batch) if self.augment else batch
        if around:
            batch["foreground"] = batch["foreground"][:, self.context : self.context + 1]
        return batch


class VolumeDataset(SliceDataset):
    """The same images as volumes (C, D, H, W) of `depth` slices in a row, each of which counts in one of them; see `windows`.

    A slice that counts in another volume, or in none, has no foreground and an empty mask there. step: how far the numbers of
    slices in a row are apart. normal: whether there are no other slices than those images in any volume; else the volumes are
    of whatever the store has of their subjects.
    """

    def __init__(
        self,
        store: SliceStore,
        indices: NDArray[np.int64],
        depth: int,
        step: int,
        augment: Augment | None = None,
        normal: bool = False,
    ) -> None:
        super().__init__(store, indices, augment, normal=normal)
        wanted = np.isin(np.arange(len(store)), indices)
        seen = wanted if normal else None
        self.rows, self.counting = windows(store.subject, store.slice, depth, step, wanted, seen)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, positions: Sequence[int]) -> AnomalyBatch:
        chosen = np.asarray(positions)
        return as_volumes(self.store.batch(self.rows[chosen].ravel()), self.counting[chosen], self.augment)


def as_volumes(slices: AnomalyBatch, counting: NDArray[np.bool_], augment: Augment | None = None) -> AnomalyBatch:
    """A batch of volumes from that of their slices, volume after volume; counting: (B, D), which of them count."""
    depth = counting.shape[1]
    image, mask, foreground, weight = (
        side_by_side(part, depth)
        for part in (slices["image"], slices["mask"], slices["foreground"], slices["region_weight"])
    )
    batch = AnomalyBatch(
        image=image,
        mask=mask,
        foreground=foreground,
        region_weight=weight,
        subject=slices["subject"][::depth],
        slice=slices["slice"].view(-1, depth),
    )
    batch = augment(batch) if augment else batch
    counts = torch.from_numpy(counting).to(image.device)[:, None, :, None, None]
    return AnomalyBatch(
        image=batch["image"].unflatten(1, (depth, -1)).transpose(1, 2),
        mask=batch["mask"][:, None] & counts,
        foreground=batch["foreground"][:, None] & counts,
        region_weight=batch["region_weight"][:, None] * counts,
        subject=batch["subject"],
        slice=batch["slice"],
    )
