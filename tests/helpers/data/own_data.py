"""A data module as a user writes it: dicts of images and masks, none of this project's classes."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

SHAPE = (1, 16, 16)


class Pictures(Dataset[dict[str, Tensor]]):
    """`normal` images of noise around a grey, and `anomalous` ones with a bright square, mixed; without masks if so wished."""

    def __init__(self, normal: int, anomalous: int, seed: int, masks: bool = True) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.images = 0.5 + 0.1 * torch.randn(normal + anomalous, *SHAPE, generator=generator)
        self.mask = torch.zeros(normal + anomalous, *SHAPE, dtype=torch.bool)
        for image in torch.randperm(normal + anomalous, generator=generator)[:anomalous].tolist():
            row, column = torch.randint(2, 10, (2,), generator=generator).tolist()
            self.mask[image, :, row : row + 4, column : column + 4] = True
        self.images += 0.4 * self.mask
        self.masks = masks

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = {"image": self.images[index]}
        return item | {"mask": self.mask[index]} if self.masks else item


class OwnData(pl.LightningDataModule):
    """Sets up by stage, as Lightning's examples do; one validation loader with both kinds of images."""

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.train = Pictures(48, 0, seed=0, masks=False)
        if stage in ("fit", "validate"):
            self.val = Pictures(12, 7, seed=1)
        if stage in ("test", "predict"):
            self.test = Pictures(6, 9, seed=2)

    def train_dataloader(self) -> Any:
        return DataLoader(self.train, batch_size=16, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.val, batch_size=8)

    def test_dataloader(self) -> Any:
        return DataLoader(self.test, batch_size=4)

    def predict_dataloader(self) -> Any:
        return self.test_dataloader()
