"""What a dataset's YAML may say; every key, its type and its default, and on a line `key: …` of its class what it means."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen
from omegaconf import MISSING

# How far a key reaches, beside it in its field's metadata. All others decide pixels, and with them numbers.
NO_PIXELS = {"decides": "numbers"}
NO_NUMBERS = {"decides": "nothing"}
POLARITIES = ("bright", "dark")


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

    val: share of the subjects in val
    test: share of the subjects in test
    holdout: of the subjects that are only to test on, the share that goes to val
    salt: another one gives another split
    group: pattern whose first parentheses find in a subject's name which subjects stay together
    group_gap: what `group` finds is a number, and numbers in a row no further apart than this make one group
    stratify: an attribute over whose values the shares are balanced
    folds: k-fold cross-validation, in place of test and holdout
    fold: which of the folds is tested, from 0
    file: the split itself, a JSON file of lists of subjects; it comes before the lists below
    train_subjects, val_subjects, test_subjects: the split itself, lists of subjects
    """

    val: Annotated[float, Ge(0), Lt(1)] = 0.15
    test: Annotated[float, Ge(0), Lt(1)] = 0.3
    holdout: Annotated[float, Ge(0), Lt(1)] = 0.0
    salt: str = "anomaly_bench"
    group: str | None = None
    group_gap: Annotated[int, Ge(0)] | None = None
    stratify: str | None = None
    folds: Annotated[int, Ge(2)] | None = None
    fold: Annotated[int, Ge(0)] = 0
    file: str | None = field(default=None, metadata=NO_NUMBERS)  # the subjects in it decide
    train_subjects: list[str] = field(default_factory=list)
    val_subjects: list[str] = field(default_factory=list)
    test_subjects: list[str] = field(default_factory=list)


@dataclass
class DownloadConfig:
    """One file of a dataset that may be downloaded.

    url: where it is
    md5, sha256: its digest, against which it is verified
    unpack: whether it is an archive to be unpacked
    """

    url: str = MISSING
    md5: str | None = None
    sha256: str | None = None
    unpack: bool = True


