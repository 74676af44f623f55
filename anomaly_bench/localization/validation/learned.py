"""What a localizer learns from normal validation images, and the file that keeps it with a run."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from msgspec import Meta, Struct, convert, to_builtins
from msgspec.structs import replace
from torch import Tensor

from anomaly_bench.metrics import Calibration
from data_modules.base.atomic import write_atomic
from data_modules.base.strict_json import loads
from leaderboard.record import MapChoice, ResultError

LEARNED_FILE = "calibration.npz"
FORMAT = 2
REMEDY = "repeat the run: move its folder away and start the same command again"


class _Row(Struct):
    """What the file says of a row beside its arrays."""

    name: str
    pivot: float
    bits: Annotated[int, Meta(ge=1, le=32)]
    threshold: int | None
    finishing: MapChoice | None


@dataclass
class Learned:
    """What is known of a model's maps of normal images.

    calibration: by row, the distribution of its scores over the pixels of normal validation images. thresholds: by row that is
    shown, the bin at and above which a pixel is called anomalous. normal_scores: by row that is shown, the scores of the normal
    validation images, (N,) float32 ascending. image_share: of an image's foreground pixels, whose mean is its score. finishing:
    by single predictor, how its maps are smoothed and which sign they have.
    """

    calibration: dict[str, Calibration] = field(default_factory=dict)
    thresholds: dict[str, int] = field(default_factory=dict)
    normal_scores: dict[str, Tensor] = field(default_factory=dict)
    image_share: float = 0.01
    finishing: dict[str, MapChoice] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write it whole or not at all: compressed arrays, a few hundred kilobytes per million pixels and row."""
        rows: list[dict[str, Any]] = []
        arrays = {}
        for number, (name, known) in enumerate(self.calibration.items()):
            threshold = self.thresholds.get(name)
            finishing = to_builtins(replace(self.finishing[name], tried=[])) if name in self.finishing else None
            about_row = {"name": name, "pivot": known.pivot, "bits": known.bits, "threshold": threshold}
            rows.append(about_row | {"finishing": finishing})
            # steps from one filled bin to the next are small, and compress well
            arrays[f"filled_{number}"] = np.diff(known.filled.numpy(), prepend=0).astype(np.uint32)
            arrays[f"pixels_{number}"] = known.pixels.numpy()
            arrays[f"images_{number}"] = self.normal_scores.get(name, torch.empty(0)).numpy()
        about = json.dumps({"format": FORMAT, "image_share": self.image_share, "rows": rows})
        stream = io.BytesIO()
        np.savez_compressed(stream, about=np.frombuffer(about.encode(), np.uint8), **arrays)  # type: ignore[arg-type]
        write_atomic(path, stream.getvalue())

    @classmethod
    def read(cls, path: Path) -> Learned:
        """The inverse of `write`. Raises ResultError naming the file if it is missing, damaged or of another version."""
        if not path.exists():
            raise ResultError(f"{path}: expected what the run has learned of normal images, got no file; {REMEDY}")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                about = loads(bytes(arrays["about"]))
                if about["format"] != FORMAT:
                    raise ResultError(f"{path}: it has format {about['format']}, this version reads {FORMAT}; {REMEDY}")
                learned = cls(image_share=convert(about["image_share"], float))
                for number, row in enumerate(convert(about["rows"], list[_Row])):
                    learned._add(row, *(arrays[f"{part}_{number}"] for part in ("filled", "pixels", "images")))
        except ResultError:
            raise
        except Exception as error:  # a damaged archive makes zip, zlib and json raise all sorts, NumPy advise pickle
            raise ResultError(f"{path}: cannot be read, it is damaged; {REMEDY}") from error
        return learned

    def _add(self, row: _Row, steps: Any, pixels: Any, images: Any) -> None:
        filled = torch.from_numpy(steps.astype(np.int64).cumsum())
        if filled.shape != pixels.shape or not 0 <= filled.min() <= filled.max() < 2**row.bits or images.ndim != 1:
            raise ValueError(f"{row.name}: arrays that do not belong together")
        self.calibration[row.name] = Calibration(row.pivot, row.bits, filled, torch.from_numpy(pixels))
        if row.finishing is not None:
            self.finishing[row.name] = row.finishing
        if row.threshold is not None:
            self.thresholds[row.name], self.normal_scores[row.name] = row.threshold, torch.from_numpy(images)
