"""Tables of the page as compact data: the script in the page draws, sorts and filters them, so that long ones stay small."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from leaderboard.board import Board
from leaderboard.results.setting_labels import beta_text
from leaderboard.rows.row import Row
from leaderboard.show.categories import category_sheets
from leaderboard.show.sheets import VIEWS, Sheet
from leaderboard.show.tables import best_values, by_dataset, is_best, is_tied
from leaderboard.show.texts import COLUMNS, UNDEFINED, cell

LEADERBOARD_ROWS = 24_000
VIEW_ROWS = 3_000
NUMBER = re.compile(r"[-−<≥]?\s*\d")
CHOICES = {"model", "beta", "value", "verdict", "pixels", "on the front", "oracle model", "oracle beta", "setting"}
MOST_CHOICES = 40
BEST, TIED, PLAIN = "bt "


@dataclass(frozen=True)
class Table:
    """A titled table of texts; `kinds` has for each column `text`, `number` (sorted as one) or `choice` (with a filter).

    heat: the columns that are shaded, high is dark; `together` shades them on one scale, else each has its own.
    marks: for each row a letter per column (BEST, TIED, PLAIN), or nothing where no cell is marked.
    sort: the column that the rows come sorted by, falling. total: how many rows there were before `cut`.
    """

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    kinds: tuple[str, ...]
    caption: str = ""
    heat: tuple[int, ...] = ()
    together: bool = False
    marks: Sequence[str] = ()
    sort: int | None = None
    total: int = 0

    def data(self) -> dict[str, Any]:
        """What the page's script reads."""
        left = self.total - len(self.rows)
        note = f"The first {len(self.rows)} of {self.total} rows; --csv and --json write all." if left else ""
        return {
            "title": self.title, "header": self.header, "rows": self.rows, "kinds": self.kinds, "caption": self.caption,
            "heat": self.heat, "together": self.together, "marks": self.marks, "sort": self.sort, "note": note,
        }  # fmt: skip


def leaderboards(board: Board) -> list[Table]:
    """A table per dataset, best pixel AUROC first, with the marks of the other outputs."""
    header = ("predictor", "model", "beta", *COLUMNS.values(), "n/N")
    tables = []
    for dataset, members in by_dataset(board.rows).items():
        best = best_values(members)
        members = sorted(members, key=lambda row: -_or_lowest(row.test["auroc"].mean))
        rows = [_line(row) for row in members]
        table = make(dataset, header, rows)
        first = table.header.index(COLUMNS["auroc"])
        heat = tuple(range(first, first + len(COLUMNS)))
        marks = [_marks(row, best, first) for row in members]
        tables.append(replace(table, heat=heat, marks=marks, sort=first))
    return cut(tables, LEADERBOARD_ROWS)


def _or_lowest(mean: float | None) -> float:
    return -1.0 if mean is None else mean


def _line(row: Row) -> tuple[str, ...]:
    cells = (cell(row.test[metric], row.n) for metric in COLUMNS)
    return row.predictor, row.label, beta_text(row.beta), *cells, row.count


def _marks(row: Row, best: dict[str, float | None], first: int) -> str:
    marks = [BEST if is_best(row, metric, best) else TIED if is_tied(row, metric) else PLAIN for metric in COLUMNS]
    return (PLAIN * first + "".join(marks)).rstrip()


def view_tables(board: Board, view: str) -> list[Table]:
    """The sheets of one of VIEWS that have anything to show, the predictor's column first."""
    return cut([_of_sheet(sheet) for sheet in VIEWS[view](board) if sheet.rows], VIEW_ROWS)


def _of_sheet(sheet: Sheet) -> Table:
    order = list(range(len(sheet.header)))
    if "predictor" in sheet.header:
        order.sort(key=lambda at: sheet.header[at] != "predictor")
    rows = [tuple(row[at] for at in order) for row in sheet.rows]
    table = make(sheet.title, tuple(sheet.header[at] for at in order), rows, sheet.caption)
    first = table.header.index("mean") if sheet.view == "categories" else 1
    shaded = table.header if sheet.view in ("beta", "domains", "categories") else COLUMNS.values()
    heat = [
        index
        for index, (name, kind) in enumerate(zip(table.header, table.kinds, strict=True))
        if index >= first and kind == "number" and name in shaded
    ]
    return replace(table, heat=tuple(heat), together=sheet.view in ("beta", "domains"))


def category_tables(board: Board) -> list[Table]:
    """A table per metric and benchmark of several categories: each category, and their mean."""
    sheets = [sheet for metric, rows in board.categories.items() for sheet in category_sheets(rows, metric)]
    return cut([_of_sheet(sheet) for sheet in sheets], VIEW_ROWS)


def make(title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]], caption: str = "") -> Table:
    """A table whose columns' kinds are told from their texts; a model that all rows share goes to the caption."""
    models = {row[header.index("model")] for row in rows} if "model" in header else set()
    if len(models) == 1 and len(rows) > 1:
        at = header.index("model")
        header, rows = header[:at] + header[at + 1 :], [row[:at] + row[at + 1 :] for row in rows]
        caption = f"Model: {models.pop()}. {caption}".rstrip()
    kinds = tuple(_kind(name, {row[at] for row in rows}) for at, name in enumerate(header))
    return Table(title, header, rows, kinds, caption, total=len(rows))


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
    return [replace(table, rows=table.rows[:share], marks=table.marks[:share]) for table in tables]
