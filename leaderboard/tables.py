"""Rows as a terminal table that fits its terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from leaderboard.aggregate import Row, notes_of
from leaderboard.settings import beta_text
from leaderboard.statistic import Statistic

COLUMNS = {
    "auroc": "pixel AUROC",
    "ap": "AP",
    "dice": "dice",
    "dice_oracle": "dice_oracle",
    "aupro": "AUPRO",
    "image_auroc": "image AUROC",
}
HEADER = ("model", "beta", "predictor", *COLUMNS.values(), "n/N")
UNDEFINED = "–"
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
STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
MARKUP = re.compile(r"[\\|*`<\[\]&$~]|(?<![^\W_])_|_(?![^\W_])")  # inside a word _ is no emphasis
ENSEMBLES = "of k: one map made from those of k seeds."


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

    @property
    def narrow(self) -> bool:
        """Whether long column names are broken over two lines."""
        return self.spread != " ± "


# Tried in this order until one fits: leading zeros and blanks go first, then long names fold, then the metrics are divided
# among tables below each other. The sd is never left out.
STYLES = (
    Style(gap=1),
    Style(),
    Style(leading_zero=False),
    Style("±", leading_zero=False),
    Style("±", leading_zero=False, name_width=16),
)
PARTS = (6, 3, 2, 1)
PLAIN = STYLES[0]


def cell(statistic: Statistic, n: int, style: Style = PLAIN) -> str:
    """A mean with its sd, three decimals each; a `*` when fewer than the row's `n` seeds define the metric."""
    if statistic.mean is None:
        return UNDEFINED
    text = f"{statistic.mean:.3f}"
    if statistic.sd is not None:
        text += f"{style.spread}{statistic.sd:.3f}"
    if not style.leading_zero:
        text = re.sub(r"\b0\.", ".", text)
    return text + ("*" if statistic.n < n else "")


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


def plain(text: str) -> str:
    """`text` on one line, with U+FFFD for what steers a terminal, turns the direction of what follows, or is no character."""
    return STEERING.sub("\ufffd", " ".join(text.split()))


def escape(text: str) -> str:
    """`text` as a Markdown table cell that shows it literally: no emphasis, link, picture, formula or markup of its own."""
    return MARKUP.sub(r"\\\g<0>", plain(text))


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
    heading = Text(plain(title), style="bold") if title else None
    table = Table(title=heading, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    table.padding, table.pad_edge = (0, style.gap, 0, 0), False
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
