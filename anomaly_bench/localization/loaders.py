"""The images of a trainer: those to validate on, and which number each has, whichever process meets it."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import CombinedLoader
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from anomaly_bench.models.batches import image_of
from data_modules.base.batch import AnomalyBatch
from data_modules.modules.base import AnomalyDataModule
from data_modules.modules.dataset import SliceDataset

from .tallies.batches import chosen, completed

Given = tuple[Any, pl.LightningDataModule | None]  # validation loaders, and the data module that they came from


class Images:
    """The validation images of a trainer with an anomalous pixel, or those without: batches that can be gone through again.

    Of each loader as many batches as `limit_val_batches` says.
    """

    def __init__(self, trainer: pl.Trainer, loaders: Sequence[Any], anomalous: bool) -> None:
        self.trainer, self.loaders, self.anomalous = trainer, loaders, anomalous

    def __iter__(self) -> Iterator[AnomalyBatch]:
        number = 0
        for index, loader in enumerate(self.loaders):
            for _, batch in zip(range(self._limit(loader)), loader, strict=False):
                moved = self.trainer.strategy.batch_to_device(batch, dataloader_idx=index)
                count = len(image_of(moved))
                images = completed(moved, torch.arange(number, number + count))
                number += count
                wanted = images["mask"].flatten(1).any(1) == self.anomalous
                if wanted.any():
                    yield chosen(images, wanted)

    def _limit(self, loader: Any) -> int:
        limit, length = self.trainer.limit_val_batches, _length(loader)
        if isinstance(limit, float):
            return int(length * limit) if limit < 1 else length
        return min(length, limit)


class Numbers:
    """Which images of some loaders this process has met, by their numbers in the set."""

    def __init__(self, loaders: Any) -> None:
        self.loaders = flat(loaders)
        self.met = [0] * len(self.loaders)

    def take(self, batch: Mapping[str, Any], index: int) -> AnomalyBatch:
        """The next batch of a loader, without images that another process meets as well.

        A distributed sampler repeats the first images of a set so that each process has as many as the others.
        """
        sampler, count = _sampler(self.loaders[index]), len(image_of(batch))
        numbers = torch.arange(self.met[index], self.met[index] + count)
        self.met[index] += count
        kept = torch.ones(count, dtype=torch.bool)
        if isinstance(sampler, DistributedSampler):
            numbers = numbers * sampler.num_replicas + sampler.rank
            kept = numbers < len(sampler.dataset)  # type: ignore[arg-type]
        before = sum(map(self._size, range(index)))
        return chosen(completed(batch, before + numbers), kept)

    def _size(self, index: int) -> int:
        """How many images all processes met in a loader that is done."""
        sampler = _sampler(self.loaders[index])
        return len(sampler.dataset) if isinstance(sampler, DistributedSampler) else self.met[index]  # type: ignore[arg-type]


def names_of(loaders: Any) -> tuple[Mapping[int, str], Mapping[int, dict[str, str]]]:
    """By id, the names of subjects and what is known of each: of our own datasets; else a subject is called by its number."""
    for loader in flat(loaders):
        if isinstance(dataset := getattr(loader, "dataset", None), SliceDataset):
            store = dataset.store
            return dict(enumerate(store.subjects)), dict(enumerate(store.attributes))
    return Numbered(), defaultdict(dict)


class Numbered(dict[int, str]):
    """Every number's name."""

    def __missing__(self, number: int) -> str:
        return str(number)


def flat(loaders: Any) -> list[Any]:
    """The loaders in whatever collection a trainer has been given them, in order."""
    if isinstance(loaders, CombinedLoader):
        return list(loaders.flattened)
    return [] if loaders is None else list(CombinedLoader(loaders, "sequential").flattened)


def undistributed(loader: Any) -> Any:
    """The loader of all images where a distributed sampler has left a process only a part of them."""
    if not isinstance(_sampler(loader), DistributedSampler):
        return loader
    return DataLoader(
        loader.dataset,
        loader.batch_size or loader.batch_sampler.batch_size,
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        worker_init_fn=loader.worker_init_fn,
        pin_memory=loader.pin_memory,
    )


def _sampler(loader: Any) -> Any:
    return getattr(getattr(loader, "batch_sampler", None), "sampler", None) or getattr(loader, "sampler", None)


def _length(loader: Any) -> int:
    """How many batches a loader has, as far as it says so."""
    try:
        return len(loader)
    except TypeError:  # an iterable dataset has no length
        return sys.maxsize


def source_of(trainer: pl.Trainer) -> pl.LightningDataModule | None:
    """The data module that the images of the loop at work come from; None if loaders were handed over."""
    loop = trainer.fit_loop.epoch_loop.val_loop if trainer.state.fn == TrainerFn.FITTING else trainer._active_loop
    source = getattr(getattr(loop, "_data_source", None), "instance", None)
    return source if isinstance(source, pl.LightningDataModule) else None


def validation_loaders(trainer: pl.Trainer, data: pl.LightningDataModule | None, given: Given) -> list[Any]:
    """All validation images, in each process: of the data module, or else those given to fit or validate before.

    A data module that was fitted or validated is not asked again: it might divide its images another way.
    Raises ValueError if a data module has none.
    """
    loaders, owner = given
    if data is not None and data is not owner:
        try:
            data.setup("validate")  # a trainer that tests has only set up what it tests
            loaders = data.val_dataloader()
        except (AttributeError, MisconfigurationException) as error:
            raise ValueError(
                f"{type(data).__name__}: before a test its validation images calibrate the maps, and it could not give them "
                f'after setup("validate"): {error}'
            ) from error
    return [undistributed(loader) for loader in flat(loaders)]


def polarity_of(trainer: pl.Trainer) -> str | None:
    """What anomalies of a trainer's dataset are known to be, of one of our own."""
    data = source_of(trainer)
    return data.polarity if isinstance(data, AnomalyDataModule) else None


def check_normal(normal: Images) -> None:
    """Raises ValueError if there are none, which calibrate the maps."""
    if next(iter(normal), None) is None:
        raise ValueError(
            "expected normal validation images, which calibrate the maps, got none; give the trainer a data module with "
            "such, as in trainer.test(model, data), or fit or validate with it before, and mind limit_val_batches"
        )
