"""The leaderboard itself: a sheet per dataset with its marks, and how a terminal fits it in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from rich.console import Console
from rich.table import Table
from rich.text import Text

from leaderboard.board import Board
from leaderboard.record import POOLED, direction
from leaderboard.rows.main_table import CHOSEN_BY
from leaderboard.rows.notes import grounds_of, knowledge, notes_of
from leaderboard.rows.row import NOTHING, Row
from leaderboard.show.sheets.sheet import BEST, MARKS, PLAIN, TIED, WAYS, Sheet, criterion

from .terminal import bare_table, natural_width
from .texts import COLUMNS, UNDEFINED, cell, plain

NAMES = ("model", "beta", "predictor")  # before smooth, sign and the metrics in a header; n/N comes after them
LEGEND = (
    "All metrics count foreground pixels only; mean ± sd over seeds (no ± for a single seed, – where undefined).",
    "dice: at the threshold that a false-positive rate on normal validation pixels sets. "
    "dice_oracle: at the best threshold for the test labels, an upper bound.",
    "n/N: seeds found of seeds planned. * fewer seeds than planned, or in a metric's cell fewer than n.",
)
BOLD = "Bold is a column's best mean."
EQUIVALENT = "{}: equivalent to the best, no further from it than {:g} with 95 % confidence for all rows at once."
UNDECIDED = (
    "?: undecided, neither equivalent to the best nor worse; the view versus has intervals, over seeds and subjects, and more "
    "seeds ('seed=range(5)') decide more."
)
ALONE = "Compared over seeds alone, for these test images, as what each subject adds is not known: {}."
UNTESTED = "Too few seeds to tell rows from the best; more ('seed=range(5)') would."
SETTING = (
    "Each predictor is shown at the model and beta with the best {}, and compared with the best of these; the view settings "
    "has all."
)
GROUNDS = {"validation": "AP on validation", "synthetic_ap": "AP of anomalies pasted into normal validation images"}
ELSE = "; where no validation image is anomalous, "
ENSEMBLES = "of k: one map made from those of k seeds."
SMOOTHING = (
    "smooth: standard deviation of the Gaussian over a row's maps, of several seeds from the least to the most. It has the "
    "highest AP on validation images, whose labels this uses; fixed: the config says so; by size: 1/32 of the image's shorter "
    "side, as no validation image is anomalous. The view smoothing has the others."
)
SIGNS = "sign: whether brighter (+) or darker (−) than expected is anomalous, and who says so; – where the sign does not count."
FOLDED = {"smooth": 7, "sign": 10}  # letters to which these fold where a table is narrow
SMOOTHED_BY = {"validation": "", "config": " fixed", "size": " by size"}


@dataclass(frozen=True)
class Style:
    """How tightly a table is set.

    `spread` joins mean and sd, `leading_zero` tells 0.9 from .9, names fold at `name_width`, and `gap` is the blanks
    between columns beyond one.
    """

    spread: str = " ± "
    leading_zero: bool = True
    name_width: int | None = None
    gap: int = 0

    def header(self, name: str) -> str:
        """A column's name, over two lines where it is long and the table narrow."""
        return name if self.spread == " ± " else name.replace(" ", "\n").replace("_", "_\n")

    def number(self, text: str) -> str:
        """A metric's cell."""
        text = text.replace(" ± ", self.spread)
        return text if self.leading_zero else re.sub(r"\b0\.", ".", text)


# Tried in this order until one fits: leading zeros and blanks go first, then long names fold, then the metrics are divided
# among tables below each other. The sd is never left out.
STYLES = (
    Style(gap=1),
    Style(),
    Style(leading_zero=False),
    Style("±", leading_zero=False),
    Style("±", leading_zero=False, name_width=16),
)
PARTS = (6, 3, 2, 1)  # after all of them together
PIPED = "≈"  # after what is equivalent, where a text has no underline


