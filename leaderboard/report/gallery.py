"""What the predictors made of some test images: cut from the pictures of one run per dataset, small enough to be embedded."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from PIL import Image

from leaderboard.board import Board
from leaderboard.record import PANEL, Panel, PanelRow
from leaderboard.results.run_arrays import RunArrays
from leaderboard.results.setting_labels import beta_text
from leaderboard.rows.row import Row
from leaderboard.show.tables import by_dataset

DATASETS = 6
PREDICTORS = 40
COLUMNS = ("image", "mask", "reconstruction")  # of every predictor's picture; the last one is its map
SHOWN, GAP, QUALITY = 128, 6, 75  # shorter side of a tile as it is shown; the longer one is twice as long at most
SCALE = (300, 14)
WORST_AND_BEST = 3


class Strip(NamedTuple):
    """One line of the gallery: what it shows, its value in words, the tiles side by side.

    scores: of each case the AP, and at the threshold the pixels found and the false ones, as far as they are recorded.
    """

    name: str
    value: str
    source: str
    alt: str
    scores: Sequence[tuple[float | None, int | None, int | None]] = ()


class Scale(NamedTuple):
    """The colour bar of all maps, lowest on the left: labels and threshold by their place, in % of its width."""

    source: str
    labels: list[tuple[float, str]]
    threshold: float | None

    @property
    def width(self) -> int:
        """In pixels."""
        return SCALE[0]


@dataclass(frozen=True)
class Gallery:
    """Strips of one run: image, mask, reconstruction, then predictors, best first. `subjects`: worst and best in words.

    cases: of each image shown its rank and AP under `decided_by` (`why` this one), and its caption. lesions: their anomalous
    pixels, as far as they are recorded. tile, height: of a picture in pixels.
    """

    dataset: str
    setting: str
    notes: list[str]
    decided_by: str = ""
    why: str = ""
    cases: list[tuple[str, str]] = field(default_factory=list)
    lesions: list[int | None] = field(default_factory=list)
    strips: list[Strip] = field(default_factory=list)
    scale: Scale | None = None
    subjects: list[str] = field(default_factory=list)
    tile: int = SHOWN
    height: int = SHOWN

    @property
    def data(self) -> dict[str, Any]:
        """What the page's script asks of it."""
        scores = {strip.name: strip.scores for strip in self.strips if strip.scores}
        return {"dataset": self.dataset, "setting": self.setting, "lesions": self.lesions, "scores": scores}

    @property
    def gap(self) -> int:
        """Between two pictures of a strip in pixels."""
        return GAP

    @property
    def width(self) -> int:
        """Of a strip in pixels."""
        return len(self.cases) * (self.tile + GAP) - GAP


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
        return Gallery(run.dataset, setting, notes)
    first, panel = next(iter(pictures.values()))
    count = len(panel.rows)
    strips = [_strip(name, "", first, panel, at, f"{name} of {count} test images") for at, name in enumerate(COLUMNS)]
    for row in own:
        if row.predictor in pictures:
            value, (picture, own_panel) = _value(row), pictures[row.predictor]
            alt = f"Maps of {row.predictor}, {value}: the brighter, the more anomalous; the mask is outlined"
            if [case.caption for case in own_panel.rows] == [case.caption for case in panel.rows]:
                strip = _strip(row.predictor, value, picture, own_panel, len(COLUMNS), alt)
                strips.append(strip._replace(scores=[_scores(case) for case in own_panel.rows]))
    return Gallery(
        run.dataset,
        setting,
        notes,
        panel.decided_by,
        panel.why,
        [(_rank(row), row.caption) for row in panel.rows],
        [row.lesion for row in panel.rows],
        strips,
        _scale(first, panel),
        _extremes(_by_subject(run, own[0].predictor), own[0].predictor),
        *_size(panel),
    )


def _read(folder: Path, name: str) -> tuple[Image.Image, Panel]:
    """A predictor's picture and what it says of itself. OSError or ValueError when it is no such picture."""
    if Path(name).name != name:
        raise ValueError("its name leads out of the folder")
    path = folder / name
    if not path.exists():
        raise ValueError("no picture")
    with Image.open(path) as opened:
        try:
            panel = msgspec.json.decode(str(opened.info.get(PANEL, "null")), type=Panel)
        except msgspec.MsgspecError as error:
            raise ValueError("it does not say where its tiles are, as pictures of older runs") from error
        boxes = [(max(panel.lefts), panel.top + (len(panel.rows) - 1) * panel.step, *panel.tile), panel.bar or (0,) * 4]
        if len(panel.lefts) <= len(COLUMNS) or any(
            x + w > opened.width or y + h > opened.height for x, y, w, h in boxes
        ):
            raise ValueError("its tiles lie outside of it")
        return opened.convert("RGB"), panel


def _value(row: Row) -> str:
    named = [(name, row.test[metric].mean) for metric, name in (("ap", "AP"), ("auroc", "AUROC"))]
    return ", ".join(f"{name} {mean:.3f}" for name, mean in named if mean is not None)


def _by_subject(run: RunArrays, predictor: str) -> dict[str, float]:
    """The AP of each test subject that has one, rising."""
    values = run.by_subject["ap"][run.index[predictor]]
    known = {name: float(value) for name, value in zip(run.subjects, values, strict=True) if not np.isnan(value)}
    return dict(sorted(known.items(), key=lambda item: item[1]))


def _rank(row: PanelRow) -> str:
    return ", ".join(filter(None, [row.rank, "" if row.ap is None else f"AP {row.ap:.3f}"]))


def _scores(row: PanelRow) -> tuple[float | None, int | None, int | None]:
    return None if row.own_ap is None else round(row.own_ap, 3), row.found, row.false


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


def _size(panel: Panel) -> tuple[int, int]:
    """Width and height of a tile as it is shown."""
    times = min(SHOWN / min(panel.tile), 2 * SHOWN / max(panel.tile))
    width, height = (max(1, round(times * side)) for side in panel.tile)
    return width, height


def _strip(name: str, value: str, picture: Image.Image, panel: Panel, column: int, alt: str) -> Strip:
    (width, height), (shown, high), left = panel.tile, _size(panel), panel.lefts[column]
    canvas = Image.new("RGBA", (len(panel.rows) * (shown + GAP) - GAP, high))  # gaps show the page
    for at in range(len(panel.rows)):
        top = panel.top + at * panel.step
        tile = picture.crop((left, top, left + width, top + height)).resize((shown, high), Image.Resampling.LANCZOS)
        canvas.paste(tile, (at * (shown + GAP), 0))
    return Strip(name, value, _embedded(canvas), alt)


def _scale(picture: Image.Image, panel: Panel) -> Scale | None:
    """The picture's colour bar, laid down."""
    if panel.bar is None:
        return None
    left, top, width, height = panel.bar
    bar = picture.crop((left, top, left + width, top + height)).transpose(Image.Transpose.ROTATE_270).resize(SCALE)
    threshold = None if panel.threshold is None else round(100 * panel.threshold, 1)
    return Scale(_embedded(bar), [(round(100 * place, 1), text) for place, text in panel.labels], threshold)


def _embedded(picture: Image.Image) -> str:
    stream = io.BytesIO()
    picture.save(stream, format="WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"
