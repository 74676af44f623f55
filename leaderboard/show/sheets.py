"""The board's views as sheets of text, which the terminal, Markdown and LaTeX set alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from leaderboard.board import Board
from leaderboard.results.setting_labels import beta_text
from leaderboard.rows.ranking import DomainRow
from leaderboard.rows.row import Row
from leaderboard.statistics.paired import Paired
from leaderboard.verdicts.claim import Finding

from .texts import COLUMNS, UNDEFINED, cell, counted, escape, interval, markdown_table, number, p_text, size_text


@dataclass(frozen=True)
class Sheet:
    """A titled table of texts, every row as long as the header."""

    view: str
    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    caption: str = ""


def sheet_markdown(sheet: Sheet) -> str:
    """A heading, a table and a caption."""
    table = markdown_table([*map(escape, sheet.header)], [[*map(escape, row)] for row in sheet.rows])
    caption = [escape(sheet.caption), ""] if sheet.caption else []
    return "\n".join([f"### {escape(sheet.title)}", "", *table, "", *caption])


def sheets(board: Board, views: Iterable[str]) -> list[Sheet]:
    """The sheets of these views (VIEWS) that have anything to show."""
    return [sheet for view in views for sheet in VIEWS[view](board) if sheet.rows]


def _beta(board: Board) -> list[Sheet]:
    """Predictor by beta, a sheet per dataset, model and metric, where there are several betas."""
    tables: dict[tuple[str, str, str], list[tuple[str, dict[float, str]]]] = {}
    for curve in board.curves:
        cells = {point.beta: counted(point.test, point.planned) for point in curve.points}
        tables.setdefault((curve.metric, curve.dataset, curve.label), []).append((curve.predictor, cells))
    found = []
    for (metric, dataset, label), rows in tables.items():
        betas = sorted({beta for _, cells in rows for beta in cells})
        if len(betas) > 1:
            lines = [(name, *(cells.get(beta, UNDEFINED) for beta in betas)) for name, cells in rows]
            header = ("predictor", *(f"beta {beta_text(beta)}" for beta in betas))
            found.append(Sheet("beta", f"{dataset}, {label}: {COLUMNS[metric]} over beta", header, lines))
    return found


def _chosen(board: Board) -> list[Sheet]:
    tables: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for one in sorted(board.chosen, key=lambda one: -((one.row or one.oracle).test[one.metric].mean or 0.0)):
        row, oracle = one.row, one.oracle
        own = (UNDEFINED, UNDEFINED, one.why) if row is None else _setting(row, one.metric)
        best = _setting(oracle, one.metric)
        tables.setdefault((one.metric, one.dataset), []).append((one.predictor, *own, *best, str(one.candidates)))
    header = (
        "predictor",
        "model",
        "beta",
        "chosen on validation",
        "oracle model",
        "oracle beta",
        "oracle",
        "candidates",
    )
    caption = (
        "oracle: the setting with the best test value, an upper bound. Candidates: the settings with the most seeds."
    )
    return [
        Sheet("chosen", f"{dataset}: {COLUMNS[metric]} at the setting chosen on validation", header, rows, caption)
        for (metric, dataset), rows in tables.items()
        if any(row[-1] != "1" for row in rows)
    ]


def _setting(row: Row, metric: str) -> tuple[str, ...]:
    return row.label, beta_text(row.beta), counted(row.test[metric], row.planned)


def _speed(board: Board) -> list[Sheet]:
    tables: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    known = [(one, one.row) for one in board.chosen if one.row is not None]
    for one, row in sorted(known, key=lambda pair: pair[1].seconds.mean or 0.0):
        cells = (f"{1000 * (row.seconds.mean or 0.0):.2f}", counted(row.test[one.metric], row.planned))
        tables.setdefault((one.metric, one.dataset), []).append((one.predictor, *cells, "yes" if one.front else ""))
    header = ("predictor", "ms per image", "quality", "on the front")
    caption = "On the front: no predictor of the dataset is both as fast and better, or faster and as good."
    return [
        Sheet("speed", f"{dataset}: time beside {COLUMNS[metric]}", header, rows, caption)
        for (metric, dataset), rows in tables.items()
    ]


def _subjects(board: Board) -> list[Sheet]:
    tables: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for one in sorted(board.subjects, key=lambda one: (one.label, one.beta, -one.mean)):
        parts = one.variance
        spread = (UNDEFINED,) * 3 if parts is None else tuple(map(number, parts[:3]))
        line = (one.label, beta_text(one.beta), one.predictor, number(one.mean), interval(one.low, one.high), *spread)
        tables.setdefault((one.metric, one.dataset), []).append((*line, str(one.subjects)))
    header = ("model", "beta", "predictor", "mean", "95 % interval", "sd seeds", "sd subjects", "sd rest", "subjects")
    caption = "Mean over subjects of the seeds' mean; interval by bootstrap over subjects; sd: variance components."
    return [
        Sheet("subjects", f"{dataset}: {COLUMNS[metric]} per subject", header, rows, caption)
        for (metric, dataset), rows in tables.items()
    ]


def _versus(board: Board) -> list[Sheet]:
    tables: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    best: dict[tuple[str, str], str] = {}
    for row in board.rows:
        for metric in COLUMNS:
            one = row.versus.get(metric)
            if one is not None and one.verdict != "best":
                cells = (*_paired(one.seeds), *_paired(one.subjects), p_text(one.p), one.verdict)
                tables.setdefault((metric, row.dataset), []).append(
                    (row.label, beta_text(row.beta), row.predictor, *cells)
                )
                best[metric, row.dataset] = one.best
    tests = [f"{what} ({of})" for of in ("seeds", "subjects") for what in PAIRED_HEADER]
    header = ("model", "beta", "predictor", *tests, "p (both)", "verdict")
    caption = (
        "p after Holm's correction, that over both decides; effect: Cohen's dz over seeds, rank-biserial correlation over "
        "subjects."
    )
    return [
        Sheet("versus", f"{dataset}: {COLUMNS[metric]} against {best[metric, dataset]}", header, rows, caption)
        for (metric, dataset), rows in tables.items()
    ]


PAIRED_HEADER = ("difference", "95 % interval", "p", "effect", "n")


def _paired(test: Paired | None) -> tuple[str, ...]:
    if test is None:
        return (UNDEFINED,) * len(PAIRED_HEADER)
    return (
        number(test.difference),
        interval(test.low, test.high),
        p_text(test.adjusted),
        number(test.effect, 2),
        str(test.n),
    )


def _attributes(board: Board) -> list[Sheet]:
    tables: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for one in board.attributes:
        cells = [
            cell(one.metrics[metric], one.metrics[metric].n) if metric in one.metrics else UNDEFINED
            for metric in COLUMNS
        ]
        line = (one.label, beta_text(one.beta), one.predictor, one.value, *cells)
        tables.setdefault((one.dataset, one.attribute), []).append(line)
    header = ("model", "beta", "predictor", "value", *COLUMNS.values())
    return [Sheet("attributes", f"{dataset} by {name}", header, rows) for (dataset, name), rows in tables.items()]


def _lesions(board: Board) -> list[Sheet]:
    tables: dict[str, list[tuple[str, ...]]] = {}
    for one in board.lesions:
        line = (one.label, beta_text(one.beta), one.predictor, size_text(one.smallest, one.largest), f"{one.lesions:g}")
        tables.setdefault(one.dataset, []).append((*line, cell(one.rate, one.rate.n)))
    header = ("model", "beta", "predictor", "pixels", "lesions", "detected")
    return [Sheet("lesions", f"{dataset}: lesions detected by size", header, rows) for dataset, rows in tables.items()]


def _domains(board: Board) -> list[Sheet]:
    names = sorted({row.domain for row in board.domains})
    found = []
    for metric in COLUMNS:
        values = {(row.predictor, row.domain): row for row in board.domains if row.metric == metric}
        predictors = list(dict.fromkeys(predictor for predictor, _ in values))
        lines = []
        for predictor in predictors:
            rows = [values.get((predictor, name)) for name in names]
            lines.append((predictor, *map(_domain_cell, rows)))
        caption = "Mean ± sd over datasets, each at the setting chosen on validation (n/N datasets of the domain)."
        if len(names) > 1:
            found.append(Sheet("domains", f"{COLUMNS[metric]} by domain", ("predictor", *names), lines, caption))
    return found


def _domain_cell(row: DomainRow | None) -> str:
    return UNDEFINED if row is None else f"{cell(row.value, row.value.n)} ({row.value.n}/{row.datasets})"


def _ranks(board: Board) -> list[Sheet]:
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


def _reported(board: Board) -> list[Sheet]:
    tables: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for one in board.reported:
        cells = tuple(number(one.metrics.get(metric)) for metric in COLUMNS)
        title = f"{one.dataset}: reported by {one.source}, not run here"
        tables.setdefault((title, f"{one.protocol}. {one.url}"), []).append((one.method, *cells))
    header = ("reported method", *COLUMNS.values())
    return [Sheet("reported", title, header, rows, caption) for (title, caption), rows in tables.items()]


def _claims(board: Board) -> list[Sheet]:
    return [claim_sheet(board.findings)]


def claim_sheet(findings: list[Finding]) -> Sheet:
    """A row per claim."""
    header = ("claim", "verdict", "effect", "95 % interval", "n", "what the effect is", "what would decide it")
    rows = [
        (
            one.statement,
            one.verdict,
            number(one.effect.value),
            interval(one.effect.low, one.effect.high),
            f"{one.effect.n} {one.units}",
            one.meaning,
            one.decide,
        )
        for one in findings
    ]
    return Sheet("claims", "Claims", header, rows)


VIEWS: dict[str, Callable[[Board], list[Sheet]]] = {
    "reported": _reported,
    "beta": _beta,
    "chosen": _chosen,
    "ranks": _ranks,
    "domains": _domains,
    "versus": _versus,
    "subjects": _subjects,
    "attributes": _attributes,
    "lesions": _lesions,
    "speed": _speed,
    "claims": _claims,
}