def by_dataset(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each dataset's table."""
    tables: dict[str, list[Row]] = {}
    for row in rows:
        tables.setdefault(row.dataset, []).append(row)
    return tables


def columns_of(rows: Sequence[Row]) -> dict[str, str]:
    """The metrics of a table and how its header names them: COLUMNS, then those of a user's own."""
    return COLUMNS | {name: name for row in rows for name in row.own_metrics}


def best_values(rows: Sequence[Row], more: Sequence[str] = ()) -> dict[str, float | None]:
    """The best mean of each column, to the three decimals that are shown: what looks equal is marked alike."""
    best: dict[str, float | None] = {}
    for metric in (*columns_of(rows), *more):
        means = [mean for row in rows if (mean := row.test.get(metric, NOTHING).mean) is not None]
        best[metric] = round((max if direction(metric) > 0 else min)(means), 3) if means else None
    return best


def is_best(row: Row, metric: str, best: dict[str, float | None]) -> bool:
    """Whether the cell shows its column's best mean."""
    mean = row.test.get(metric, NOTHING).mean
    return mean is not None and round(mean, 3) == best[metric]


def is_tied(row: Row, metric: str) -> bool:
    """Whether the cell is equivalent to the best."""
    return metric in row.versus and row.versus[metric].verdict == "equivalent"


def is_undecided(row: Row, metric: str) -> bool:
    """Whether the cell was compared with the best, and is neither equivalent nor worse."""
    one = row.versus.get(metric)
    return one is not None and one.verdict == "undecided" and one.versus.low is not None


def legend(rows: Sequence[Row], tied: str) -> list[str]:
    """What the table's signs mean; `tied` names how a cell that is equivalent to the best is set, PIPED in bare text."""
    verdicts = [row.versus[metric].verdict for row in rows for metric in COLUMNS if metric in row.versus]
    ways = [GROUNDS.get(by, WAYS[by]) for by in WAYS if any(row.chosen_by == by for row in rows)]
    lines = [LEGEND[0] if tied == PIPED else f"{LEGEND[0]} {BOLD}", *LEGEND[1:]]
    tested = [row for row in rows if any(one.versus.low is not None for one in row.versus.values())]
    if tested:
        margin = next(iter(tested[0].versus.values())).margin
        said = {"equivalent": EQUIVALENT.format(tied, margin), "undecided": UNDECIDED}
        lines[1:1] = [*(text for verdict, text in said.items() if verdict in verdicts), *_alone(tested)]
    elif "undecided" in verdicts:
        lines.insert(1, UNTESTED)
    lines[:0] = [SETTING.format(ELSE.join(ways))] if ways else []
    lines += [ENSEMBLES] if any(row.ensemble for row in rows) else []
    lines += [SMOOTHING] if any(row.maps for row in rows) else []
    return lines + ([SIGNS, *knowledge(rows)] if any(map(sign_text, rows)) else [])


def _alone(rows: Sequence[Row]) -> list[str]:
    """On which datasets which metrics are compared over seeds alone, though the metric has a variance over subjects."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        for metric, one in row.versus.items():
            known = one.verdict == "best" or one.versus.low is None or one.versus.subjects
            if metric in POOLED and not known:
                found.setdefault(row.dataset, {})[COLUMNS[metric]] = None
    where = "; ".join(f"{plain(dataset)} ({', '.join(metrics)})" for dataset, metrics in found.items())
    return [ALONE.format(where)] if where else []


def smooth_text(row: Row) -> str:
    """The widths of smoothing over the seeds, and what else than validation chose them."""
    if not row.maps:
        return UNDEFINED
    widths, grounds = [one.smooth for one in row.maps], {one.smooth_by for one in row.maps}
    low, high = min(widths), max(widths)
    return f"{low:g}{'' if low == high else f'–{high:g}'} px{SMOOTHED_BY[grounds.pop()] if len(grounds) == 1 else ''}"


def sign_text(row: Row) -> str:
    """The sign of a row's maps over the seeds and who says so; `members` if an ensemble's know theirs; empty without any."""
    signs = {one.sign for one in row.maps} - {None}
    if not signs:
        return "members" if grounds_of(row) else ""
    sign = "±" if len(signs) > 1 else {"positive": "+", "negative": "−"}[signs.pop() or ""]
    return f"{sign} {', '.join(sorted({one.sign_by for one in row.maps if one.sign_by}))}".rstrip()


def leaderboard_sheet(dataset: str, rows: Sequence[Row], sections: int = 0, more: Sequence[str] = ()) -> Sheet:
    """The table of a dataset; `rows` are all of the dataset's, in any order; sections: 2 for one per model and beta.

    more: metrics that follow the usual ones.
    """
    columns, best, lines, marks = columns_of(rows), best_values(rows, more), [], []
    columns |= dict(zip(more, more, strict=True))
    about = {"smooth": smooth_text} if any(row.maps for row in rows) else {}
    about |= {"sign": lambda row: sign_text(row) or UNDEFINED} if any(map(sign_text, rows)) else {}
    for row in rows:
        cells = (cell(row.test.get(metric, NOTHING), row.n) + "?" * is_undecided(row, metric) for metric in columns)
        names = (*row.where, row.predictor, *(text(row) for text in about.values()))
        lines.append((*names, *cells, row.count))
        signs = (BEST if is_best(row, metric, best) else TIED if is_tied(row, metric) else PLAIN for metric in columns)
        marks.append(f"{PLAIN * len(names)}{''.join(signs)}{PLAIN}")
    by = criterion({row.chosen_by for row in rows}, COLUMNS[CHOSEN_BY])
    title = f"{dataset}, settings by {by}" if by else dataset
    return Sheet(
        "leaderboard", title, (*NAMES, *about, *columns.values(), "n/N"), lines, marks=marks, sections=sections
    )


def setting_sheets(board: Board) -> list[Sheet]:
    """The view `settings`: the table of each dataset that has several, with every predictor of every setting."""
    tables = by_dataset(board.rows).items()
    return [
        replace(leaderboard_sheet(dataset, rows, 2), view="settings", title=f"{dataset}: all settings")
        for dataset, rows in tables
        if len({row.setting_id for row in rows}) > 1
    ]


def print_tables(rows: Sequence[Row], console: Console) -> None:
    """A table per dataset, then notes and legend.

    Each table is set in the first of STYLES that fits the console: full at 120 columns with ordinary names. Where none
    does, the metrics are divided among tables below each other. A number is never cut: where even a single metric is too
    wide, lines run over the edge.
    """
    for dataset, members in by_dataset(rows).items():
        print_fitting(leaderboard_sheet(dataset, members), console)
    for text in (*notes_of(rows), *legend(rows, "underlined" if console.is_terminal else PIPED)):
        console.print(Text(plain(text), style="dim"))


def print_fitting(sheet: Sheet, console: Console) -> None:
    """The sheet as one table or, where that is too wide, as several below each other."""
    for table in _fitting(sheet, console):
        console.print(table, crop=False)


def _fitting(sheet: Sheet, console: Console) -> list[Table]:
    tables: list[Table] = []
    metrics = range(_named(sheet), len(sheet.header) - 1)
    for size, style in product(dict.fromkeys((len(metrics), *PARTS)), STYLES):
        tables = [
            _table(sheet, metrics[start : start + size], style, console.is_terminal)
            for start in range(0, len(metrics), size)
        ]
        for table in tables:
            table.width = natural_width(table, console)
        if max(table.width or 0 for table in tables) <= console.width:
            break
    return tables


def _named(sheet: Sheet) -> int:
    """How many columns stand before the metrics."""
    return sheet.header.index(COLUMNS["auroc"])


def _table(sheet: Sheet, metrics: range, style: Style, marked: bool) -> Table:
    """The names, some metrics and n/N; the first part has the title. marked: whether the output shows MARKS."""
    columns = (*range(_named(sheet)), *metrics, len(sheet.header) - 1)
    title = sheet.title if metrics.start == _named(sheet) else ""
    names = [style.header(sheet.header[column]) for column in columns]
    table = bare_table(names, ("model", "predictor", "smooth", "sign"), title, style.gap)
    for column in table.columns:
        if not column.no_wrap and style.name_width:
            column.max_width = FOLDED.get(str(column.header), style.name_width)
    for begins, row, marks in sheet.lines(range(len(sheet.rows))):
        if begins:
            table.add_section()
        texts = [style.number(text) if column in metrics else plain(text) for column, text in enumerate(row)]
        ties = [PIPED if mark == TIED and not marked else "" for mark in marks]
        cells = [Text(texts[column] + ties[column], MARKS[marks[column]]) for column in columns]
        cells[-1].style = "yellow" if texts[-1].endswith("*") else ""
        table.add_row(*cells)
    return table
