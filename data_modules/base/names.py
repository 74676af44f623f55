"""What a dataset is called, what its units are, and where its files are expected."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import Any

from .config import DatasetConfig, HealthyConfig, PictureConfig
from .errors import DataError

SLICE = "{slice}"
ENDING = re.compile(r"(?:\.\w+)?\.(?:gz|bz2|xz|zst)$|\.[^./{}]*$", re.IGNORECASE)  # of a file's name, or of its pattern


def composed(text: str) -> str:
    """A name as all names are compared: its accents are one with their letters (NFC), however a file system has them."""
    return unicodedata.normalize("NFC", text)


def in_any_case(name: str) -> str:
    """A regular expression of a name whose ending, .nii.gz or .PNG, is written in capitals or not."""
    ending = ENDING.search(name)
    start = ending.start() if ending else len(name)
    return f"{re.escape(name[:start])}(?i:{re.escape(name[start:])})"


def chosen_categories(config: DatasetConfig) -> list[str] | None:
    """The categories in `dataset.category`, each once and sorted; None for the whole dataset.

    Raises DataError if it is neither null, a name, nor a list of names.
    """
    chosen = config.category if isinstance(config, PictureConfig) else None
    if chosen is None:
        return None
    names = chosen if isinstance(chosen, list) else [chosen]
    if not names or any(not isinstance(name, str | int) or isinstance(name, bool) or name == "" for name in names):
        raise DataError(f"dataset.category={chosen}: expected a name, a list of names [a,b], or null for all")
    return sorted({composed(str(name)) for name in names})


def file_and_frame(source: str) -> tuple[str, str | None]:
    """`FILE#k`, a volume of a 4D file, as (FILE, k); the name of a file that is there, with '#' or without, as (it, None)."""
    file, mark, frame = source.rpartition("#")
    if not mark or "/" in frame or os.sep in frame or Path(source).is_file():  # a folder may have a '#' in its name
        return source, None
    return file, frame


def slices_of(file: str) -> list[Path]:
    """The files of a volume that is kept slice by slice, `FOLDER/NAME_{slice}.tif`, by their numbers; of another, itself."""
    path = Path(file)
    if SLICE not in path.name:
        return [path]
    before, after = composed(path.name).split(SLICE, 1)
    names = re.compile(f"{re.escape(before)}(\\d+){in_any_case(after)}")
    matches = ((names.fullmatch(composed(name)), name) for name in _names_in(path.parent))
    return [path.parent / name for _, name in sorted((int(match[1]), name) for match, name in matches if match)]


def _names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []


def unit_of(config: DatasetConfig) -> str:
    """What is split and counted: a subject (of a cohort, or of pictures whose patterns name one) or a picture."""
    if not isinstance(config, PictureConfig):
        return "subject"
    return "subject" if any("{subject" in pattern for pattern in picture_patterns(config)) else "picture"


def picture_patterns(config: PictureConfig) -> list[str]:
    """All patterns of pictures, normal and anomalous."""
    return [*config.normal, *config.train_normal, *config.val_normal, *config.test_normal, *config.anomalous]


def dataset_category(config: DatasetConfig) -> str | None:
    """The chosen categories as one name, bottle or bottle+cable; None for the whole dataset."""
    chosen = chosen_categories(config)
    return None if chosen is None else "+".join(chosen)


def dataset_name(config: DatasetConfig) -> str:
    """What results, stores and messages call the dataset: mvtec_ad, mvtec_ad_bottle, mvtec_ad_bottle+cable."""
    category = dataset_category(config)
    return config.name if category is None else f"{config.name}_{category}"


def normalised(settings: dict[str, Any]) -> dict[str, Any]:
    """A dataset's settings, of which each way of writing the same categories or label values becomes the same."""
    same = dict(settings)
    if isinstance(chosen := settings.get("category"), list):
        names = sorted({composed(str(name)) for name in chosen})
        same["category"] = names[0] if len(names) == 1 else names
    if settings.get("anomalous_labels"):
        same["anomalous_labels"] = sorted(set(settings["anomalous_labels"]))
    return same


def cache_folder(given: str | Path | None = None) -> Path:
    """The folder for slice stores and embedded data: as given, else $ANOMALY_BENCH_CACHE, else ~/.cache/anomaly_bench."""
    return Path(given or os.environ.get("ANOMALY_BENCH_CACHE", "~/.cache/anomaly_bench")).expanduser()


def data_folder(given: str | Path | None = None) -> Path:
    """The folder below which datasets lie, each in one of its name: as given, else $ANOMALY_BENCH_DATA, else ./data."""
    return Path(given or os.environ.get("ANOMALY_BENCH_DATA", "data")).expanduser()


def folder_of(config: DatasetConfig | HealthyConfig, data_dir: Path) -> Path:
    """The folder of a dataset that is not embedded, or of a healthy cohort: its `root`, else that below the data folder."""
    if config.root is not None:
        return Path(config.root).expanduser()
    return data_dir / (config.about.folder if config.about and config.about.folder else config.name)
