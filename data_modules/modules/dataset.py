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
        rows = self.rows[np.asarray(positions)]
        depth = rows.shape[1]
        every = self.store.batch(rows.ravel())
        image, mask, foreground, weight = (
            side_by_side(every[key], depth) for key in ("image", "mask", "foreground", "region_weight")
        )
        slices = every["slice"].view(-1, depth)
        batch = AnomalyBatch(
            image=image,
            mask=mask,
            foreground=foreground,
            region_weight=weight,
            subject=every["subject"][::depth],
            slice=slices,
        )
        batch = self.augment(batch) if self.augment else batch
        counting = torch.from_numpy(self.counting[np.asarray(positions)]).to(image.device)[:, None, :, None, None]
        batch["image"] = batch["image"].unflatten(1, (depth, -1)).transpose(1, 2)
        for key in ("mask", "foreground", "region_weight"):
            batch[key] = batch[key][:, None] * counting
        return batch
