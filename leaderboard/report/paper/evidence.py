"""The evidence behind the answers: what each dataset says of a statement, and the tables of predictors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from leaderboard.board import Board
from leaderboard.results.run_arrays import RunArrays
from leaderboard.rows.notes import knowledge, left_out
from leaderboard.rows.row import Row
from leaderboard.show.sentences import METRIC_FREE, domains_of
from leaderboard.show.tables import smooth_text
from leaderboard.show.texts import COLUMNS, UNDEFINED, cell, escape, interval, markdown_table, number, scopes
from leaderboard.statistics.effects import Effect
from leaderboard.verdicts.claim import Finding

from .answers import BASELINES, FIRST, SECOND, Baseline, signed, verdict_text

NOTHING = Effect(None, None, None, 0)


def statement(first: Finding, second: Finding, runs: Sequence[RunArrays], picture: str) -> Iterator[str]:
    """A statement by both metrics: the verdict, the effect, and what each dataset says."""
    yield f"### {escape(first.statement)}"
    yield ""
    yield f"**{verdict_text(first, second)}** The effect: {escape(first.meaning)}."
    yield ""
    for one in (first,) if first.name in METRIC_FREE else (first, second):
        name = "" if first.name in METRIC_FREE else f"{COLUMNS[one.metric]}: "
        for where, verdict, effect, count, decide in scopes(one):
            need = f". What would decide it: {escape(decide)}" if decide else ""
            yield f"- {name}of {where}: {verdict}, {escape(signed(effect, one.difference))}, over {count}{need}."
    yield ""
    if picture:
        yield f"![{escape(first.part)}, by dataset]({picture})"
        yield ""
    if first.parts:
        yield f"By dataset: {escape(first.part)}."
        yield ""
        yield from _by_dataset(first, second, runs)
        yield ""


def _by_dataset(first: Finding, second: Finding, runs: Sequence[RunArrays]) -> list[str]:
    """The table of what each dataset says; columns that no dataset fills are left out."""
    alone = first.name in METRIC_FREE
    domains = domains_of(runs)
    header = [
        "dataset",
        "domain",
        "effect" if alone else COLUMNS[FIRST],
        "95 % interval",
        COLUMNS[SECOND],
        "95 % interval",
        "runs",
    ]
    lines = []
    for name, part in first.parts.items():
        other = second.parts.get(name, NOTHING)
        members = [run for run in runs if name in (run.family, run.dataset)]
        cells = (
            number(part.value),
            interval(part.low, part.high),
            "" if alone else number(other.value),
            "" if alone else interval(other.low, other.high),
        )
        lines.append((name, domains.get(name, ""), *cells, str(len(members))))
    kept = [at for at, _ in enumerate(header) if any(line[at] for line in lines)]
    return markdown_table([header[at] for at in kept], [[line[at] for at in kept] for line in lines])


def beside_intensity(plain: Sequence[Baseline]) -> Iterator[str]:
    """The table of what learned maps are worth beside one that needs no model."""
    if not plain:
        return
    yield "## Beside plain intensity"
    yield ""
    yield (
        "What a model is worth shows beside a map that needs none (Meissen et al. 2021). Here the learned map is the one with "
        "the highest AP *on test*, each at the beta that validation chooses, so that the comparison favours it. Verdict and "
        "interval are those of the leaderboard (`--view versus`), for all rows of a dataset at once; where neither of the two "
        "is its best row, those of the two alone."
    )
    yield ""
    lines = [
        (
            one.dataset,
            cell(one.intensity.test[FIRST], one.intensity.n),
            one.learned.predictor,
            cell(one.learned.test[FIRST], one.learned.n),
            one.lead_text,
            one.verdict,
        )
        for one in plain
    ]
    header = ("dataset", "AP of intensity", "best learned map", "its AP", "intensity − learned", "intensity is")
    yield from markdown_table(header, lines)
    yield ""


def tables(board: Board) -> Iterator[str]:
    """Predictor by dataset: both metrics, smoothing, and what has to be known beside them."""
    yield "## Which predictor, on which dataset"
    yield ""
    for metric in (FIRST, SECOND):
        yield f"**{COLUMNS[metric]}**, mean ± sd over seeds, at the beta (β) that validation chooses:"
        yield ""
        yield from _table(board, metric)
        yield ""
    yield f"Best of a column in bold. A beta is chosen by the same metric on validation images; {UNDEFINED}: it cannot be."
    yield ""
    rows = [one.row for one in board.chosen if one.metric == FIRST and one.row is not None]
    widths = {(row.predictor, row.dataset): smooth_text(row) for row in rows}
    yield "**Smoothing** of these maps (as in the table of AP): the Gaussian's standard deviation, over seeds:"
    yield ""
    lines = [
        (name, *(widths.get((name, dataset), UNDEFINED) for dataset in board.datasets)) for name in order(board, FIRST)
    ]
    yield from markdown_table(("predictor", *board.datasets), lines)
    yield ""
    said = [*knowledge(rows), *left_out(board.rows)]
    if said:
        yield "Rows that know more than how normal images look, and rows that are not there:"
        yield ""
        yield from (f"- {escape(line)}" for line in said)
        yield ""


def order(board: Board, metric: str) -> list[str]:
    """The predictors by falling mean over datasets, the baselines last."""
    values: dict[str, list[float]] = {}
    for one in board.chosen:
        if one.metric == metric and one.row is not None:
            values.setdefault(one.predictor, []).append(one.row.test[metric].mean or 0.0)
    return sorted(values, key=lambda name: (name in BASELINES, -float(np.mean(values[name])), name))


def _table(board: Board, metric: str) -> list[str]:
    rows = {(one.predictor, one.dataset): one.row for one in board.chosen if one.metric == metric}
    best: dict[str, float] = {}
    for (_, dataset), row in rows.items():
        if row is not None:
            best[dataset] = max(best.get(dataset, 0.0), row.test[metric].mean or 0.0)

    def text(row: Row | None) -> str:
        return UNDEFINED if row is None else f"{cell(row.test[metric], row.n)}, β {row.where[1]}"

    lines, marks = [], []
    for name in order(board, metric):
        here = [rows.get((name, dataset)) for dataset in board.datasets]
        lines.append((name, *map(text, here)))
        marks.append(["", *("**" if row and row.test[metric].mean == best[row.dataset] else "" for row in here)])
    return markdown_table(("predictor", *board.datasets), lines, marks)
