"""A benchmark of several categories: each category's mean over seeds, and the mean over the categories.

Categories come from runs of their own (one model for each, as mvtec_ad_bottle and mvtec_ad_cable) or from the groups of
one run (one model for all). The two are different settings and never share a row.
"""

import csv as csv_module
import io
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from leaderboard.record import METRICS
from leaderboard.runs import Run
from leaderboard.settings import beta_text
from leaderboard.statistic import Statistic, summarise
from leaderboard.tables import COLUMNS, cell, escape

TRAINED = {True: "one model for all categories", False: "one model per category"}

OWN = ("seed", "dataset.name", "dataset.category", "provenance.data_fingerprint", "provenance.split_digest")


@dataclass(frozen=True)
class CategoryRow:
    """One predictor of one setting over the categories of a family.

    `categories`: the metric by category, over seeds; `mean`: over those seeds that have every category, of the mean over
    the categories (each counts the same); `joint`: whether one model was trained on all of them.
    """

    family: str
    model: str
    beta: float
    setting: str
    joint: bool
    predictor: str
    categories: dict[str, Statistic]
    mean: Statistic


def by_category(results: list[Run], metric: str) -> list[CategoryRow]:
    """Rows by family, model, beta and setting, predictors by falling mean; only families with two categories or more."""
    values: dict[tuple[str, str, float, str, bool, str], dict[str, dict[int, float]]] = defaultdict(dict)
    for result in results:
        if result.ensemble_of:
            continue
        found = _values(result, metric)
        setting = _setting(result) if found else ""
        for predictor, category, joint, value in found:
            key = (result.family, result.model, result.beta, setting, joint, predictor)
            values[key].setdefault(category, {})[result.seed] = value
    rows = [_row(*key, by_seed) for key, by_seed in values.items() if len(by_seed) > 1]
    return sorted(
        rows, key=lambda row: (row.family, row.model, row.beta, row.setting, -(row.mean.mean or 0.0), row.predictor)
    )


def _values(result: Run, metric: str) -> list[tuple[str, str, bool, float]]:
    """(predictor, category, joint, value) of everything that a run says of a single category."""
    column = METRICS.index(metric)
    tables = result.groups.get("category", {})
    joint = len(tables) > 1
    if not joint:
        tables = {} if result.category is None else {result.category: result.test}
    found = []
    for category, table in tables.items():
        for name, value in zip(result.predictors, table[:, column].tolist(), strict=True):
            if not math.isnan(value):
                found.append((name, category, joint, value))
    return found


def _setting(result: Run) -> str:
    """What the run shares with those of other categories and seeds."""
    shared = {key: value for key, value in result.facts.items() if key not in OWN}
    return json.dumps(shared, sort_keys=True)


def _row(
    family: str, model: str, beta: float, setting: str, joint: bool, predictor: str, found: dict[str, dict[int, float]]
) -> CategoryRow:
    categories = {name: summarise(list(found[name].values())) for name in sorted(found)}
    complete = set.intersection(*(set(seeds) for seeds in found.values()))
    means = [sum(seeds[seed] for seeds in found.values()) / len(found) for seed in sorted(complete)]
    return CategoryRow(family, model, beta, setting, joint, predictor, categories, summarise(means))


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
