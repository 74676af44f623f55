"""What a dataset's YAML may say; every key, its type and its default."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class SplitConfig:
    """How subjects are divided; a subject is wholly in one of train, val and test, and so is a group of subjects."""

    val: float = 0.15
    test: float = 0.3
    holdout: float = 0.0
    salt: str = "anomaly_bench"
    group: str | None = None
    group_gap: int | None = None
    file: str | None = None
    train_subjects: list[str] = field(default_factory=list)
    val_subjects: list[str] = field(default_factory=list)
    test_subjects: list[str] = field(default_factory=list)


@dataclass
class DatasetConfig:
    """Keys that both kinds of dataset have."""

    name: str = MISSING
    kind: str = MISSING
    domain: str = MISSING
    root: str | None = None
    embedded: str | None = None
    size: list[int] = field(default_factory=lambda: [64, 64])
    split: SplitConfig = field(default_factory=SplitConfig)


@dataclass
class LayoutConfig:
    """Where one release of a cohort keeps its files, as patterns relative to the root."""

    image: dict[str, str] = MISSING
    label: str | None = None
    brain_mask: str | None = None


@dataclass
class NiftiConfig(DatasetConfig):
    """A cohort of volumes, one folder or file name pattern per subject."""

    layouts: dict[str, LayoutConfig] = MISSING
    channels: list[str] = MISSING
    anomalous_labels: list[int] | None = None
    percentiles: list[float] = field(default_factory=lambda: [1.0, 99.0])
    clip: float = 2.0
    min_foreground: float = 0.2
    slice_step: int = 1


@dataclass
class PictureConfig(DatasetConfig):
    """A folder of pictures: which are normal, which are anomalous, and where their masks are."""

    category: str | None = None
    normal: list[str] = field(default_factory=list)
    train_normal: list[str] = field(default_factory=list)
    test_normal: list[str] = field(default_factory=list)
    anomalous: list[str] = MISSING
    mask: str = MISSING
    mask_threshold: float = 0.5
    color: bool = True


SCHEMAS: dict[str, type[DatasetConfig]] = {"nifti": NiftiConfig, "pictures": PictureConfig}
