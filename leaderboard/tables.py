"""Rows as text: a terminal table that fits its terminal, Markdown for a page, CSV for a program."""

import csv as csv_module
import io
import re
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from leaderboard.aggregate import Row, Statistic, beta_text
from leaderboard.record import METRICS

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


@dataclass(frozen=True)
class Style:
    """How tightly a table is set.

    `spread` joins mean and sd (None: no sd), `leading_zero` tells 0.9 from .9, names fold at `name_width`, and `gap` is
    the blanks between columns beyond one.
    """

    spread: str | None = " ± "
    leading_zero: bool = True
    name_width: int | None = None
    gap: int = 0

    @property
    def narrow(self) -> bool:
        """Whether long column names are broken over two lines."""
        return self.spread != " ± "


# Tried in this order until one fits: leading zeros and blanks go first, then long names fold, then the sd is left out.
STYLES = (
    Style(gap=1),
    Style(),
    Style(leading_zero=False),
    Style("±", leading_zero=False),
    Style("±", leading_zero=False, name_width=16),
    Style(None),
    Style(None, name_width=12),
)
PLAIN = STYLES[0]
WITH_SD = [style for style in STYLES if style.spread is not None][-1]


def cell(statistic: Statistic, n: int, style: Style = PLAIN) -> str:
    """A mean with its sd, three decimals each; a `*` when fewer than the row's `n` seeds define the metric."""
    if statistic.mean is None:
        return UNDEFINED
    text = f"{statistic.mean:.3f}"
    if statistic.sd is not None and style.spread is not None:
        text += f"{style.spread}{statistic.sd:.3f}"
    if not style.leading_zero:
        text = re.sub(r"\b0\.", ".", text)
    return text + ("*" if statistic.n < n else "")


def _count(row: Row) -> str:
    return f"{row.n}/{row.planned}{'' if row.complete else '*'}"


def _by_dataset(rows: list[Row]) -> dict[str, list[Row]]:
    tables: dict[str, list[Row]] = {}
    for row in rows:
        tables.setdefault(row.dataset, []).append(row)
    return tables


def _best(rows: list[Row]) -> dict[str, float | None]:
    """The highest mean of each column, to the three decimals that are shown: what looks equal is marked alike."""
    best: dict[str, float | None] = {}
    for metric in COLUMNS:
        means = [mean for row in rows if (mean := row.test[metric].mean) is not None]
        best[metric] = round(max(means), 3) if means else None
    return best


def _is_best(statistic: Statistic, best: float | None) -> bool:
    return statistic.mean is not None and round(statistic.mean, 3) == best


def _notes(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row.note for row in rows if row.note))


def escape(text: str) -> str:
    """`text` as a Markdown table cell that shows it literally."""
    return re.sub(r"([\\|*`<])", r"\\\1", " ".join(text.split()))


def markdown(rows: list[Row]) -> str:
    """A heading and a table per dataset, the best mean of each column in bold; then notes on settings and a legend."""
    lines: list[str] = []
    for dataset, members in _by_dataset(rows).items():
        best = _best(members)
        lines += [f"### {escape(dataset)}", "", f"| {' | '.join(HEADER)} |", "|---" * len(HEADER) + "|"]
        for row in members:
            cells = [escape(row.label), beta_text(row.beta), escape(row.predictor)]
            for metric in COLUMNS:
                text = escape(cell(row.test[metric], row.n))
                cells.append(f"**{text}**" if _is_best(row.test[metric], best[metric]) else text)
            lines.append(f"| {' | '.join([*cells, escape(_count(row))])} |")
        lines.append("")
    return "\n".join([*lines, *(f"- {escape(text)}" for text in (*_notes(rows), *LEGEND))]) + "\n"


def csv(rows: list[Row]) -> str:
    """One line per row, full precision, empty where undefined.

    Per metric: `<metric>_mean`, `_sd`, `_ci_low` and `_ci_high` (95 % t interval over seeds), `_n`; then
    `validation_<metric>_mean`.
    """
    stream = io.StringIO()
    writer = csv_module.writer(stream, lineterminator="\n")
    names = [f"{metric}_{part}" for metric in METRICS for part in ("mean", "sd", "ci_low", "ci_high", "n")]
    validation = [f"validation_{metric}_mean" for metric in METRICS]
    writer.writerow(["dataset", "model", "label", "beta", "setting_id", "predictor", "n", "N", *names, *validation])
    for row in rows:
        cells: list[str | float | int | None] = [
            row.dataset,
            row.model,
            row.label,
            row.beta,
            row.setting_id,
            row.predictor,
        ]
        cells += [row.n, row.planned]
        for metric in METRICS:
            one = row.test[metric]
            cells += [one.mean, one.sd, one.low, one.high, one.n]
        cells += [row.validation[metric].mean for metric in METRICS]
        writer.writerow(cells)
    return stream.getvalue()


def print_tables(rows: list[Row], console: Console) -> None:
    """A table per dataset, a section per (model, beta), then notes and legend.

    Each table is set in the first of STYLES that fits the console: full at 120 columns with ordinary names, without sd
    at 80. A number is never cut: where even the last style is too wide, lines run over the edge.
    """
    for dataset, members in _by_dataset(rows).items():
        room = console.options.update(width=10_000)
        tables = {style: _table(dataset, members, style) for style in STYLES}
        widths = {style: console.measure(table, options=room).maximum for style, table in tables.items()}
        style = next((style for style in STYLES if widths[style] <= console.width), STYLES[-1])
        tables[style].width = widths[style]
        console.print(tables[style], crop=False)
        if style.spread is None and any(row.n > 1 for row in members):
            console.print(
                f"sd left out: it needs {widths[WITH_SD]} columns, here are {console.width}.", highlight=False
            )
    for text in (*_notes(rows), *LEGEND):
        console.print(Text(text, style="dim"))


def _table(dataset: str, rows: list[Row], style: Style) -> Table:
    table = Table(title=Text(dataset, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    table.padding, table.pad_edge = (0, style.gap, 0, 0), False
    for name in HEADER:
        shown = name.replace(" ", "\n").replace("_", "_\n") if style.narrow else name
        if name in ("model", "predictor"):
            table.add_column(shown, overflow="fold", max_width=style.name_width)
        else:
            table.add_column(shown, no_wrap=True, overflow="fold")
    best = _best(rows)
    section: tuple[str, float] | None = None
    for row in rows:
        start = (row.label, row.beta) != section
        if start and section is not None:
            table.add_section()
        section = (row.label, row.beta)
        table.add_row(*_line(row, best, style, start))
    return table


def _line(row: Row, best: dict[str, float | None], style: Style, start: bool) -> list[Text]:
    """A row's cells; model and beta are shown where a section starts."""
    cells = [Text(row.label if start else ""), Text(beta_text(row.beta) if start else ""), Text(row.predictor)]
    for metric in COLUMNS:
        bold = "bold" if _is_best(row.test[metric], best[metric]) else ""
        cells.append(Text(cell(row.test[metric], row.n, style), style=bold))
    return [*cells, Text(_count(row), style="" if row.complete else "yellow")]
