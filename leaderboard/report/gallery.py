"""What the predictors made of some test images: cut from the pictures of one run per dataset, small enough to be embedded."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from leaderboard.board import Board
from leaderboard.results.run_arrays import RunArrays
from leaderboard.results.setting_labels import beta_text
from leaderboard.rows.row import Row
from leaderboard.show.tables import by_dataset

DATASETS = 6
PREDICTORS = 40
# How `anomaly_bench.pictures.panels` lays out a predictor's picture: image, mask, reconstruction, map, colour bar.
TILE, GAP, HEADER, MARGIN, BAR = 144, 6, 26, 10, 60
COLUMNS = ("image", "mask", "reconstruction")
WIDTH = 2 * MARGIN + (len(COLUMNS) + 1) * (TILE + GAP) - GAP + BAR
RAMP, LABEL = 12, 14
SHOWN, QUALITY = 96, 75
WORST_AND_BEST = 3


class Strip(NamedTuple):
    """One line of the gallery: what it shows, its value in words, the tiles side by side, the colour bar ("" without)."""

    name: str
    value: str
    source: str
    bar: str
    alt: str


class Case(NamedTuple):
    """A pictured image: its caption, and which of those shown it is for the best predictor ("" where that is not known)."""

    caption: str
    rank: str


@dataclass(frozen=True)
class Gallery:
    """Strips of one run: image, mask, reconstruction, then predictors, best first. `subjects`: worst and best in words."""

    dataset: str
    setting: str
    cases: list[Case]
    strips: list[Strip]
    subjects: list[str]
    notes: list[str]

    @property
    def tile(self) -> int:
        """Width and height of a picture in pixels."""
        return SHOWN

    @property
    def width(self) -> int:
        """Of a strip in pixels."""
        return len(self.cases) * SHOWN + (len(self.cases) - 1) * GAP


def galleries(board: Board) -> tuple[list[Gallery], list[str]]:
    """A gallery per dataset that has a run with pictures, at most DATASETS of them; notes on what is left out."""
    found: list[Gallery] = []
    notes: list[str] = []
    left = 0
    for dataset, rows in by_dataset(board.rows).items():
        run = _pictured([row for row in rows if row.samples is not None])
        if run is None:
            notes.append(f"{dataset}: no run has pictures.")
        elif len(found) == DATASETS:
            left += 1
        else:
            gallery = _gallery(run, rows)
            found += [gallery] if gallery.strips else []
            notes += [] if gallery.strips else [f"{dataset}: {'; '.join(gallery.notes)}"]
    if left:
        notes.append(f"{left} more datasets have pictures; they are in the run folders.")
    return found, notes


def _pictured(rows: Sequence[Row]) -> RunArrays | None:
    """The first run with pictures, from the rows by falling AP (else AUROC)."""
    ordered = sorted(rows, key=lambda row: -(row.test["ap"].mean or row.test["auroc"].mean or 0.0))
    runs = {run.run_id: run for row in ordered if row.samples for run in row.samples.runs}
    return next((run for run in runs.values() if run.folder and any(Path(run.folder, "pictures").glob("*.png"))), None)


def _gallery(run: RunArrays, rows: Sequence[Row]) -> Gallery:
    own = [row for row in rows if row.setting_id == run.setting_id and row.predictor in run.predictors]
    own = sorted({row.predictor: row for row in own}.values(), key=lambda row: -(row.test["ap"].mean or 0.0))
    pictures, notes, unread = {}, [], []
    for row in own[:PREDICTORS]:
        try:
            pictures[row.predictor] = _read(Path(run.folder or ".", "pictures"), f"{row.predictor}.png")
        except (OSError, ValueError) as error:
            unread.append(f"{row.predictor} ({error})")
    if unread:
        notes.append(f"Without a readable picture: {', '.join(unread)}")
    if len(own) > PREDICTORS:
        notes.append(f"{len(own) - PREDICTORS} more predictors are in the run folder.")
    setting = f"{run.model}, beta {beta_text(run.beta)}, seed {run.seed}"
    if not pictures:
        return Gallery(run.dataset, setting, [], [], [], notes)
    first, captions = next(iter(pictures.values()))
    values = _by_subject(run, own[0].predictor)
    order, cases = _cases(captions, _count(first), values)
    strips = [
        _strip(name, "", first, at, order, f"{name} of {len(order)} test images") for at, name in enumerate(COLUMNS)
    ]
    for row in own:
        if row.predictor in pictures:
            value, picture = _value(row), pictures[row.predictor][0]
            if _count(picture) == len(order):
                alt = f"Maps of {row.predictor}, {value}: yellow is the most anomalous; the mask is outlined"
                strips.append(_strip(row.predictor, value, picture, len(COLUMNS), order, alt))
    return Gallery(run.dataset, setting, cases, strips, _extremes(values, own[0].predictor), notes)


def _read(folder: Path, name: str) -> tuple[Image.Image, list[str]]:
    """A predictor's picture and its captions, empty where it records none. OSError or ValueError when it is no such picture."""
    if Path(name).name != name:
        raise ValueError("its name leads out of the folder")
    path = folder / name
    if not path.exists():
        raise ValueError("no picture")
    with Image.open(path) as opened:
        if opened.width != WIDTH or _count(opened) < 1:
            raise ValueError(f"{opened.width} by {opened.height} pixels is no panel")
        captions = json.loads(opened.info.get("captions", "[]"))
        return opened.convert("RGB"), captions


