"""A Lightning user's script for two processes; started as `distributed_script.py ROOT FOLDER`, it writes what each has seen."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytorch_lightning as pl
import torch
from fakes import pictures_config

from data_modules.modules.pictures import PictureDataModule


class Counting(pl.LightningModule):
    """Fits one number, and notes the names of the images of every step."""

    def __init__(self, data: PictureDataModule) -> None:
        super().__init__()
        self.data, self.mean, self.seen = data, torch.nn.Parameter(torch.zeros(())), dict[str, list[list[str]]]()

    def note(self, step: str, batch: Any) -> None:
        names = [self.data.store.subjects[subject] for subject in batch["subject"]]
        self.seen.setdefault(step, []).append(names)

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        self.note("train", batch)
        return (batch["image"] - self.mean).square().mean()

    def validation_step(self, batch: Any, index: int, dataloader_idx: int = 0) -> None:
        self.note(f"val{dataloader_idx}", batch)

    def test_step(self, batch: Any, index: int) -> None:
        self.note("test", batch)

    def predict_step(self, batch: Any, index: int) -> torch.Tensor:
        self.note("predict", batch)
        return batch["image"].mean((1, 2, 3))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def main(root: str, folder: str) -> None:
    data = PictureDataModule(pictures_config(Path(root)), cache_dir=Path(folder) / "cache", batch_size=4)
    model = Counting(data)
    trainer = pl.Trainer(
        strategy="ddp",
        devices=2,
        accelerator="cpu",
        max_epochs=2,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        enable_progress_bar=False,
    )
    trainer.fit(model, data)
    trainer.test(model, data)
    trainer.predict(model, data, return_predictions=False)
    (Path(folder) / f"rank{os.environ.get('LOCAL_RANK', '0')}.json").write_text(json.dumps(model.seen))
    leave()


def leave() -> NoReturn:
    """Ends this process once all have come here; at once, as gloo's threads may abort an interpreter that shuts down."""
    torch.distributed.barrier()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
