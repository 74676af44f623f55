"""The categories of a benchmark as tables."""

import csv as csv_module
import io
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from leaderboard.results.setting_labels import beta_text
from leaderboard.rows.categories import CategoryRow

from .texts import COLUMNS, cell, escape

TRAINED = {True: "one model for all categories", False: "one model per category"}


def titles(rows: Sequence[CategoryRow]) -> dict[str, list[CategoryRow]]:
    """The rows of each table, by its title: a family, how its models were trained, and on how many categories."""
    tables: dict[str, list[CategoryRow]] = {}
    for row in rows:
        tables.setdefault(f"{row.family}, {TRAINED[row.joint]} ({len(row.categories)})", []).append(row)
    return tables


def print_categories(rows: Sequence[CategoryRow], metric: str, console: Console) -> None:
    """A table per family: the mean over its categories, and the categories where a predictor did worst and best."""
    for title, members in titles(rows).items():
        table = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
        table.padding, table.pad_edge = (0, 1, 0, 0), False
        for name in ("model", "beta", "predictor", f"mean {COLUMNS[metric]}", "lowest", "highest"):
            table.add_column(name, overflow="fold")
        for row in members:
            means = {name: one.mean for name, one in row.categories.items() if one.mean is not None}
            low, high = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
            extremes = [f"{means[name]:.3f} {name}" for name in (low, high)]
            cells = [row.model, beta_text(row.beta), row.predictor, cell(row.mean, row.mean.n), *extremes]
            table.add_row(*map(Text, cells))
        console.print(table, crop=False)


def markdown_categories(rows: Sequence[CategoryRow], metric: str) -> str:
    """A heading and a table per family: every category and their mean; empty without a family of several."""
    lines: list[str] = []
    for title, members in titles(rows).items():
        names = sorted({name for row in members for name in row.categories})
        header = ["model", "beta", "predictor", "mean", *map(escape, names)]
        lines += [
            f"### {escape(title)}: {COLUMNS[metric]}",
            "",
            f"| {' | '.join(header)} |",
            "|---" * len(header) + "|",
        ]
        for row in members:
            found = [
                cell(row.categories[name], row.categories[name].n) if name in row.categories else "–" for name in names
            ]
            cells = [escape(row.model), beta_text(row.beta), escape(row.predictor), cell(row.mean, row.mean.n), *found]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def csv_categories(tables: Mapping[str, Sequence[CategoryRow]]) -> str:
    """One line per metric, predictor, setting and category (`mean` for the mean over categories), in full precision."""
    stream = io.StringIO()
    writer = csv_module.writer(stream, lineterminator="\n")
    writer.writerow(
        ["family", "joint", "model", "beta", "predictor", "metric", "category", "mean", "sd", "ci_low", "ci_high", "n"]
    )
    for metric, rows in tables.items():
        for row in rows:
            for name, one in {**row.categories, "mean": row.mean}.items():
                numbers = [one.mean, one.sd, one.low, one.high, one.n]
                writer.writerow([row.family, row.joint, row.model, row.beta, row.predictor, metric, name, *numbers])
    return stream.getvalue()
