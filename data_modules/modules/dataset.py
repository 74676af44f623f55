"""The images of a split as a torch dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from data_modules.base.batch import AnomalyBatch
from data_modules.store.store import SliceStore

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
