"""Overrides that make a run small."""

from __future__ import annotations

from pathlib import Path

from fakes import write_mvtec

SMALL = [
    "dataset.size=[16,16]",
    "model.channels=[4,8]",
    "model.latent=4",
    "trainer.max_epochs=1",
    "trainer.batch_size=8",
    "trainer.accelerator=cpu",
    "localization.bits=16",
    "localization.resamples=20",
    "localization.pictures=2",
]


def replaced(overrides: list[str], *others: str) -> list[str]:
    """The overrides, others in place of those of the same keys."""
    keys = {text.partition("=")[0] for text in others}
    return [*(text for text in overrides if text.partition("=")[0] not in keys), *others]


def tiles(folder: Path) -> list[str]:
    """Writes the small pictures below the folder; overrides of small runs on them, with their cache in it."""
    write_mvtec(folder / "mvtec/tile")
    data = ["dataset=mvtec_ad", "dataset.category=tile", "dataset.split.holdout=0.3"]
    return [*data, f"dataset.root={folder / 'mvtec'}", *SMALL, f"cache_dir={folder / 'cache'}"]
