"""The categories of a benchmark as tables."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from leaderboard.results.setting_labels import beta_text
from leaderboard.rows.categories import CategoryRow
from leaderboard.show.sheets.sheet import Sheet, sheet_markdown

from .terminal import bare_table
from .texts import COLUMNS, UNDEFINED, cell, csv_text

TRAINED = {True: "one model for all categories", False: "one model per category"}


def category_sheets(rows: Sequence[CategoryRow], metric: str) -> list[Sheet]:
    """A sheet per family: the mean over its categories, and each category."""
    found = []
    for title, members in _by_title(rows).items():
        names = sorted({name for row in members for name in row.categories})
        lines = []
        for row in members:
            values = (row.mean, *(row.categories.get(name) for name in names))
            cells = (UNDEFINED if value is None else cell(value, value.n) for value in values)
            lines.append((row.label, beta_text(row.beta), row.predictor, *cells))
        header = ("model", "beta", "predictor", "mean", *names)
        found.append(Sheet("categories", f"{title}: {COLUMNS[metric]}", header, lines))
    return found


def markdown_categories(rows: Sequence[CategoryRow], metric: str) -> str:
    """A heading and a table per family; empty without a family of several categories."""
    return "\n".join(map(sheet_markdown, category_sheets(rows, metric)))


def print_categories(rows: Sequence[CategoryRow], metric: str, console: Console) -> None:
    """A table per family: the mean over its categories, and the categories where a predictor did worst and best."""
    for title, members in _by_title(rows).items():
        header = ("model", "beta", "predictor", f"mean {COLUMNS[metric]}", "lowest", "highest")
        table = bare_table(header, header, title)
        for row in members:
            means = {name: value.mean for name, value in row.categories.items() if value.mean is not None}
            low, high = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
            extremes = [f"{means[name]:.3f} {name}" for name in (low, high)]
            cells = [row.label, beta_text(row.beta), row.predictor, cell(row.mean, row.mean.n), *extremes]
            table.add_row(*map(Text, cells))
        console.print(table, crop=False)


def csv_categories(tables: Mapping[str, Sequence[CategoryRow]]) -> str:
    """One line per metric, predictor, setting and category (`mean` for the mean over categories), in full precision."""
    header = [
        "family",
        "joint",
        "model",
        "label",
        "beta",
        "predictor",
        "metric",
        "category",
        "mean",
        "sd",
        "ci_low",
        "ci_high",
        "n",
    ]
    lines = [
        (row.family, row.joint, row.model, row.label, row.beta, row.predictor, metric, name, *value)
        for metric, rows in tables.items()
        for row in rows
        for name, value in {**row.categories, "mean": row.mean}.items()
    ]
    return csv_text(header, lines)


def _by_title(rows: Sequence[CategoryRow]) -> dict[str, list[CategoryRow]]:
    """The rows of each table, by its title: a family, how its models were trained, and on how many categories."""
    tables: dict[str, list[CategoryRow]] = {}
    for row in rows:
        tables.setdefault(f"{row.family}, {TRAINED[row.joint]} ({len(row.categories)})", []).append(row)
    return tables
