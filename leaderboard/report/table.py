"""Tables of the page as compact data: the script in the page draws, sorts and filters them, so that long ones stay small."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from leaderboard.board import Board
from leaderboard.record import METRICS
from leaderboard.rows.row import Row
from leaderboard.rows.views import chosen
from leaderboard.show.categories import category_sheets
from leaderboard.show.sheets.over_datasets import ORACLE
from leaderboard.show.sheets.sheet import Sheet
from leaderboard.show.sheets.views import VIEWS
from leaderboard.show.tables import by_dataset, leaderboard_sheet
from leaderboard.show.texts import COLUMNS, UNDEFINED

from .details import Details

MORE = tuple(metric for metric in METRICS if metric not in COLUMNS)  # metrics that are shown when they are asked for
MORE_ROWS = 4_000  # up to which a table of settings has them
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
    sort: the column that the rows come sorted by, falling. note: how many rows `cut` left out. folded: the columns that are
    shown when they are asked for. links: for each row what stands behind it, as `Details.of` places it.
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
    folded: tuple[int, ...] = ()
    links: Sequence[list[int]] = ()


def leaderboards(board: Board, details: Details) -> list[Table]:
    """A table per dataset, best pixel AUROC first, with the marks of the other outputs."""
    tables = []
    for dataset, members in by_dataset(board.main).items():
        members = sorted(members, key=_auroc, reverse=True)
        table = of_sheet(leaderboard_sheet(dataset, members, more=MORE))
        links = [details.of(row) for row in members]
        tables.append(replace(table, sort=table.header.index(COLUMNS["auroc"]), links=links))
    return cut(tables, LEADERBOARD_ROWS)


def with_all_metrics(board: Board) -> Board:
    """The board with what validation chooses, and its front, by every metric that all rows have."""
    own = [set(row.own_metrics) for row in board.rows if row.samples is not None]
    metrics = (*board.metrics, *MORE, *sorted(set.intersection(*own) if own else ()))
    return replace(board, metrics=metrics, chosen=chosen(board.rows, metrics))


def front_tables(board: Board, details: Details) -> list[Table]:
    """Predictors over datasets, a table per metric, then those of the oracle; behind a row its setting of each dataset."""
    tables = []
    for metric in board.metrics:
        choices = [one for one in board.chosen if one.metric == metric]
        for sheet in VIEWS["predictors"](replace(board, metrics=(metric,), chosen=choices)):
            oracle = sheet.title.endswith(ORACLE)
            rows = {(one.predictor, one.dataset): one.oracle if oracle else one.row for one in choices}
            places = [[details.of(rows.get((line[0], data))) for data in sheet.header[1:-1]] for line in sheet.rows]
            tables.append((oracle, replace(of_sheet(sheet), links=[list(chain(*line)) for line in places])))
    return [table for _, table in sorted(tables, key=lambda pair: pair[0])]


def _auroc(row: Row) -> float:
    mean = row.test["auroc"].mean
    return -1.0 if mean is None else mean


def setting_tables(board: Board, details: Details) -> list[Table]:
    """Every predictor of every setting, of each dataset that has several."""
    more = MORE if len(board.rows) <= MORE_ROWS else ()
    tables = []
    for dataset, members in by_dataset(board.rows).items():
        if len({row.setting_id for row in members}) > 1:
            sheet = replace(
                leaderboard_sheet(dataset, members, more=more), view="settings", title=f"{dataset}: all settings"
            )
            tables.append(replace(of_sheet(sheet), links=[details.of(row) for row in members]))
    return cut(tables, LEADERBOARD_ROWS)


def view_tables(board: Board, view: str) -> list[Table]:
    """The sheets of one of VIEWS, or of the categories by metric, that have anything to show."""
    categories = (category_sheets(rows, metric) for metric, rows in board.categories.items())
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
    shaded = header if together or sheet.view in ("categories", "predictors") else (*COLUMNS.values(), *MORE)
    heat = [
        index
        for index, (name, kind) in enumerate(zip(header, kinds, strict=True))
        if index >= first and kind == "number" and name in shaded
    ]
    folded = tuple(index for index, name in enumerate(header) if name in MORE)
    return Table(sheet.title, header, rows, kinds, caption, tuple(heat), together, marks, folded=folded)


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
    return replace(table, rows=table.rows[:share], marks=table.marks[:share], links=table.links[:share], note=note)
