"""The LightningDataModule that volumes and pictures share: cases → slice store → splits → batches."""

from __future__ import annotations

import logging
import re
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, Subset

from data_modules.base.batch import AnomalyBatch, Slices
from data_modules.base.config import POLARITIES, DatasetConfig, NiftiConfig, deciding
from data_modules.base.digests import DigestCache, Progress, hash_of
from data_modules.base.errors import DataError, Report, stop
from data_modules.base.names import cache_folder, data_folder, dataset_name, folder_of, normalised, unit_of
from data_modules.base.options.compose import plain
from data_modules.cases.case import SPLITS, Case
from data_modules.cases.duplicates import DUPLICATES, disagreeing, parted, refuse, together, twins
from data_modules.cases.split import doubts, split_cases, split_digest
from data_modules.cases.subjects_csv import attach_attributes
from data_modules.cases.unused import Unused, listed
from data_modules.embedded import ensure_embedded
from data_modules.store.batches import Device, free_memory
from data_modules.store.build import build_store
from data_modules.store.contents import Content, read_contents, with_companion
from data_modules.store.format import STORAGES
from data_modules.store.journal import FORMAT, Header
from data_modules.store.pixel_code import code_digest, library_versions
from data_modules.store.store import SliceStore, open_store

from .configured import configured
from .dataset import Augment, SliceDataset, VolumeDataset
from .loader import SliceLoader, collated

logger = logging.getLogger(__name__)
FREE_SHARE = 0.25  # of a GPU's free memory, for the images


