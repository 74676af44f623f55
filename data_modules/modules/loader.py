"""A loader whose next batch is gathered while the last one is computed on, where the store is left on the disk of a GPU."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch.utils.data import DataLoader

from data_modules.base.batch import AnomalyBatch

AHEAD = 2  # batches


def collated(batch: Any) -> Any:
    """What a loader makes of a batch that its dataset has gathered already: nothing else."""
    return batch


class SliceLoader(DataLoader[AnomalyBatch]):
    """A DataLoader of a SliceDataset. If its store streams, a thread gathers AHEAD batches before they are asked for, in
    pinned memory, from where they go to a GPU without a wait; the batches, their order and what is drawn for them are the same.
    """

    def __iter__(self) -> Iterator[AnomalyBatch]:  # type: ignore[override]
        batches = super().__iter__()
        store = getattr(self.dataset, "store", None)
        return ahead(batches) if getattr(store, "streams", False) else batches


def ahead(batches: Iterator[AnomalyBatch]) -> Iterator[AnomalyBatch]:
    """The same batches, in pinned memory where there is a GPU; an error comes where its batch would."""
    waiting: queue.Queue[tuple[AnomalyBatch | None, BaseException | None]] = queue.Queue(AHEAD)
    stop = threading.Event()

    def gather() -> None:
        found: tuple[AnomalyBatch | None, BaseException | None] = None, None
        try:
            for batch in batches:
                if not _put(waiting, (pinned(batch), None), stop):
                    return
        except BaseException as error:  # told where the batch is asked for
            found = None, error
        _put(waiting, found, stop)

    thread = threading.Thread(target=gather, daemon=True)
    thread.start()
    try:
        while True:
            batch, error = waiting.get()
            if error is not None:
                raise error
            if batch is None:
                return
            yield batch
    finally:
        stop.set()
        thread.join()


def pinned(batch: AnomalyBatch) -> AnomalyBatch:
    """The batch in memory that a GPU reads by itself; as it is where there is no GPU."""
    if not torch.cuda.is_available():
        return batch
    moved: Any = {key: value.pin_memory() for key, value in batch.items()}  # type: ignore[attr-defined]
    return cast(AnomalyBatch, moved)


def _put(waiting: queue.Queue[Any], what: Any, stop: threading.Event) -> bool:
    """Whether somebody still waits for it."""
    while not stop.is_set():
        try:
            waiting.put(what, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False
