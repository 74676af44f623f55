"""Tables of the page as compact data: the script in the page draws, sorts and filters them, so that long ones stay small."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from leaderboard.board import Board
from leaderboard.rows.row import Row
from leaderboard.show.categories import category_sheets
from leaderboard.show.sheets import VIEWS, Sheet
from leaderboard.show.tables import by_dataset, leaderboard_sheet, setting_sheets
from leaderboard.show.texts import COLUMNS, UNDEFINED

LEADERBOARD_ROWS = 24_000
VIEW_ROWS = 3_000
NUMBER = re.compile(r"[-−<≥]?\s*\d")
CHOICES = {
    "model",
    "beta",
    "value",
    "verdict",
    "pixels",
    "on the front",
    "oracle model",
    "oracle beta",
    "setting",
    "smooth",
    "sign",
}
MOST_CHOICES = 40
TOGETHER = ("beta", "domains")


@dataclass(frozen=True)
class Table:
    """A titled table of texts; `kinds` has for each column `text`, `number` (sorted as one) or `choice` (with a filter).

    heat: the columns that are shaded, high is dark; `together` shades them on one scale, else each has its own.
    marks: for each row a letter per column (BEST, TIED, PLAIN), or nothing where no cell is marked.
    sort: the column that the rows come sorted by, falling. note: how many rows `cut` left out.
    """

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    kinds: tuple[str, ...]
    caption: str
    heat: tuple[int, ...]
    together: bool
    marks: Sequence[str]
    sort: int | None = None
    note: str = ""


def leaderboards(board: Board) -> list[Table]:
    """A table per dataset, best pixel AUROC first, with the marks of the other outputs."""
    tables = []
    for dataset, members in by_dataset(board.main).items():
        members = sorted(members, key=_auroc, reverse=True)
        tables.append(of_sheet(leaderboard_sheet(dataset, members)))
    return cut([replace(table, sort=table.header.index(COLUMNS["auroc"])) for table in tables], LEADERBOARD_ROWS)


def _auroc(row: Row) -> float:
    mean = row.test["auroc"].mean
    return -1.0 if mean is None else mean


def view_tables(board: Board, view: str) -> list[Table]:
    """The sheets of one of VIEWS, or of the categories by metric, that have anything to show."""
    categories = (category_sheets(rows, metric) for metric, rows in board.categories.items())
    if view == "settings":
        return cut(list(map(of_sheet, setting_sheets(board))), LEADERBOARD_ROWS)
    sheets = chain.from_iterable(categories) if view == "categories" else VIEWS[view](board)
    return cut([of_sheet(sheet) for sheet in sheets if sheet.rows], VIEW_ROWS)


def of_sheet(sheet: Sheet) -> Table:
    """The predictor's column first; a model that all rows share goes to the caption; kinds are told from the texts."""
    columns = sorted(range(len(sheet.header)), key=lambda column: sheet.header[column] != "predictor")
    caption = sheet.caption
    if "model" in sheet.header:
        model = sheet.header.index("model")
        models = {row[model] for row in sheet.rows}
        if len(models) == 1 and len(sheet.rows) > 1:
            columns.remove(model)
            caption = f"Model: {models.pop()}. {caption}".rstrip()
    header, *rows = (tuple(row[column] for column in columns) for row in (sheet.header, *sheet.rows))
    marks = ["".join(letters[column] for column in columns).rstrip() for letters in sheet.marks]
    kinds = tuple(_kind(name, {row[at] for row in rows}) for at, name in enumerate(header))
    together = sheet.view in TOGETHER
    first = header.index("mean") if sheet.view == "categories" else 1
    shaded = header if together or sheet.view in ("categories", "predictors") else COLUMNS.values()
    heat = [
        index
        for index, (name, kind) in enumerate(zip(header, kinds, strict=True))
        if index >= first and kind == "number" and name in shaded
    ]
    return Table(sheet.title, header, rows, kinds, caption, tuple(heat), together, marks)


def _kind(name: str, values: set[str]) -> str:
    if name in CHOICES and 1 < len(values) <= MOST_CHOICES:
        return "choice"
    known = values - {"", UNDEFINED}
    return "number" if all(NUMBER.match(value) for value in known) else "text"


def cut(tables: list[Table], room: int) -> list[Table]:
    """The tables with at most `room` rows in all: those above an even share lose their last rows."""
    if sum(len(table.rows) for table in tables) <= room:
        return tables
    share = max(room // len(tables), 1)
    return [_first(table, share) if len(table.rows) > share else table for table in tables]


def _first(table: Table, share: int) -> Table:
    note = f"The first {share} of {len(table.rows)} rows; --csv and --json write all."
    return replace(table, rows=table.rows[:share], marks=table.marks[:share], note=note)
