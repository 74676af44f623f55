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
from anomaly_bench.base.text import harmless
from data_modules.base.atomic import write_atomic
from data_modules.base.regular import regular
from data_modules.base.strict_json import loads

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

    def write(self, item: Item, files: Mapping[str, bytes]) -> None:
        """All files of an input or, if one cannot be written, none; the last one appears last.

        Those that an earlier call has written of it and this one does not are removed. Raises OutputError naming folder and
        input.
        """
        try:
            with explained(self.folder, REMEDY):
                self.folder.mkdir(parents=True, exist_ok=True)
            with (
                explained(self.folder, REMEDY),
                tempfile.TemporaryDirectory(prefix=".localize-", dir=self.folder) as scratch,
            ):
                for name, content in files.items():
                    (Path(scratch) / name).write_bytes(content)
                for name in self._earlier(item) - set(files):
                    (self.folder / name).unlink(missing_ok=True)
                for name in files:
                    (Path(scratch) / name).replace(self.folder / name)
        except OutputError as error:
            raise OutputError(f"{error}; {item.first} is left out") from error

    def _earlier(self, item: Item) -> set[str]:
        """The names of the files that the input's JSON file, if there is one, lists."""
        try:
            found = loads(regular(self.folder / f"{item.name}.json").read_bytes())["predictors"].values()
            listed = [Path(path).name for one in found for path in one["files"].values()]
        except (OSError, ValueError, LookupError, TypeError, AttributeError):  # none, or a file of somebody else
            return set()
        return {name for name in listed if name.startswith(f"{item.name}_")}


def as_json(record: Mapping[str, Any]) -> bytes:
    """Strict JSON of a record: what is no finite number is null."""
    return (json.dumps(finite(record), indent=1, ensure_ascii=False) + "\n").encode()


def as_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return harmless(stream.getvalue()).encode()


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
    """Add the rows of the records to the folder's summary.csv, in the place of earlier ones of the same inputs."""
    if not records:
        return
    path, rows, names = folder / SUMMARY, list[Mapping[str, Any]](), {record["name"] for record in records}
    with explained(folder, REMEDY):
        if path.exists():
            with path.open(newline="", encoding="utf-8") as stream:
                rows = [row for row in csv.DictReader(stream) if row.get("name") not in names]
        kept = [{column: row.get(column) for column in COLUMNS} for row in [*rows, *summary_rows(records)]]
        write_atomic(path, as_csv(kept, COLUMNS))


def finite(value: Any) -> Any:
    """What JSON can say of a value: None in the place of what is no finite number."""
    if isinstance(value, Mapping):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