@dataclass
class AboutConfig:
    """What a dataset is and how to get it; decides no number.

    title: its name for people
    homepage: its address
    citation: the papers to cite
    licence: under which terms
    access: embedded | free | licence (free once its licence is accepted) | registration
    steps: what a person does to get what cannot be fetched
    folder: its folder below the data folder; null: the dataset's name
    downloads: what `anomaly-bench data fetch` downloads
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
    """Keys that both kinds of dataset have.

    name: in tables and names of runs
    kind: nifti (volumes) | pictures
    domain: medical | natural; what tables and ranks are grouped by
    polarity: bright | dark | null (not known); what anomalies are known beforehand to be, beside what is normal there
    about: what it is and how to get it; decides no number
    root: its folder; null: DATA_DIR/<name>
    embedded: the dataset that is made on first use in place of a root
    subjects_file: a CSV of subjects, with their split, groups and attributes
    size: height and width of what the model sees, in pixels
    context: how many slices of a volume on either side of an image go with it to the model as more channels, which reconstructs
      and scores the one in the middle; at the ends of a volume its last slice is repeated
    depth: how many neighbouring slices of a volume the model sees and reconstructs at once, as an image of three dimensions
      (model=conv3d); null: single slices
    storage: float16 | uint8 (half the space, 255 levels); how slices are kept
    augment: MONAI dictionary transforms of training batches, `name: {use: ClassName, **arguments}`
    duplicates: error | drop | together; what is done with images that stand there twice (the same pixels at `size`, under
      whatever names): error refuses them, drop leaves out all but the first by name, together never parts them in the
      split. The same image with two different masks is refused unless it is dropped, and once normal and once anomalous always
    split: which subjects are to train, validate and test on
    """

    name: str = MISSING
    kind: str = MISSING
    domain: str = field(default=MISSING, metadata=NO_PIXELS)
    polarity: str | None = field(default=None, metadata=NO_PIXELS)
    about: AboutConfig | None = field(default=None, metadata=NO_NUMBERS)
    root: str | None = field(default=None, metadata=NO_NUMBERS)
    embedded: str | None = field(default=None, metadata=NO_NUMBERS)
    subjects_file: str | None = field(default=None, metadata=NO_NUMBERS)
    size: list[Annotated[int, Le(32768)]] = field(default_factory=lambda: [64, 64])
    context: Annotated[int, Ge(0), Le(100)] = field(default=0, metadata=NO_PIXELS)
    depth: Annotated[int, Ge(2), Le(1024)] | None = field(default=None, metadata=NO_PIXELS)
    storage: str = "float16"
    augment: dict[str, Any] = field(default_factory=dict, metadata=NO_PIXELS)
    duplicates: str = field(default="together", metadata=NO_PIXELS)
    split: SplitConfig = field(default_factory=SplitConfig, metadata=NO_PIXELS)


@dataclass
class LayoutConfig:
    """Where one release of a cohort keeps its files, as patterns relative to the root.

    A pattern with {slice} stands for axial slices in a picture each, numbered from below; `#k` is then a colour of them.

    image: the pattern of each modality, by its name
    label: pattern of the file that says which voxels are anomalous
    brain_mask: pattern of the brain masks; null: the voxels that are not 0 in some modality
    unlabelled: error | healthy (it has no anomaly); what a subject without a label file is
    """

    image: dict[str, str] = MISSING
    label: str | None = None
    brain_mask: str | None = None
    unlabelled: str = "error"


@dataclass
class HealthyConfig:
    """A cohort of healthy subjects to train on, beside the one with anomalies to test on.

    name: of the cohort, and of its folder below the data folder
    root: its folder; null: DATA_DIR/<name>
    about: what it is and how to get it; decides no number
    layouts: as the dataset's
    layout: as the dataset's
    group: which of its subjects stay together, as split.group; null: what split.group of the dataset says
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

    layouts: one for each way that the cohort is distributed, by names of their own
    layout: which of the layouts it is; null: the one whose files are found
    image: of a single layout, a pattern relative to the root, or one for each modality
    label: of a single layout, the pattern of the file that says which voxels are anomalous; null: no subject has an anomaly
    brain_mask: of a single layout, the pattern of the brain masks; null: the voxels that are not 0 in some modality
    unlabelled: error | healthy (it has no anomaly); what a subject without a label file is, of a single layout
    modality: one name or a list of names, which become the image's channels; null: those of image
    polarities: the polarity by modality, `{flair: bright}`; it is the dataset's (unless that is set) if all chosen ones have it
    healthy: another cohort, of healthy subjects, to train on
    plane: axial | coronal | sagittal
    anomalous_labels: the label values that are anomalous; null: all. A slice with other values alone is in no split, and
      pixels with them are no foreground: they are neither normal nor anomalous
    affine_tolerance: how many millimetres the headers of a subject's files may put the same voxel apart; voxels then belong
      together by their place in the arrays
    preprocess: MONAI dictionary transforms of the volumes, `name: {use: ClassName, **arguments}`, in order; null leaves one
      out, a new name comes last
    min_foreground: share of the cropped slice that must be brain
    slice_step: every how many slices one is taken
    """

    layouts: dict[str, LayoutConfig] = field(default_factory=dict)
    layout: str | None = None
    image: Any = None
    label: str | None = None
    brain_mask: str | None = None
    unlabelled: str = "error"
    modality: Any = None
    polarities: dict[str, str] = field(default_factory=dict, metadata=NO_PIXELS)
    healthy: HealthyConfig | None = None
    plane: str = "axial"
    anomalous_labels: Annotated[list[Annotated[int, Ge(1)]], MinLen(1)] | None = None
    affine_tolerance: Annotated[float, Ge(0), Le(1000)] = 0.05
    preprocess: dict[str, Any] = field(default_factory=default_preprocess)
    min_foreground: Annotated[float, Gt(0), Le(1)] = 0.2
    slice_step: Annotated[int, Ge(1)] = 1


@dataclass
class PictureConfig(DatasetConfig):
    """Pictures, scaled to `size` whatever their aspect: which are normal, which anomalous, and where their masks are.

    Where patterns have {subject}, the pictures of one subject are never divided, and it may have normal and anomalous ones:
    if it is trained on, its anomalous ones are not used.

    category: a name, a list of names or null for all, of what {category} in the patterns may stand for
    normal: patterns of normal pictures for any split
    train_normal: patterns of normal pictures to train on; val is a share of them
    val_normal: patterns of normal pictures for val
    test_normal: patterns of normal pictures for test
    official_split: pattern of a CSV with columns image and split (train or test) that divides `normal`
    anomalous: patterns of pictures with anomalies, to test on
    mask: a pattern of their masks, or several of which one fits; null: the set says which pictures are anomalous, not where,
      and is refused
    mask_union: true: whatever fits a pattern of `mask` is a mask of the picture, and their union is what is anomalous
    mask_threshold: what a mask's grey must exceed, from 0 to 1; null: whatever is not 0 in a mask that leaves no doubt (see
      docs/datasets.md), which others are refused for
    empty_mask_is_normal: true: a picture of `anomalous` whose mask is empty is normal, for any split
    color: true: RGB; false: grey
    squares: true: a picture is cut along its longer side into squares of its shorter one, which are images of one subject;
      the last is moved back to end with the picture, and those without an anomalous pixel are normal
    convert: fashion_mnist if root holds that dataset's own four files; null: nothing is converted
    """

    category: Any = None
    normal: list[str] = field(default_factory=list)
    train_normal: list[str] = field(default_factory=list)
    val_normal: list[str] = field(default_factory=list)
    test_normal: list[str] = field(default_factory=list)
    official_split: str | None = None
    anomalous: list[str] = MISSING
    mask: Any = MISSING
    mask_union: bool = False
    mask_threshold: Annotated[float, Ge(0), Lt(1)] | None = None
    empty_mask_is_normal: bool = False
    color: bool = True
    squares: bool = False
    convert: str | None = None


SCHEMAS: dict[str, type[DatasetConfig]] = {"nifti": NiftiConfig, "pictures": PictureConfig}