def _count(picture: Image.Image) -> int:
    return (picture.height - 2 * MARGIN - HEADER) // (TILE + HEADER)


def _value(row: Row) -> str:
    named = [(name, row.test[metric].mean) for metric, name in (("ap", "AP"), ("auroc", "AUROC"))]
    return ", ".join(f"{name} {mean:.3f}" for name, mean in named if mean is not None)


def _by_subject(run: RunArrays, predictor: str) -> dict[str, float]:
    """The AP of each test subject that has one, rising."""
    values = run.by_subject["ap"][run.index[predictor]]
    known = {name: float(value) for name, value in zip(run.subjects, values, strict=True) if not np.isnan(value)}
    return dict(sorted(known.items(), key=lambda item: item[1]))


def _cases(captions: list[str], count: int, values: dict[str, float]) -> tuple[list[int], list[Case]]:
    """The rows of a picture by falling AP of their subject, where captions name them all; else as they are."""
    subjects = [caption.rpartition(" · ")[0] for caption in captions]
    if len(captions) != count or any(name not in values for name in subjects):
        return list(range(count)), [Case(f"image {at + 1}", "") for at in range(count)]
    order = sorted(range(count), key=lambda at: -values[subjects[at]])
    names = {0: "best shown, ", count - 1: "worst shown, "} if count > 1 else {}
    return order, [Case(captions[at], f"{names.get(k, '')}AP {values[subjects[at]]:.3f}") for k, at in enumerate(order)]


def _extremes(values: dict[str, float], predictor: str) -> list[str]:
    names = list(values)
    if len(names) < 2 * WORST_AND_BEST:
        return []

    def listed(some: list[str]) -> str:
        return ", ".join(f"{name} ({values[name]:.3f})" for name in some)

    return [
        f"Best test subjects of {predictor} by AP: {listed(names[: -WORST_AND_BEST - 1 : -1])}.",
        f"Worst: {listed(names[:WORST_AND_BEST])}.",
    ]


def _strip(name: str, value: str, picture: Image.Image, column: int, order: list[int], alt: str) -> Strip:
    canvas = Image.new("RGBA", (len(order) * (SHOWN + GAP) - GAP, SHOWN))  # gaps show the page
    left = MARGIN + column * (TILE + GAP)
    for at, row in enumerate(order):
        top = MARGIN + HEADER + row * (TILE + HEADER)
        tile = picture.crop((left, top, left + TILE, top + TILE)).resize((SHOWN, SHOWN), Image.Resampling.LANCZOS)
        canvas.paste(tile, (at * (SHOWN + GAP), 0))
    bar = _embedded(_bar(picture)) if column == len(COLUMNS) else ""
    return Strip(name, value, _embedded(canvas), bar, alt)


def _bar(picture: Image.Image) -> Image.Image:
    """The colour bar as high as a tile is shown, its two labels as large as they were."""
    left, top = WIDTH - MARGIN - BAR + 2 * GAP, MARGIN + HEADER
    canvas = Image.new("RGB", (WIDTH - left, SHOWN), (255, 255, 255))
    canvas.paste(picture.crop((left, top, left + RAMP, top + TILE)).resize((RAMP, SHOWN)), (0, 0))
    for y in (0, TILE - LABEL):
        label = picture.crop((left + RAMP + 1, top + y, WIDTH, top + y + LABEL))
        canvas.paste(label, (RAMP + 1, min(y, SHOWN - LABEL)))
    return canvas


def _embedded(picture: Image.Image) -> str:
    stream = io.BytesIO()
    picture.save(stream, format="WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"
