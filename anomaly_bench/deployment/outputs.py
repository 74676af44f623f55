"""The files of each input: their names, whether they are there already, and writing them whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomaly_bench.base.errors import OutputError
from anomaly_bench.base.files import explained
from data_modules.base.atomic import write_atomic

from .inputs import Item

REMEDY = "choose another folder with --out"
SUMMARY = "summary.csv"
VOLUME = ("map.nii.gz", "calibrated.nii.gz", "segmentation.nii.gz", "regions.csv")
PICTURE = ("map.npy", "calibrated.png", "segmentation.png", "regions.csv")
OVERLAY = "overlay.png"
METRICS = ("auroc", "ap", "dice", "iou", "dice_oracle")
COLUMNS = ("name", "input", "predictor", "image_score", "higher_than", "regions", "anomalous", "unit", *METRICS)


@dataclass(frozen=True)
class Outputs:
    """Where the files of inputs go: NAME_map.nii.gz …, of several predictors NAME_PREDICTOR_map.nii.gz …, and NAME.json."""

    folder: Path
    predictors: Sequence[str]
    overlay: bool
    overwrite: bool
    pictures: bool

    @property
    def volumes(self) -> bool:
        return not self.pictures

    def path(self, item: Item, predictor: str, end: str) -> Path:
        middle = f"_{predictor}" if len(self.predictors) > 1 else ""
        return self.folder / f"{item.name}{middle}_{end}"

    def check_free(self, item: Item) -> None:
        """Raises OutputError naming a file of the input that is there already, unless it may be replaced."""
        ends = (*(PICTURE if self.pictures else VOLUME), *([OVERLAY] if self.overlay else []))
        paths = [self.path(item, predictor, end) for predictor in self.predictors for end in ends]
        for path in (self.folder / f"{item.name}.json", *paths):
            if path.exists() and not self.overwrite:
                raise OutputError(
                    f"{path}: is there already, so that {item.first} is left out; replace it with --overwrite, or {REMEDY}"
                )

    def write(self, files: Mapping[str, bytes]) -> None:
        """All files or, if one cannot be written, none; the last one appears last. Raises OutputError naming the folder."""
        with (
            explained(self.folder, REMEDY),
            tempfile.TemporaryDirectory(prefix=".localize-", dir=self.folder) as scratch,
        ):
            for name, content in files.items():
                (Path(scratch) / name).write_bytes(content)
            for name in files:
                (Path(scratch) / name).replace(self.folder / name)


def as_json(record: Mapping[str, Any]) -> bytes:
    """Strict JSON of a record: what is no finite number is null."""
    return (json.dumps(finite(record), indent=1, ensure_ascii=False) + "\n").encode()


def as_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, columns)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def summary_rows(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row of COLUMNS for each input and predictor."""
    return [
        {
            "name": record["name"],
            "input": " ".join(record["input"].values()),
            "predictor": predictor,
            "image_score": found["image_score"],
            "higher_than": found["higher_than"],
            "regions": len(found["regions"]),
            "anomalous": found["anomalous"],
            "unit": found["unit"],
            **{name: (found["metrics"] or {}).get(name) for name in METRICS},
        }
        for record in records
        for predictor, found in record["predictors"].items()
    ]


def write_summary(folder: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Add the rows of the records to the folder's summary.csv, in the place of earlier ones of the same input and predictor."""
    if not records:
        return
    path, rows = folder / SUMMARY, dict[tuple[str, str], Mapping[str, Any]]()
    with explained(folder, REMEDY):
        if path.exists():
            with path.open(newline="", encoding="utf-8") as stream:
                rows = {(row.get("name", ""), row.get("predictor", "")): row for row in csv.DictReader(stream)}
        rows |= {(row["name"], row["predictor"]): row for row in summary_rows(records)}
        kept = [{column: row.get(column) for column in COLUMNS} for row in rows.values()]
        write_atomic(path, as_csv(kept, COLUMNS))


def finite(value: Any) -> Any:
    """What JSON can say of a value: None in the place of what is no finite number."""
    if isinstance(value, Mapping):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
