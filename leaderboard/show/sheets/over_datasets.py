"""The views over datasets as sheets: predictors, ranks, medical beside natural."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from leaderboard.board import Board
from leaderboard.record import direction
from leaderboard.rows.row import NOTHING
from leaderboard.show.texts import COLUMNS, UNDEFINED, cell, number, p_text
from leaderboard.statistics.samples import Statistic

from .sheet import BEST, PLAIN, Sheet, by_title, criterion

LEADING = ("ap", "auroc")  # what a terminal shows first
ORACLE = " (oracle)"
BOLD = "; bold is a column's best."


def leading_sheets(board: Board) -> list[Sheet]:
    """Predictors over datasets in the metrics LEADING, at the settings that were chosen without the test."""
    known = [one for one in board.chosen if one.metric in LEADING]
    return [
        sheet
        for metric in LEADING
        for sheet in predictor_sheets(replace(board, metrics=(metric,), chosen=known))
        if not sheet.title.endswith(ORACLE)
    ]


def predictor_sheets(board: Board) -> list[Sheet]:
    """The usual table of a paper: predictor by dataset, by falling mean; then what choosing on the test itself would give."""
    found: list[Sheet] = []
    for oracle in (False, True):
        for metric in board.metrics:
            rows = {
                (one.predictor, one.dataset): one.oracle if oracle else one.row
                for one in board.chosen
                if one.metric == metric
            }
            known = {place: row.test[metric] for place, row in rows.items() if row is not None}
            if len({dataset for _, dataset in known}) > 1:
                ways = {one.by for one in board.chosen if one.metric == metric and one.row and one.candidates > 1}
                found.append(_paper_table(metric, known, oracle, criterion(ways, COLUMNS.get(metric, metric))))
    return found


def _paper_table(metric: str, known: dict[tuple[str, str], Statistic], oracle: bool, by: str) -> Sheet:
    names, datasets = ({place[part]: None for place in known} for part in (0, 1))
    means = {name: [known[name, data].mean for data in datasets if (name, data) in known] for name in names}
    overall = {name: float(np.mean([one for one in of if one is not None])) for name, of in means.items()}
    whole = {name: len(of) == len(datasets) for name, of in means.items()}
    order = sorted(names, key=lambda name: (not whole[name], -direction(metric) * overall[name]))
    best: dict[str, float | None] = {}
    for data in datasets:
        shown = [round(one.mean, 3) for (_, where), one in known.items() if where == data and one.mean is not None]
        best[data] = (max if direction(metric) > 0 else min)(shown, default=None)
    lines, marks = [], []
    for name in order:
        cells = [known.get((name, data), NOTHING) for data in datasets]
        lines.append((name, *(cell(one, one.n) for one in cells), number(overall[name]) if whole[name] else UNDEFINED))
        signs = (
            BEST if one.mean is not None and round(one.mean, 3) == best[data] else PLAIN
            for one, data in zip(cells, datasets, strict=True)
        )
        marks.append(f"{PLAIN}{''.join(signs)}{PLAIN}")
    chosen = f", each at the setting with the best {by}" if by else ""
    if oracle:
        chosen = ", each chosen on the test itself: an upper bound, no result"
    title = (
        f"{COLUMNS.get(metric, metric)} of predictors over datasets{f', settings by {by}' if by and not oracle else ''}"
    )
    return Sheet(
        "predictors",
        f"{title}{ORACLE}" if oracle else title,
        ("predictor", *datasets, "mean"),
        lines,
        f"Mean ± sd over seeds{chosen}{BOLD}",
        marks,
    )


def rank_sheets(board: Board) -> list[Sheet]:
    found = []
    for one in board.rankings:
        if len(one.datasets) < 2:
            continue
        where = one.domain or "all"
        tested = f"Friedman p {p_text(one.p)}, critical difference {number(one.difference, 2)} (Nemenyi)"
        test = one.why if one.p is None else tested
        left = "".join(f"; {name} is on {n} of them only" for name, n in one.left_out.items())
        lines = [(name, number(value, 2)) for name, value in one.ranks.items()]
        title = f"{COLUMNS[one.metric]}: average rank over {len(one.datasets)} datasets ({where})"
        found.append(Sheet("ranks", title, ("predictor", "average rank"), lines, f"{test}{left}."))
    return found


def domain_sheets(board: Board) -> list[Sheet]:
    names = sorted({row.domain for row in board.domains})
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in board.domains:
        text = f"{cell(row.value, row.value.n)} ({row.value.n}/{row.datasets})"
        cells.setdefault((row.metric, row.predictor), {})[row.domain] = text
    lines = [
        (f"{COLUMNS[metric]} by domain", (predictor, *(by_domain.get(name, UNDEFINED) for name in names)))
        for (metric, predictor), by_domain in cells.items()
    ]
    caption = (
        "Mean ± sd over datasets, each at the setting that was chosen by this metric (n/N datasets of the domain)."
    )
    return by_title("domains", ("predictor", *names), lines, caption) if len(names) > 1 else []
