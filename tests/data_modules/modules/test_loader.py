"""Batches that are gathered before they are asked for are the same ones, and their errors come where they would."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from torch.utils.data import RandomSampler

from data_modules.base.batch import AnomalyBatch
from data_modules.modules import base
from data_modules.modules.base import AnomalyDataModule
from data_modules.modules.dataset import SliceDataset
from data_modules.modules.loader import AHEAD, SliceLoader, ahead, collated
from tests.helpers.data.slices import several, store_of


def loader_of(store, seed: int = 0) -> SliceLoader:
    dataset = SliceDataset(store, np.arange(len(store)))
    sampler = RandomSampler(dataset, generator=torch.Generator().manual_seed(seed))
    return SliceLoader(dataset, batch_size=5, sampler=sampler, collate_fn=collated)


def two_epochs(loader: SliceLoader) -> list[AnomalyBatch]:
    return [*loader, *loader]


def test_a_streaming_store_gives_the_same_batches_in_every_epoch(tmp_path):
    store = store_of(tmp_path / "store", several())
    torch.manual_seed(0)
    expected = two_epochs(loader_of(store))
    drawn = torch.rand(1)
    store.streams = True
    torch.manual_seed(0)
    streamed = two_epochs(loader_of(store))
    assert torch.equal(torch.rand(1), drawn)
    for one, other in zip(expected, streamed, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_no_more_than_a_few_are_gathered_and_the_thread_ends_with_the_loop():
    asked, before = [], threading.active_count()
    batches = ahead(asked.append(number) or {"image": torch.zeros(number)} for number in range(100))
    assert len(next(batches)["image"]) == 0
    time.sleep(0.05)
    assert len(asked) <= AHEAD + 3
    batches.close()
    assert threading.active_count() == before


def test_an_error_comes_where_its_batch_would():
    def failing():
        yield {"image": torch.zeros(1)}
        raise OSError("the disk is gone")

    batches = ahead(failing())
    assert len(next(batches)["image"]) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


@pytest.mark.parametrize(("free", "held", "streams"), [(4.0, True, False), (3.9, False, True)])
def test_a_gpu_holds_what_a_quarter_of_it_takes_and_the_rest_comes_ahead(monkeypatch, free, held, streams):
    class Store:
        held_bytes, streams, device = 1000, False, None

        def hold(self, device) -> None:
            self.device = device

    class Data:
        store = Store()
        hold = AnomalyDataModule.hold

    data, gpu = Data(), torch.device("cuda", 0)
    data.store = Store()
    monkeypatch.setattr(base, "free_memory", lambda device: 1000 * free)
    AnomalyDataModule.place(data, torch.device("cpu"))
    assert (data.store.device, data.store.streams) == (None, False)
    AnomalyDataModule.place(data, gpu)
    assert (data.store.device == gpu, data.store.streams) == (held, streams)
