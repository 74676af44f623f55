"""The LightningDataModule that volumes and pictures share: cases → slice store → splits → batches."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from .batch import AnomalyBatch
from .config import DatasetConfig
from .embedded import ensure_embedded
from .errors import DataError
from .layout import Case, Tree
from .split import SPLITS, split_cases, split_digest
from .store import FORMAT, Progress, Slices, SliceStore, build_store, open_store

UNHASHED = ("root", "embedded", "split", "domain")


class SliceDataset(Dataset[AnomalyBatch]):
    """Some slices of a store; an item is a whole batch, asked for by a list of positions."""

    def __init__(self, store: SliceStore, indices: NDArray[np.int64]) -> None:
        self.store, self.indices = store, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, positions: list[int]) -> AnomalyBatch:
        return self.store.batch(self.indices[np.asarray(positions)])


class AnomalyDataModule(pl.LightningDataModule):
    """Normal images to train on; normal and anomalous ones to validate and test on.

    Train: normal slices of the train subjects, those without any label. Validation: two loaders, the normal slices of the
    val subjects, then their anomalous ones. Test: every slice of the test subjects, in the order of subjects and slices.
    """

    def __init__(
        self,
        config: DatasetConfig,
        cache_dir: Path,
        batch_size: int = 32,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        self.config, self.cache_dir, self.batch_size, self.seed, self.progress = (
            config,
            cache_dir,
            batch_size,
            seed,
            progress,
        )
        self._check_size()

    @abstractmethod
    def find_cases(self, tree: Tree) -> list[Case]:
        """Every subject of the dataset with its files. Raises DataError if there is none or a file is missing."""

    @abstractmethod
    def read_case(self, tree: Tree, case: Case) -> Slices:
        """Decode one subject. Raises DataError naming the file for whatever cannot be used."""

    def prepare_data(self) -> None:
        """Make the embedded data if asked for, find the cases and build (or open) the slice store."""
        tree = Tree(self.root())
        cases = sorted(self.find_cases(tree), key=lambda case: case.subject)
        self.split = split_cases(cases, self.config.split)
        folder = self.cache_dir / "stores" / f"{self.config.name}-{self._store_key(tree, cases)}"
        self.store = open_store(folder) or build_store(folder, self._settings(), self._decode(tree, cases))

    def setup(self, stage: str | None = None) -> None:
        """Divide the slices among the splits."""
        del stage
        part_of = {name: part for part in SPLITS for name in self.split[part]}
        parts = np.array([part_of[name] for name in self.store.subjects])[self.store.subject]
        normal = self.store.normal
        self.indices = {
            "train": np.flatnonzero((parts == "train") & normal),
            "val_normal": np.flatnonzero((parts == "val") & normal),
            "val_anomalous": np.flatnonzero((parts == "val") & self.store.anomalous),
            "test": np.flatnonzero(parts == "test"),
        }
        for part, where in (("train", "train"), ("val_normal", "validation")):
            if len(self.indices[part]) == 0:
                raise DataError(f"{self.config.name}: the {where} subjects have no normal slice; change dataset.split")
        if not self.store.anomalous[self.indices["test"]].any():
            raise DataError(f"{self.config.name}: the test subjects have no anomalous pixel; change dataset.split")

    def root(self) -> Path:
        """The folder that holds the data; embedded data is made on first use."""
        if self.config.embedded:
            return ensure_embedded(self.config.embedded, self.cache_dir, self.progress)
        if self.config.root is None:
            raise DataError(
                f"dataset.root is not set: say where {self.config.name} lies, "
                "dataset.root=FOLDER (or DATA_ROOT=FOLDER with make)"
            )
        return Path(self.config.root).expanduser()

    def describe(self) -> str:
        """A line on what was found: subjects and slices of every split, and what was left out."""
        counts = {part: len(indices) for part, indices in self.indices.items()}
        anomalous = int(self.store.anomalous[self.indices["test"]].sum())
        subjects = ", ".join(f"{len(self.split[part])} {part}" for part in SPLITS)
        text = (
            f"{self.config.name} in {self.root()}: subjects {subjects}; images {counts['train']} train, "
            f"{counts['val_normal']} normal and {counts['val_anomalous']} anomalous val, "
            f"{counts['test']} test ({anomalous} anomalous)"
        )
        if self.store.dropped:
            text += f"; {self.store.dropped:.1%} of the anomalous voxels lie in slices with too little brain, left out"
        return text

    @property
    def fingerprint(self) -> str:
        """Digest of the content of the data and of everything that changes its pixels."""
        return self.store.fingerprint

    @property
    def split_digest(self) -> str:
        return split_digest(self.split)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        return self.store.shape

    def train_dataloader(self) -> DataLoader[AnomalyBatch]:
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> list[DataLoader[AnomalyBatch]]:
        return [self._loader("val_normal"), self._loader("val_anomalous")]

    def test_dataloader(self) -> DataLoader[AnomalyBatch]:
        return self._loader("test")

    def _loader(self, part: str, shuffle: bool = False) -> DataLoader[AnomalyBatch]:
        dataset = SliceDataset(self.store, self.indices[part])
        generator = torch.Generator().manual_seed(self.seed)
        sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        drop_last = shuffle and len(dataset) >= self.batch_size
        return DataLoader(dataset, sampler=BatchSampler(sampler, self.batch_size, drop_last), batch_size=None)

    def _decode(self, tree: Tree, cases: list[Case]) -> Iterator[Slices]:
        for done, case in enumerate(cases):
            if self.progress:
                self.progress(done, len(cases))
            yield self.read_case(tree, case)
        if self.progress:
            self.progress(len(cases), len(cases))

    def _settings(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self.config).items() if key not in UNHASHED}

    def _store_key(self, tree: Tree, cases: list[Case]) -> str:
        stats = [(file, (tree.root / file).stat()) for case in cases for file in case.files]
        files = [(file, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for file, s in stats]
        parts = [FORMAT, code_digest(), self._settings(), str(tree.root.resolve()), files]
        return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()

    def _check_size(self) -> None:
        size = list(self.config.size)
        if len(size) != 2 or min(size) < 8:
            raise DataError(f"dataset.size={size}: expected [height, width], each at least 8")


def code_digest() -> str:
    """Digest of this package's own source: another version of the code never reads an older version's store."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def file_digest(paths: list[Path]) -> str:
    """Digest of the content of files, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
