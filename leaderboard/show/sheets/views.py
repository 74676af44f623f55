"""The board's views as sheets."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from leaderboard.board import Board
from leaderboard.record import MARGIN
from leaderboard.results.setting_labels import beta_text
from leaderboard.rows.row import NOTHING, Row
from leaderboard.rows.smoothing import Smoothing
from leaderboard.rows.views import AttributeRow, Curve, LesionSummary, SubjectSummary
from leaderboard.show.texts import (
    COLUMNS,
    UNDEFINED,
    cell,
    counted,
    interval,
    number,
    scopes,
    size_text,
)

from .over_datasets import domain_sheets, predictor_sheets, rank_sheets
from .sheet import NAMED, WAYS, Sheet, by_title


def sheets(board: Board, views: Iterable[str]) -> list[Sheet]:
    """The sheets of these views (VIEWS) that have anything to show."""
    return [sheet for view in views for sheet in VIEWS[view](board) if sheet.rows]


BY_ORDER = list(WAYS)
REGRET = (
    "On test, the mean over seeds of what the test's own labels would choose minus that of what was chosen; of settings the "
    "mean over predictors. All but the first use normal validation images alone (docs/selection.md); – where it cannot choose."
)
CHOSEN = {"validation": "chosen", "config": "fixed", "size": "by size"}


def _named(of: Row | Smoothing | SubjectSummary | AttributeRow | LesionSummary) -> tuple[str, str, str]:
    if isinstance(of, Row):
        return *of.where, of.predictor
    return of.label, beta_text(of.beta), of.predictor


def _beta(board: Board) -> list[Sheet]:
    """Predictor by beta, a sheet per dataset, model and metric, where there are several betas."""
    tables: dict[str, list[Curve]] = {}
    for curve in board.curves:
        tables.setdefault(f"{curve.dataset}, {curve.label}: {COLUMNS[curve.metric]} over beta", []).append(curve)
    found = []
    for title, curves in tables.items():
        betas = sorted({point.beta for curve in curves for point in curve.points})
        if len(betas) > 1:
            lines = []
            for curve in curves:
                cells = {point.beta: counted(point.test, point.planned) for point in curve.points}
                lines.append((curve.predictor, *(cells.get(beta, UNDEFINED) for beta in betas)))
            header = ("predictor", *(f"beta {beta_text(beta)}" for beta in betas))
            found.append(Sheet("beta", title, header, lines))
    return found


def _chosen(board: Board) -> list[Sheet]:
    lines = []
    for one in sorted(board.chosen, key=lambda one: -((one.row or one.oracle).test[one.metric].mean or 0.0)):
        own = (UNDEFINED, UNDEFINED, one.why) if one.row is None else _setting(one.row, one.metric)
        title = f"{one.dataset}: {COLUMNS[one.metric]} at the setting chosen by {WAYS[one.by]}"
        lines.append((title, (one.predictor, *own, *_setting(one.oracle, one.metric), str(one.candidates))))
    oracle = ("oracle model", "oracle beta", "oracle")
    header = ("predictor", "model", "beta", "chosen", *oracle, "candidates")
    caption = (
        "oracle: the setting with the best test value, an upper bound. Candidates: the settings with the most seeds."
    )
    found = by_title("chosen", header, lines, caption)
    return [sheet for sheet in found if any(row[-1] != "1" for row in sheet.rows)]


def _selection(board: Board) -> list[Sheet]:
    """What each way of choosing loses, by dataset; a sheet for each metric and for what is chosen."""
    found = []
    for metric in dict.fromkeys(one.metric for one in board.regrets):
        for what, title in (("setting", "each predictor's setting"), ("predictor", "predictor and setting together")):
            losses: dict[str, dict[str, float]] = {}
            for one in board.regrets:
                loss = getattr(one, what)
                if one.metric == metric and loss is not None:
                    losses.setdefault(one.by, {})[one.dataset] = loss
            datasets = [name for name in board.datasets if any(name in known for known in losses.values())]
            means = {
                by: float(np.mean(list(known.values()))) for by, known in losses.items() if len(known) == len(datasets)
            }
            order = sorted(losses, key=lambda by: (means.get(by, np.inf), BY_ORDER.index(by)))
            lines = [
                (WAYS[by], *(number(losses[by].get(name)) for name in datasets), number(means.get(by))) for by in order
            ]
            header = ("chosen by", *datasets, "mean")
            found.append(Sheet("selection", f"{COLUMNS[metric]} lost by choosing {title}", header, lines, REGRET))
    return found


def _setting(row: Row, metric: str) -> tuple[str, ...]:
    return *row.where, counted(row.test[metric], row.planned)


def _speed(board: Board) -> list[Sheet]:
    lines = []
    known = [(one, one.row) for one in board.chosen if one.row is not None]
    for one, row in sorted(known, key=lambda pair: pair[1].seconds.mean or 0.0):
        cells = (f"{1000 * (row.seconds.mean or 0.0):.2f}", counted(row.test[one.metric], row.planned))
        title = f"{one.dataset}: time beside {COLUMNS[one.metric]}"
        lines.append((title, (one.predictor, *cells, "yes" if one.front else "")))
    caption = "On the front: no predictor of the dataset is both as fast and better, or faster and as good."
    return by_title("speed", ("predictor", "ms per image", "quality", "on the front"), lines, caption)


def _subjects(board: Board) -> list[Sheet]:
    lines = []
    for one in sorted(board.subjects, key=lambda one: (one.label, one.beta or 0.0, -one.mean)):
        spread = map(number, one.variance[:3] if one.variance else (None,) * 3)
        cells = (number(one.mean), interval(one.low, one.high), *spread, str(one.subjects))
        lines.append((f"{one.dataset}: {COLUMNS[one.metric]} per subject", (*_named(one), *cells)))
    header = (*NAMED, "mean", "95 % interval", "sd seeds", "sd subjects", "sd rest", "subjects")
    caption = "Mean over subjects of the seeds' mean; interval by bootstrap over subjects; sd: variance components."
    return by_title("subjects", header, lines, caption)


def _smoothing(board: Board) -> list[Sheet]:
    """Width by row, a sheet per dataset, metric and set of widths."""
    lines: dict[tuple[str, tuple[float, ...]], list[tuple[str, ...]]] = {}
    for one in board.smoothing:
        cells = (
            f"{number(width.test.mean)} ({number(width.validation.mean)})"
            + (f" {one.by and CHOSEN[one.by]}" if width.chosen else "")
            + (f" {width.chosen}/{one.runs}" if 0 < width.chosen < one.runs else "")
            for width in one.widths
        )
        key = f"{one.dataset}: {COLUMNS[one.metric]} over smoothing", tuple(width.smooth for width in one.widths)
        lines.setdefault(key, []).append((*_named(one), *cells))
    caption = (
        "Mean over seeds on test (on validation), the Gaussian's standard deviation in pixels above. chosen: the highest AP on "
        "validation, in so many of the runs; fixed: by the config; by size: no validation image is anomalous."
    )
    return [
        Sheet("smoothing", title, (*NAMED, *(f"{width:g} px" for width in widths)), rows, caption)
        for (title, widths), rows in lines.items()
    ]


def _versus(board: Board) -> list[Sheet]:
    lines, margin = [], MARGIN
    for row in board.main:
        for metric in COLUMNS:
            one = row.versus.get(metric)
            if one is not None and one.verdict != "best":
                margin = one.margin
                versus, title = one.versus, f"{row.dataset}: {COLUMNS[metric]} against {one.best}"
                cells = number(versus.difference), interval(versus.low, versus.high), one.verdict
                lines.append((title, (*_named(row), *cells, str(versus.seeds), str(versus.subjects or UNDEFINED))))
    caption = (
        f"The row minus the best, with an interval for other seeds and, where their number is given, other test subjects: 95 % "
        f"for all rows of a table at once. equivalent: within ±{margin:g}; worse: beyond 0; else undecided."
    )
    return by_title("versus", (*NAMED, "difference", "95 % interval", "verdict", "seeds", "subjects"), lines, caption)


def _attributes(board: Board) -> list[Sheet]:
    lines = []
    for one in board.attributes:
        known = [one.metrics.get(metric, NOTHING) for metric in COLUMNS]
        cells = (cell(statistic, statistic.n) for statistic in known)
        lines.append((f"{one.dataset} by {one.attribute}", (*_named(one), one.value, *cells)))
    return by_title("attributes", (*NAMED, "value", *COLUMNS.values()), lines)


def _lesions(board: Board) -> list[Sheet]:
    lines = []
    for one in board.lesions:
        cells = (size_text(one.smallest, one.largest), f"{one.lesions:g}", cell(one.rate, one.rate.n))
        lines.append((f"{one.dataset}: lesions detected by size", (*_named(one), *cells)))
    return by_title("lesions", (*NAMED, "pixels", "lesions", "detected"), lines)


def _reported(board: Board) -> list[Sheet]:
    tables: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for one in board.reported:
        cells = (number(one.metrics.get(metric)) for metric in COLUMNS)
        title = f"{one.dataset}: reported by {one.source}, not run here"
        tables.setdefault((title, f"{one.protocol}. {one.url}"), []).append((one.method, *cells))
    header = ("reported method", *COLUMNS.values())
    return [Sheet("reported", title, header, rows, caption) for (title, caption), rows in tables.items()]


def _claims(board: Board) -> list[Sheet]:
    header = ("claim", "of", "verdict", "effect", "95 % interval", "n", "what the effect is", "what would decide it")
    rows = [
        (one.statement, where, verdict, number(effect.value), interval(effect.low, effect.high), count,
         one.meaning, decide)
        for one in board.findings
        for where, verdict, effect, count, decide in scopes(one)
    ]  # fmt: skip
    parts = [
        (one.statement, name, number(effect.value), interval(effect.low, effect.high), one.part)
        for one in board.findings
        for name, effect in one.parts.items()
    ]
    by_dataset = Sheet(
        "claims", "Claims by dataset", ("claim", "dataset", "effect", "95 % interval", "which is"), parts
    )
    return [Sheet("claims", "Claims", header, rows), by_dataset]


VIEWS: dict[str, Callable[[Board], list[Sheet]]] = {
    "predictors": predictor_sheets,
    "reported": _reported,
    "beta": _beta,
    "chosen": _chosen,
    "selection": _selection,
    "ranks": rank_sheets,
    "domains": domain_sheets,
    "smoothing": _smoothing,
    "versus": _versus,
    "subjects": _subjects,
    "attributes": _attributes,
    "lesions": _lesions,
    "speed": _speed,
    "claims": _claims,
}
