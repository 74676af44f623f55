"""Rows as a terminal table that fits its terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from leaderboard.results.setting_labels import beta_text
from leaderboard.rows.aggregate import notes_of
from leaderboard.rows.row import Row

from .terminal import bare_table
from .texts import COLUMNS, PLAIN, Style, cell, plain

HEADER = ("model", "beta", "predictor", *COLUMNS.values(), "n/N")
LEGEND = (
    "All metrics count foreground pixels only; mean ± sd over seeds (no ± for a single seed, – where undefined); "
    "bold is a column's best mean.",
    "dice: at the threshold that a false-positive rate on normal validation pixels sets. "
    "dice_oracle: at the best threshold for the test labels, an upper bound.",
    "n/N: seeds found of seeds planned. * fewer seeds than planned, or in a metric's cell fewer than n.",
)
TIED = (
    "{}: statistically not worse than the best (paired over seeds; AP and dice over subjects, too; Holm-corrected 5 %)."
)
UNTESTED = "Too few seeds to test which rows are worse than the best; more (seed=range(5)) would tell."
ENSEMBLES = "of k: one map made from those of k seeds."

# Tried in this order until one fits: leading zeros and blanks go first, then long names fold, then the metrics are divided
# among tables below each other. The sd is never left out.
STYLES = (
    PLAIN,
    Style(),
    Style(leading_zero=False),
    Style("±", leading_zero=False),
    Style("±", leading_zero=False, name_width=16),
)
PARTS = (6, 3, 2, 1)


def by_dataset(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each dataset's table."""
    tables: dict[str, list[Row]] = {}
    for row in rows:
        tables.setdefault(row.dataset, []).append(row)
    return tables


def best_values(rows: Sequence[Row]) -> dict[str, float | None]:
    """The highest mean of each column, to the three decimals that are shown: what looks equal is marked alike."""
    best: dict[str, float | None] = {}
    for metric in COLUMNS:
        means = [mean for row in rows if (mean := row.test[metric].mean) is not None]
        best[metric] = round(max(means), 3) if means else None
    return best


def is_best(row: Row, metric: str, best: dict[str, float | None]) -> bool:
    """Whether the cell shows its column's best mean."""
    mean = row.test[metric].mean
    return mean is not None and round(mean, 3) == best[metric]


def is_tied(row: Row, metric: str) -> bool:
    """Whether a test was made and did not find the cell worse than the best."""
    return metric in row.versus and row.versus[metric].verdict == "not worse"


def legend(rows: Sequence[Row], tied: str) -> list[str]:
    """What the table's signs mean; `tied` names how a cell that is statistically not worse is set."""
    verdicts = {row.versus[metric].verdict for row in rows for metric in COLUMNS if metric in row.versus}
    lines = list(LEGEND)
    if "not worse" in verdicts:
        lines.insert(1, TIED.format(tied))
    elif verdicts and "worse" not in verdicts and "undecided" in verdicts:
        lines.insert(1, UNTESTED)
    return lines + ([ENSEMBLES] if any(row.ensemble for row in rows) else [])


def print_tables(rows: Sequence[Row], console: Console) -> None:
    """A table per dataset, a section per (model, beta), then notes and legend.

    Each table is set in the first of STYLES that fits the console: full at 120 columns with ordinary names. Where none
    does, the metrics are divided among tables below each other. A number is never cut: where even a single metric is too
    wide, lines run over the edge.
    """
    for dataset, members in by_dataset(rows).items():
        for table in _fitting(dataset, members, console):
            console.print(table, crop=False)
    for text in (*notes_of(rows), *legend(rows, "underlined")):
        console.print(Text(plain(text), style="dim"))


def _fitting(dataset: str, rows: list[Row], console: Console) -> list[Table]:
    room = console.options.update(width=10_000)
    metrics = list(COLUMNS)
    tables: list[Table] = []
    for size in PARTS:
        parts = [metrics[at : at + size] for at in range(0, len(metrics), size)]
        for style in STYLES:
            tables = [_table(dataset if part is parts[0] else "", rows, part, style) for part in parts]
            widths = [console.measure(table, options=room).maximum for table in tables]
            if max(widths) <= console.width or (size == PARTS[-1] and style == STYLES[-1]):
                for table, width in zip(tables, widths, strict=True):
                    table.width = width
                return tables
    return tables


def _table(title: str, rows: list[Row], metrics: list[str], style: Style) -> Table:
    table = bare_table(Text(plain(title), style="bold") if title else None, style.gap)
    for name in ("model", "beta", "predictor", *(COLUMNS[metric] for metric in metrics), "n/N"):
        shown = name.replace(" ", "\n").replace("_", "_\n") if style.narrow else name
        if name in ("model", "predictor"):
            table.add_column(shown, overflow="fold", max_width=style.name_width)
        else:
            table.add_column(shown, no_wrap=True, overflow="fold")
    best = best_values(rows)
    section: tuple[str, float] | None = None
    for row in rows:
        start = (row.label, row.beta) != section
        if start and section is not None:
            table.add_section()
        section = (row.label, row.beta)
        table.add_row(*_line(row, metrics, best, style, start))
    return table


def _line(row: Row, metrics: list[str], best: dict[str, float | None], style: Style, start: bool) -> list[Text]:
    """A row's cells; model and beta are shown where a section starts."""
    names = (row.label, beta_text(row.beta)) if start else ("", "")
    cells = [Text(plain(name)) for name in (*names, row.predictor)]
    for metric in metrics:
        mark = "bold" if is_best(row, metric, best) else "underline" if is_tied(row, metric) else ""
        cells.append(Text(cell(row.test[metric], row.n, style), style=mark))
    return [*cells, Text(row.count, style="" if row.complete else "yellow")]
