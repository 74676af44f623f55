"""What a run's config may say; every key, its type and its default. The datasets' keys are in data_modules.base.config.

What a key means stands beside it in the YAML of its group, or on a line `key: …` of its class (see .keys).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt, MinLen
from omegaconf import MISSING

from data_modules.base.config import NO_NUMBERS, SCHEMAS, DatasetConfig
from data_modules.base.names import cache_folder, data_folder
from leaderboard.record import CRITERIA

HUGE = Le(10**9)  # nobody means more, and what counts in 32 bits counts no further
AtLeastOne = Annotated[int, Ge(1), HUGE]
ZeroOrMore = Annotated[int, Ge(0), HUGE]
# what numbers of 32 bits, their squares and quotients stay finite with
Positive = Annotated[float, Ge(1e-9), HUGE]
Amount = Annotated[float, Ge(0), HUGE]
Width = Annotated[float, Ge(0), Le(1000)]
Features = Annotated[int, Ge(1), Le(10**6)]


@dataclass
class ModelConfig:
    """Keys of model=vae, which all models have."""

    name: str = MISSING
    kind: str = MISSING
    use: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    network: str = "conv"
    latent: AtLeastOne = 64
    channels: Annotated[list[Features], MinLen(1)] | None = field(default_factory=lambda: [16, 32, 64, 64])
    spatial: bool = False
    attention: ZeroOrMore = 0
    patch: AtLeastOne | None = None
    positions: str = "learned"
    likelihood: str = "gaussian"
    sigma: Positive = 0.1
    variance: str = "auto"
    noise: Amount = 0.0
    masks: Annotated[int, Ge(0), Le(1000)] = 0
    mask_size: Annotated[float, Gt(0), Le(1)] = 0.5
    channels_last: bool = False
    optimizer: str = "muon"
    lr: Positive | None = None
    weight_decay: Amount | None = None


@dataclass
class BetaVAEConfig(ModelConfig):
    """Keys of model=beta_vae."""

    beta: Positive = 4.0
    normalised: bool = False
    schedule: str = "warmup"
    warmup_epochs: ZeroOrMore = 0
    cycles: AtLeastOne = 4
    cycle_epochs: AtLeastOne = 10
    ramp: Annotated[float, Gt(0), Le(1)] = 0.5
    capacity: Amount = 25.0


@dataclass
class CEVAEConfig(BetaVAEConfig):
    """Keys of model=ce_vae."""

    masks: Annotated[int, Ge(0), Le(1000)] = 3
    context_weight: Positive = 1.0


@dataclass
class AEConfig(ModelConfig):
    """Keys of model=ae."""


MODEL_SCHEMAS: dict[str, type[ModelConfig]] = {
    "vae": ModelConfig,
    "beta_vae": BetaVAEConfig,
    "ce_vae": CEVAEConfig,
    "ae": AEConfig,
}


@dataclass
class PredictorsConfig:
    """The predictors of a run by name.

    members: `name: {use: …, **arguments}`, a row in the leaderboard each; `use` names the class
    """

    members: dict[str, dict[str, Any]] = MISSING
    only: list[str] | None = None


@dataclass
class TrainerConfig:
    """How a model is trained."""

    max_epochs: AtLeastOne = 1000
    patience: AtLeastOne = 5
    patience_steps: ZeroOrMore = 100
    rise: Annotated[float, Ge(0), Lt(1)] = 5e-4
    lr_factor: Annotated[float, Gt(0), Lt(1)] = 0.1
    lr_drops: ZeroOrMore = 0
    average: Annotated[float, Ge(0), Lt(1)] = 0.99
    batch_size: AtLeastOne = 16
    accelerator: str = "auto"
    devices: AtLeastOne = 1
    precision: str = "32-true"
    hold_data: bool | None = field(default=None, metadata=NO_NUMBERS)
    compile: bool = False
    checkpoint_share: Annotated[float, Ge(0), Le(1)] = field(default=0.01, metadata=NO_NUMBERS)


@dataclass
class LocalizationConfig:
    """How maps are turned into metrics and pictures.

    metrics: your own by name, each the import path of a function of a LocalizationCurve or of a torchmetrics Metric.
    """

    fpr: Annotated[float, Gt(0), Lt(1)] = 0.01
    image_share: Annotated[float, Gt(0), Le(1)] = 0.01
    bits: Annotated[int, Ge(8), Le(24)] = 21
    smoothing: Annotated[list[Width], MinLen(1)] = field(default_factory=lambda: [0.0, 1.0, 2.0, 4.0])
    metrics: dict[str, Any] = field(default_factory=dict)
    batch_size: AtLeastOne | None = None
    monitor_every: ZeroOrMore = field(default=10, metadata=NO_NUMBERS)
    monitor_images: AtLeastOne = field(default=64, metadata=NO_NUMBERS)
    pictures: ZeroOrMore = field(default=6, metadata=NO_NUMBERS)
    level_images: AtLeastOne = 512
    resamples: Annotated[int, Ge(0), Le(10**6)] = 1000


@dataclass
class SelectionConfig:
    """What is recorded to choose by where no anomaly is labelled: on some of the normal validation images."""

    criteria: list[str] = field(default_factory=lambda: [name for name in CRITERIA if name != "consistency"])
    images: AtLeastOne = 64
    seed: ZeroOrMore = 0


@dataclass
class EngineConfig:
    """Where the runs of a sweep are done.

    kind: which engine, and with it which keys
    """

    kind: str = MISSING


@dataclass
class LocalConfig(EngineConfig):
    """Keys of engine=local: processes on this machine."""

    runs_per_device: AtLeastOne = 1
    threads: Annotated[int, Ge(1), Le(4096)] | None = None


@dataclass
class FusedConfig(LocalConfig):
    """Keys of engine=fused: runs that are alike are trained at once in one process."""

    together: AtLeastOne = 8


@dataclass
class SlurmConfig(EngineConfig):
    """Keys of engine=slurm: jobs of a cluster."""

    partition: str | None = None
    account: str | None = None
    time: AtLeastOne = 240
    mem_gb: Annotated[float, Gt(0), Le(10**6)] | None = None
    cpus: AtLeastOne = 4
    gpus: ZeroOrMore = 0
    at_once: AtLeastOne = 100
    notice: AtLeastOne = 120
    tries: AtLeastOne = 3
    wait: bool = True
    setup: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


ENGINE_SCHEMAS: dict[str, type[EngineConfig]] = {"local": LocalConfig, "fused": FusedConfig, "slurm": SlurmConfig}


KINDS: dict[str, Mapping[str, type[Any]]] = {"dataset": SCHEMAS, "model": MODEL_SCHEMAS, "engine": ENGINE_SCHEMAS}


@dataclass
class RunConfig:
    """Everything that one run needs."""

    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    predictors: PredictorsConfig = field(default_factory=PredictorsConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    localization: LocalizationConfig = field(default_factory=LocalizationConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    engine: EngineConfig = field(default_factory=EngineConfig, metadata=NO_NUMBERS)
    jobs: ZeroOrMore = field(default=1, metadata=NO_NUMBERS)
    seed: Annotated[int, Ge(0), Lt(2**32)] = 0
    out: str = field(default="runs", metadata=NO_NUMBERS)
    cache_dir: str | None = field(default=None, metadata=NO_NUMBERS)
    data_dir: str | None = field(default=None, metadata=NO_NUMBERS)
    logger: str = field(default="csv", metadata=NO_NUMBERS)
    trial: str | None = field(default=None, metadata=NO_NUMBERS)

    @property
    def cache(self) -> Path:
        """The folder for slice stores and embedded data."""
        return cache_folder(self.cache_dir)

    @property
    def data(self) -> Path:
        """The folder below which datasets lie, each in one of its name, unless `dataset.root` says otherwise."""
        return data_folder(self.data_dir)
