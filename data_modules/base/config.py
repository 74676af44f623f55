"""What a dataset's YAML may say; every key, its type and its default."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen
from omegaconf import MISSING

# How far a key reaches, beside it in its field's metadata. All others decide pixels, and with them numbers.
NO_PIXELS = {"decides": "numbers"}
NO_NUMBERS = {"decides": "nothing"}


def deciding(value: Any, what: Literal["numbers", "pixels"] = "numbers") -> Any:
    """A config as plain dictionaries and lists, at any depth without the keys that decide nothing of what is asked for."""
    if is_dataclass(value):
        reach = ("numbers", "pixels") if what == "numbers" else ("pixels",)
        chosen = [item.name for item in fields(value) if item.metadata.get("decides", "pixels") in reach]
        return {name: deciding(getattr(value, name), what) for name in chosen}
    if isinstance(value, dict):
        return {name: deciding(entry, what) for name, entry in value.items()}
    return [deciding(entry, what) for entry in value] if isinstance(value, list) else value


@dataclass
class SplitConfig:
    """How subjects are divided; a subject is wholly in one of train, val and test, and so is a group of subjects.

    val, test, holdout: shares of val and test, and the share of subjects that are only to test on that go to val; salt:
    another one gives another split; group, group_gap: which subjects stay together (split.group_cases); stratify: an
    attribute over whose values the shares are balanced; folds, fold: k-fold cross-validation and which fold is tested, in
    place of test and holdout; file (JSON) or the lists of subjects: the split itself, the file before the lists.
    """

    val: float = 0.15
    test: float = 0.3
    holdout: float = 0.0
    salt: str = "anomaly_bench"
    group: str | None = None
    group_gap: int | None = None
    stratify: str | None = None
    folds: int | None = None
    fold: int = 0
    file: str | None = field(default=None, metadata=NO_NUMBERS)  # the subjects in it decide
    train_subjects: list[str] = field(default_factory=list)
    val_subjects: list[str] = field(default_factory=list)
    test_subjects: list[str] = field(default_factory=list)


@dataclass
class DownloadConfig:
    """One file of a dataset that may be downloaded."""

    url: str = MISSING
    md5: str | None = None
    sha256: str | None = None
    unpack: bool = True


@dataclass
class AboutConfig:
    """What a dataset is and how to get it; decides no number.

    access: 'embedded', 'free', 'licence' (free once its licence is accepted) or 'registration'; steps: what a person does
    to get what cannot be fetched; folder: its folder below the data folder, by default the dataset's name.
    """

    title: str = MISSING
    homepage: str = MISSING
    citation: str = MISSING
    licence: str = MISSING
    access: str = MISSING
    steps: str | None = None
    folder: str | None = None
    downloads: list[DownloadConfig] = field(default_factory=list)


@dataclass
class DatasetConfig:
    """Keys that both kinds of dataset have."""

    name: str = MISSING
    kind: str = MISSING
    domain: str = field(default=MISSING, metadata=NO_PIXELS)
    about: AboutConfig | None = field(default=None, metadata=NO_NUMBERS)
    root: str | None = field(default=None, metadata=NO_NUMBERS)
    embedded: str | None = field(default=None, metadata=NO_NUMBERS)
    subjects_file: str | None = field(default=None, metadata=NO_NUMBERS)
    size: list[int] = field(default_factory=lambda: [64, 64])
    storage: str = "float16"
    augment: dict[str, Any] = field(default_factory=dict, metadata=NO_PIXELS)
    split: SplitConfig = field(default_factory=SplitConfig, metadata=NO_PIXELS)


@dataclass
class LayoutConfig:
    """Where one release of a cohort keeps its files, as patterns relative to the root.

    unlabelled: a subject without a label file is an 'error', or 'healthy': it has no anomaly.
    """

    image: dict[str, str] = MISSING
    label: str | None = None
    brain_mask: str | None = None
    unlabelled: str = "error"


@dataclass
class HealthyConfig:
    """A cohort of healthy subjects to train on, beside the one with anomalies to test on.

    group: which of its subjects stay together, as SplitConfig.group; null: what split.group of the dataset says.
    """

    name: str = MISSING
    root: str | None = field(default=None, metadata=NO_NUMBERS)
    about: AboutConfig | None = field(default=None, metadata=NO_NUMBERS)
    layouts: dict[str, LayoutConfig] = MISSING
    layout: str | None = None
    group: str | None = None


def default_preprocess() -> dict[str, Any]:
    """The brain, its box and its intensities; `spacing` is a place for resampling, before intensities are looked at."""
    return {
        "brain": {"use": "BrainMaskd"},
        "crop": {"use": "CropToBraind"},
        "spacing": None,
        "scale": {"use": "ScaleInBraind", "method": "percentile", "percentiles": [1.0, 99.0], "clip": 2.0},
    }


@dataclass
class NiftiConfig(DatasetConfig):
    """A cohort of volumes, one folder or file name pattern per subject.

    layouts: one for each way that the cohort is distributed; or image, label, brain_mask and unlabelled of a single one.
    modality: one name or a list of names, which become the image's channels; null: those of image.
    anomalous_labels: the label values that are anomalous; null: all. A slice with other values alone is in no split, and
    pixels with them are no foreground: they are neither normal nor anomalous.
    preprocess: MONAI dictionary transforms of the volumes, `name: {use: ClassName, **arguments}`, in order; null leaves one
    out, a new name comes last. plane: axial, coronal or sagittal. affine_tolerance: how many millimetres the headers of a
    subject's files may put the same voxel apart; voxels then belong together by their place in the arrays.
    """

    layouts: dict[str, LayoutConfig] = field(default_factory=dict)
    layout: str | None = None
    image: Any = None
    label: str | None = None
    brain_mask: str | None = None
    unlabelled: str = "error"
    modality: Any = None
    healthy: HealthyConfig | None = None
    plane: str = "axial"
    anomalous_labels: Annotated[list[Annotated[int, Ge(1)]], MinLen(1)] | None = None
    affine_tolerance: float = 0.05
    preprocess: dict[str, Any] = field(default_factory=default_preprocess)
    min_foreground: Annotated[float, Gt(0), Le(1)] = 0.2
    slice_step: Annotated[int, Ge(1)] = 1


@dataclass
class PictureConfig(DatasetConfig):
    """Pictures, scaled to `size` whatever their aspect: which are normal, which anomalous, and where their masks are.

    category: a name, a list of names or null for all, of what {category} in the patterns may stand for; normal: patterns
    of normal pictures for any split; train_normal (val is a share of them), val_normal, test_normal: for that split;
    official_split: pattern of a CSV with columns image and split (train or test) that divides `normal`; anomalous: patterns
    of pictures with anomalies, to test on; mask: a pattern of their masks, or several of which one fits; mask_threshold:
    from 0 to 1, what a mask's grey must exceed; empty_mask_is_normal: a picture of `anomalous` whose mask is empty is
    normal, for any split; color: RGB, or else grey; convert: 'fashion_mnist' if root holds that dataset's own four files.
    """

    category: Any = None
    normal: list[str] = field(default_factory=list)
    train_normal: list[str] = field(default_factory=list)
    val_normal: list[str] = field(default_factory=list)
    test_normal: list[str] = field(default_factory=list)
    official_split: str | None = None
    anomalous: list[str] = MISSING
    mask: Any = MISSING
    mask_threshold: Annotated[float, Ge(0), Lt(1)] = 0.5
    empty_mask_is_normal: bool = False
    color: bool = True
    convert: str | None = None


SCHEMAS: dict[str, type[DatasetConfig]] = {"nifti": NiftiConfig, "pictures": PictureConfig}
