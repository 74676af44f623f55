"""What a run's config may say; every key, its type and its default. The datasets' keys are in data_modules.config."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from data_modules.config import DatasetConfig


@dataclass
class ModelConfig:
    """Keys of model=vae."""

    name: str = MISSING
    kind: str = MISSING
    latent: int = 64
    channels: list[int] = field(default_factory=lambda: [16, 32, 64, 64])
    sigma: float = 0.1
    learn_sigma: bool = False
    lr: float = 1e-3


@dataclass
class BetaVAEConfig(ModelConfig):
    """Keys of model=beta_vae."""

    beta: float = 4.0
    normalised: bool = False
    warmup_epochs: int = 0


MODEL_SCHEMAS: dict[str, type[ModelConfig]] = {"vae": ModelConfig, "beta_vae": BetaVAEConfig}


@dataclass
class PredictorsConfig:
    """The predictors of a run by name: `use` and the arguments of the class it names."""

    members: dict[str, dict[str, Any]] = MISSING
    only: list[str] | None = None


@dataclass
class TrainerConfig:
    """How a model is trained."""

    max_epochs: int = 30
    patience: int = 10
    batch_size: int = 32
    accelerator: str = "auto"
    precision: str = "32-true"


@dataclass
class LocalizationConfig:
    """How maps are turned into metrics and pictures."""

    fpr: float = 0.01
    image_share: float = 0.01
    bits: int = 20
    monitor_every: int = 10
    monitor_images: int = 64
    pictures: int = 6
    level_images: int = 512


@dataclass
class RunConfig:
    """Everything that one run needs."""

    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    predictors: PredictorsConfig = field(default_factory=PredictorsConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    localization: LocalizationConfig = field(default_factory=LocalizationConfig)
    seed: int = 0
    out: str = "runs"
    cache_dir: str | None = None
    logger: str = "csv"

    @property
    def cache(self) -> Path:
        """The folder for slice stores and embedded data."""
        default = os.environ.get("ANOMALY_BENCH_CACHE", "~/.cache/anomaly_bench")
        return Path(self.cache_dir or default).expanduser()
