"""The board as Markdown, CSV and JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any

from leaderboard.board import Board
from leaderboard.record import METRICS
from leaderboard.results.run_arrays import SMOOTHED, MapFacts, RunArrays
from leaderboard.rows.aggregate import known_metrics
from leaderboard.rows.comparison import COMPARED
from leaderboard.rows.notes import notes_of
from leaderboard.rows.row import NOTHING, Row
from leaderboard.rows.smoothing import smoothings
from leaderboard.show.sheets.over_datasets import leading_sheets
from leaderboard.show.sheets.sheet import sheet_markdown
from leaderboard.show.sheets.views import VIEWS, sheets
from leaderboard.verdicts.claim import Finding

from .categories import markdown_categories
from .sentences import domains_of, sentence
from .tables import by_dataset, leaderboard_sheet, legend, setting_sheets
from .texts import csv_text, escape

JSON_VERSION = 2
VERSUS = ("versus_best", "difference", "difference_low", "difference_high")


def markdown(rows: Sequence[Row]) -> str:
    """A heading and a table per dataset, the best mean of each column in bold; then notes on settings and a legend."""
    tables = [sheet_markdown(leaderboard_sheet(*members)) for members in by_dataset(rows).items()]
    return "\n".join([*tables, *(f"- {escape(text)}" for text in (*notes_of(rows), *legend(rows, "italic")))]) + "\n"


def tables_markdown(board: Board) -> str:
    """Predictors over datasets, the tables of each dataset, all settings, and the categories."""
    categories = [markdown_categories(found, metric) for metric, found in board.categories.items()]
    leading, settings = (map(sheet_markdown, found) for found in (leading_sheets(board), setting_sheets(board)))
    return "\n".join(filter(None, [*leading, markdown(board.main), *settings, *categories]))


def board_markdown(board: Board) -> str:
    """The tables and every view that has anything to show."""
    leading = leading_sheets(board)
    views = [sheet_markdown(sheet) for sheet in sheets(board, VIEWS) if sheet not in leading]
    missing = [f"left out: {message}" for message in board.damaged]
    missing += [f"failed: {run}: {why}" for run, why in board.failed.items()]
    left = "\n".join(f"- {escape(message)}" for message in missing)
    return "\n".join(filter(None, [tables_markdown(board), *views, left])) + "\n"


def csv(rows: Sequence[Row]) -> str:
    """One line per row, full precision, empty where undefined; a row of all settings has the model `any` and no beta.

    Per metric: `<metric>_mean`, `_sd`, `_ci_low` and `_ci_high` (95 % t interval over seeds), `_n`; then
    `validation_<metric>_mean`; then how many seeds' maps an ensemble row combines, and per metric `<metric>_versus_best`
    (best, equivalent, worse, undecided), the difference to the best `<metric>_difference` and its simultaneous 95 % interval
    `_difference_low` and `_difference_high`.
    Then what of the maps was chosen, `smooth` (in pixels), `smooth_by`, `sign` and `sign_by`, several over seeds joined by |,
    and at each width `<metric>_smooth_<width>_mean` and `validation_<metric>_smooth_<width>_mean`. At the end the first two
    groups of columns for the metrics of a user's own.
    """
    own = known_metrics(rows)[len(METRICS) :]
    header = ["dataset", "model", "label", "beta", "setting_id", "predictor", "n", "N"]
    header += [f"{metric}_{part}" for metric in METRICS for part in ("mean", "sd", "ci_low", "ci_high", "n")]
    header += [f"validation_{metric}_mean" for metric in METRICS] + ["ensemble_of"]
    header += [f"{metric}_{part}" for metric in COMPARED for part in VERSUS]
    header += MapFacts._fields
    smoothed = {
        (one.dataset, one.label, one.beta, one.predictor, one.metric, width.smooth): width
        for one in smoothings(rows)
        for width in one.widths
    }
    tried = [(metric, smooth) for smooth in sorted({key[-1] for key in smoothed}) for metric in SMOOTHED]
    header += [f"{part}{metric}_smooth_{smooth:g}_mean" for part in ("", "validation_") for metric, smooth in tried]
    header += [f"{metric}_{part}" for metric in own for part in ("mean", "sd", "ci_low", "ci_high", "n")]
    header += [f"validation_{metric}_mean" for metric in own]
    lines = []
    for row in rows:
        label, beta = row.key
        cells: list[Any] = [
            row.dataset,
            label if row.any_setting else row.model,
            label,
            beta,
            None if row.any_setting else row.setting_id,
            row.predictor,
            row.n,
            row.planned,
        ]
        for metric in METRICS:
            cells += row.test[metric]
        cells += [row.validation[metric].mean for metric in METRICS]
        cells.append(row.ensemble or None)
        for metric in COMPARED:
            versus = row.versus.get(metric)
            cells += [versus.verdict, *versus.versus[:3]] if versus else [None] * len(VERSUS)
        cells += [_joined(getattr(one, name) for one in row.maps) for name in MapFacts._fields]
        named = (row.dataset, label, beta, row.predictor)
        widths = [None if row.ensemble else smoothed.get((*named, *one)) for one in tried]
        cells += [width and width.test.mean for width in widths] + [width and width.validation.mean for width in widths]
        for metric in own:
            cells += row.test.get(metric, NOTHING)
        cells += [row.validation.get(metric, NOTHING).mean for metric in own]
        lines.append(cells)
    return csv_text(header, lines)


def _joined(values: Iterable[float | str | None]) -> str:
    known = sorted({f"{one:g}" if isinstance(one, float) else one for one in values if one is not None})
    return "|".join(known)


def board_json(board: Board) -> str:
    """The whole board in full precision, null where undefined; rows are named where views refer to them."""
    document = {
        "version": JSON_VERSION,
        **{item.name: _plain(getattr(board, item.name)) for item in dataclasses.fields(board)},
        "findings": findings_json(board.findings, board.runs),
    }
    return json.dumps(document, allow_nan=False, ensure_ascii=False, indent=1) + "\n"


def findings_json(findings: Sequence[Finding], runs: Sequence[RunArrays]) -> list[dict[str, Any]]:
    """Each finding with its `sentence`, in JSON types: verdicts and what would decide them, and what each dataset says."""
    domains = domains_of(runs)
    return [{"sentence": sentence(one, domains), **_plain(one)} for one in findings]


def _plain(value: Any) -> Any:
    """JSON types: dataclasses and named tuples become objects, a run its identity; samples are left out."""
    if isinstance(value, RunArrays):
        named = ("run_id", "setting_id", "dataset", "model", "beta", "beta_normalised", "seed", "created", "device")
        return {name: getattr(value, name) for name in (*named, "ensemble_of")}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value) if item.name != "samples"
        }
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(one) for name, one in value._asdict().items()}
    if hasattr(value, "__struct_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