class AnomalyDataModule(pl.LightningDataModule):
    """Normal images to train on; normal and anomalous ones to validate and test on.

    Train: normal slices of the train subjects, those without any label. Validation: two loaders, the normal slices of the
    val subjects, then their anomalous ones. Test: every slice of the test subjects, normal or anomalous, in the order of
    subjects and slices. A slice with none but labels that do not count as anomalous is in none of them. To predict on: the
    test images. Every batch is an AnomalyBatch.

    dataset: a name, of the shipped datasets or of your own (ANOMALY_BENCH_CONFIG_DIR), or a whole config; keys: any of its
    keys with another value, as `dataset.KEY=VALUE` on the command line, so that the same data are the same store, split and
    fingerprint. eval_batch_size: of images to validate, test and predict on; None: batch_size. seed: of the order and the
    augmentation of training images. cache_dir: for slice stores and embedded data; data_dir: where a dataset without `root`
    lies, in a folder of its name; None: what the environment says of both, see cache_folder and data_folder. progress: called
    with (done, total) while data are prepared; None: a bar on a terminal.

    Raises DataError on construction for a name, key, batch size or value that cannot be.
    """

    schema: type[DatasetConfig]  # of the datasets that a subclass reads

    def __init__(
        self,
        dataset: str | DatasetConfig,
        *,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        seed: int = 0,
        cache_dir: str | Path | None = None,
        data_dir: str | Path | None = None,
        progress: Progress | None = None,
        **keys: Any,
    ) -> None:
        super().__init__()
        sizes = {"batch_size": batch_size} | ({} if eval_batch_size is None else {"eval_batch_size": eval_batch_size})
        for key, size in sizes.items():
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise DataError(f"{key}={size!r}: expected a whole number of images, at least 1")
        self.config = configured(dataset, keys, self.schema, seed)
        self.cache_dir, self.data_dir = cache_folder(cache_dir), data_folder(data_dir)
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.seed, self.progress = seed, progress
        self._check_config()
        name = dataset if isinstance(dataset, str) else self.config.name
        settings = {"dataset": name, "batch_size": batch_size, "seed": seed, **plain(keys)}
        self.save_hyperparameters(settings, logger=False)  # the run of an experiment says what is logged
        self.unused: list[Unused] = []
        self._digests = DigestCache(self.cache_dir / "digests" / f"{self.config.name}.jsonl")

    @abstractmethod
    def find_cases(self, report: Report = stop) -> list[Case]:
        """Every subject of the dataset with its files.

        report: told of a DataError for each subject that lacks a file or cannot be told from another; if it returns,
        that subject is left out and the search goes on. What lies there and belongs to no subject is `unused` afterwards.
        Raises DataError if there is nothing at all to read.
        """

    @abstractmethod
    def read_case(self, case: Case) -> Slices:
        """Decode one subject. Raises DataError naming the file for whatever cannot be used."""

    @abstractmethod
    def nothing_anomalous(self, dropped: bool) -> tuple[str, str]:
        """What is said of a dataset without an anomalous pixel, which no split can mend, and the remedy.

        dropped: whether there are some, all in slices that are left out.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__} of {self.image_shape} images: {self.describe()}"

    __str__ = __repr__

    def prepare_data(self) -> None:
        """Make the embedded data if asked for, find the cases and build (or open) the slice store.

        Raises DataError for images that stand there twice as far as dataset.duplicates says so, and if two splits have one
        in common: files that give the same slices. An image of a single value is like no other. Once done it is done,
        however often a trainer asks.
        """
        if "store" not in vars(self):
            with self._showing():
                self._prepare()

    def _prepare(self) -> None:
        cases = attach_attributes(self.find_cases(), self.config.subjects_file)
        self.cases = sorted(cases, key=lambda case: case.subject)
        self.split = split_cases(
            self.cases, self.config.split
        )  # before anything is decoded: what cannot be divided is told
        contents = read_contents(self.cases, self._digests, self.progress)
        store = self._open(contents)
        self._part_twins(store)
        store.attributes = [case.attributes for case in self.cases]
        self.store = store
        for said in filter(None, (self._left_out(), *doubts(self.split, self.cases, self.config))):
            logger.warning("%s: %s", dataset_name(self.config), said)

    def _part_twins(self, store: SliceStore) -> None:
        """Do with images that stand there twice what dataset.duplicates says."""
        cases, split, wanted = self.cases, self.config.split, self.config.duplicates
        images = self._decoded_images(store)
        pairs = twins(images)
        anomalous = set(np.unique(store.subject[store.anomalous]).tolist())
        differing = disagreeing(cases, store.truths, anomalous, pairs, wanted)
        self.repeated = [(cases[first].subject, cases[other].subject) for first, other in pairs]
        if wanted == "error":
            refuse(cases, pairs)
        elif wanted == "drop":
            refuse(cases, [pair for pair in pairs if images[pair[0]] != images[pair[1]]])
            self.split = split_cases(cases, split, dropped={other for _, other in self.repeated})
        elif parted(cases, pairs, self.split):
            self.split = together(cases, pairs, split)
        if said := self._repetitions():
            lost = ", ".join(cases[other].subject for _, other in differing)
            masks = f"; with another mask than the one that is kept: {lost}" if lost else ""
            logger.warning("%s: %s%s (dataset.duplicates=%s)", dataset_name(self.config), said, masks, wanted)

    def setup(self, stage: str | None = None) -> None:
        """Divide the slices among the splits, whatever the stage; what prepare_data has not done in this process comes first.

        Of several processes at once, one builds the store while the others wait.
        """
        del stage
        self.prepare_data()
        part_of = {name: part for part in SPLITS for name in self.split[part]}
        parts = np.array([part_of.get(name, "") for name in self.store.subjects])[self.store.subject]
        normal = self.store.normal
        self.indices = {
            "train": np.flatnonzero((parts == "train") & normal),
            "val_normal": np.flatnonzero((parts == "val") & normal),
            "val_anomalous": np.flatnonzero((parts == "val") & self.store.anomalous),
            "test": np.flatnonzero((parts == "test") & (normal | self.store.anomalous)),
        }
        for part, where in (("train", "train"), ("val_normal", "validation")):
            if len(self.indices[part]) == 0:
                raise DataError(f"{self.config.name}: the {where} subjects have no normal slice; change dataset.split")
        if not self.store.anomalous.any():
            raise DataError(f"{self.config.name}: {'; '.join(self.nothing_anomalous(self.store.dropped > 0))}")
        if not self.store.anomalous[self.indices["test"]].any():
            raise DataError(f"{self.config.name}: the test subjects have no anomalous pixel; change dataset.split")

    def hold(self, device: Device) -> None:
        """Load the whole store into the memory of a device, where batches, otherwise the same, then come from."""
        self.store.hold(device)

    def place(self, device: torch.device) -> None:
        """Have batches come to a GPU as quickly as they can: from its memory if a quarter of what is free takes the store.

        If not, the next ones are gathered from the disk, into pinned memory, while one is computed on. On another device
        everything stays as it is.
        """
        if device.type != "cuda":
            return
        if FREE_SHARE * free_memory(device) >= self.store.held_bytes:
            self.hold(device)
        else:
            self.store.streams = True

    def root(self) -> Path:
        """The folder that holds the data; embedded data is made on first use."""
        if self.config.embedded:
            if self.config.root is not None:
                raise DataError(
                    f"dataset.root={self.config.root}: {self.config.name} is embedded; leave dataset.root out"
                )
            return ensure_embedded(self.config.embedded, self.cache_dir, self.progress)
        return folder_of(self.config, self.data_dir)

    def describe(self) -> str:
        """A line on what was found: subjects and slices of every split, and what was left out; or how to have it found."""
        if "indices" not in vars(self):
            return f"{dataset_name(self.config)}, not read yet; call data.setup()"
        counts = {part: len(indices) for part, indices in self.indices.items()}
        anomalous = int(self.store.anomalous[self.indices["test"]].sum())
        subjects = ", ".join(f"{len(self.split[part])} {part}" for part in SPLITS)
        text = (
            f"{dataset_name(self.config)} in {self.root()}: {unit_of(self.config)}s {subjects}; "
            f"images {counts['train']} train, {counts['val_normal']} normal and {counts['val_anomalous']} anomalous val, "
            f"{counts['test']} test ({anomalous} anomalous)"
        )
        if self.config.depth:
            volumes = {part: len(self._dataset(part)) for part in self.indices}
            text += (
                f"; as volumes of {self.config.depth} slices: {volumes['train']} train, {volumes['val_normal']} normal and "
                f"{volumes['val_anomalous']} anomalous val, {volumes['test']} test"
            )
        if self.store.dropped:
            text += f"; {self.store.dropped:.1%} of the anomalous voxels lie in slices with too little brain, left out"
        return "; ".join(filter(None, (text, self._repetitions())))

    def _left_out(self) -> str:
        """How many files of the dataset's folders belong to no subject; empty if all do."""
        files = [path for tree in self.unused for path in tree.files]
        count, unit = len(files), unit_of(self.config)
        belong = (
            f"file{'s belong' if count > 1 else ' belongs'} to no {unit} and {'are' if count > 1 else 'is'} left out"
        )
        return f"{count} {belong}: {listed(files)}; `anomaly-bench data verify` names them all" if files else ""

    def _repetitions(self) -> str:
        """What was done with images that stand there twice; empty if there are none."""
        count = len({other for _, other in self.repeated})
        done = "left out" if self.config.duplicates == "drop" else "each in the split of its original"
        return f"{count} {unit_of(self.config)}{'s'[: count - 1]} with the image of another: {done}" if count else ""

    @property
    def fingerprint(self) -> str:
        """Digest of the content of the data, prepared if need be, and of everything that changes its pixels."""
        self.prepare_data()
        return self.store.fingerprint

    @property
    def split_digest(self) -> str:
        """Digest of which subjects are in which split; the data are prepared if need be."""
        self.prepare_data()
        return split_digest(self.split)

    @property
    @abstractmethod
    def channels(self) -> int:
        """How many channels an image has, as the config says it."""

    @property
    def polarity(self) -> str | None:
        """bright or dark, where anomalies are known beforehand to be so; see DatasetConfig."""
        return self.config.polarity

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of every slice or picture, (C, D, H, W) of volumes of D slices; known before anything is prepared."""
        return self.channels, *filter(None, [self.config.depth]), *self._size

    @property
    def context(self) -> int:
        """How many slices on either side go with each image, as more channels; a model has to be told."""
        return self.config.context

    @property
    def _size(self) -> tuple[int, int]:
        """(H, W) of every image."""
        height, width = self.config.size
        return height, width

    def train_dataloader(self) -> DataLoader[AnomalyBatch]:
        return self._loader("train", shuffle=True)

    def normal_dataloader(self, images: int) -> DataLoader[AnomalyBatch]:
        """At most so many training images, evenly spread over all of them, in order and never augmented: for statistics."""
        if "indices" not in vars(self):
            self.setup()
        every = self._dataset("train")
        chosen = np.linspace(0, len(every) - 1, min(images, len(every))).astype(int)
        return DataLoader(Subset(every, chosen.tolist()), batch_size=self.batch_size, collate_fn=collated)

    def val_dataloader(self) -> list[DataLoader[AnomalyBatch]]:
        return [self._loader("val_normal"), self._loader("val_anomalous")]

    def test_dataloader(self) -> DataLoader[AnomalyBatch]:
        return self._loader("test")

    def predict_dataloader(self) -> DataLoader[AnomalyBatch]:
        """The test images."""
        return self._loader("test")

    @contextmanager
    def _showing(self) -> Iterator[None]:
        """With a bar as the progress, unless another one is given or another process shows it."""
        if self.progress is not None or getattr(rank_zero_only, "rank", None):
            yield
            return
        from data_modules.base.bars import bar

        try:
            with bar(f"prepare {dataset_name(self.config)}") as self.progress:
                yield
        finally:
            self.progress = None

    def _loader(self, part: str, shuffle: bool = False) -> DataLoader[AnomalyBatch]:
        if "indices" not in vars(self):
            self.setup()
        dataset = self._dataset(part, self._augment() if part == "train" else None)
        generator = torch.Generator().manual_seed(self.seed)
        sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        processes = self.trainer.world_size if self.trainer else 1
        drop_last = shuffle and len(dataset) >= self.batch_size * processes  # or one of them would have no batch at all
        # by keywords alone: Lightning makes loaders anew, with other samplers, from the arguments that they were made with
        size = self.batch_size if part == "train" else self.eval_batch_size or self.batch_size
        return SliceLoader(dataset, batch_size=size, sampler=sampler, drop_last=drop_last, collate_fn=collated)

    def _dataset(self, part: str, augment: Augment | None = None) -> SliceDataset:
        normal, indices = part in ("train", "val_normal"), self.indices[part]
        if self.config.depth is None:
            return SliceDataset(self.store, indices, augment, self.context, normal)
        return VolumeDataset(self.store, indices, self.config.depth, self._step, augment, normal)

    @property
    def _step(self) -> int:
        """How far the numbers of neighbouring slices are apart."""
        return self.config.slice_step if isinstance(self.config, NiftiConfig) else 1

    def _augment(self) -> Augment | None:
        if not self.config.augment:
            return None
        from data_modules.transforms.augment import build_augment

        return build_augment(self.config.augment, self.seed)

    def _open(self, contents: list[Content]) -> SliceStore:
        """The store of these files in its place, built if it is not there."""
        settings = self._settings()
        decoder = [FORMAT, code_digest(), library_versions(), settings, self.context]
        header = Header(
            name=self.config.name,
            fingerprint=hash_of([settings, contents], 16),
            settings=settings,
            storage=self.config.storage,
            reuse=hash_of(decoder, 16),
        )
        folder = self.cache_dir / "stores" / f"{self.config.name}-{hash_of([*decoder, contents], 8)}"
        store = open_store(folder)
        if store is not None:
            return store
        digests = [hash_of(content, 16) for content in contents]
        return build_store(folder, header, self.cases, self._read_whole, self.progress, digests)

    def _decoded_images(self, store: SliceStore) -> list[dict[str, str]]:
        """Per case and modality of volumes the digest of its slices; the channels of pictures count together."""
        if isinstance(self.config, NiftiConfig):
            return [
                dict(zip(case.images, own, strict=True)) for case, own in zip(self.cases, store.pixels, strict=True)
            ]
        return [{"image": "+".join(filter(None, own))} for own in store.pixels]

    def _read_whole(self, case: Case) -> Slices:
        slices = self.read_case(case)
        self._digests.check(part for file in case.files for part in with_companion(file))
        return slices

    def _settings(self) -> dict[str, Any]:
        """What decides pixels, as far as it is written in the config."""
        return normalised(deciding(self.config, "pixels"))

    def _check_config(self) -> None:
        size = list(self.config.size)
        if len(size) != 2 or min(size) < 8:
            raise DataError(f"dataset.size={size}: expected [height, width], each at least 8")
        if not re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*", self.config.name):
            raise DataError(
                f"dataset.name={self.config.name}: expected letters, digits and ._+- only, no dot in front; rename it"
            )
        if self.config.duplicates not in DUPLICATES:
            raise DataError(f"dataset.duplicates={self.config.duplicates}: expected {', '.join(DUPLICATES)}")
        if self.config.storage not in STORAGES:
            raise DataError(f"dataset.storage={self.config.storage}: expected {' or '.join(STORAGES)}")
        if self.config.polarity not in (None, *POLARITIES):
            raise DataError(f"dataset.polarity={self.config.polarity}: expected {' or '.join(POLARITIES)}, or null")
        if self.config.depth and self.context:
            raise DataError(
                f"dataset.depth={self.config.depth}, dataset.context={self.context}: a volume has its slices' neighbours in "
                "itself; set dataset.context=0, or dataset.depth=null"
            )
