"""Every figure that a board has data for, as files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from leaderboard.board import Board
from leaderboard.rows.views import Chosen, Curve

from .curves import beta_figure, looks_of, time_figure
from .forest import claim_figures
from .ranks import DRAWN, rank_figures

FILE_NAME = 56  # of up to four bytes each
FORMATS = ("png", "svg", "pdf")
STYLE: dict[str, Any] = {
    "font.size": 9,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "svg.hashsalt": "anomaly_bench",
}
UNDATED: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}


def write_figures(board: Board, folder: Path, formats: Iterable[str] = FORMATS) -> list[Path]:
    """Write every figure that the board has data for, in each format; the paths. The same board gives the same bytes."""
    return save_figures(figures(board), folder, formats)


def save_figures(
    named: Iterable[tuple[str, Figure]], folder: Path, formats: Iterable[str] = FORMATS, dpi: int = 200
) -> list[Path]:
    """Write the figures under their names, as they are made, in each format; the paths."""
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    taken: set[str] = set()
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        for name, figure in named:
            stem = _file_name(name, taken)
            for suffix in formats:
                paths.append(folder / f"{stem}.{suffix}")
                figure.savefig(paths[-1], dpi=dpi, bbox_inches="tight", metadata=UNDATED.get(suffix))
    return paths


def figures(board: Board) -> Iterator[tuple[str, Figure]]:
    """Names and figures, made one at a time."""
    looks = looks_of(board)

    def place(curve: Curve) -> tuple[str, str, str]:
        return curve.metric, curve.dataset, curve.label

    for (metric, dataset, label), group in groupby(sorted(board.curves, key=place), key=place):
        members = [curve for curve in group if any(point.test.mean is not None for point in curve.points)]
        if metric in DRAWN and any(len(curve.points) > 1 for curve in members):
            yield f"beta_{metric}_{dataset}_{label}", beta_figure(members, looks)

    def table(one: Chosen) -> tuple[str, str]:
        return one.metric, one.dataset

    for (metric, dataset), choices in groupby(sorted(board.chosen, key=table), key=table):
        known = [one for one in choices if one.row is not None]
        if metric in DRAWN and len(known) > 1:
            yield f"time_{metric}_{dataset}", time_figure(known, looks)
    for one, figure in claim_figures(board.findings, board.runs):
        yield f"claim_{one.name}", figure
    for ranking, kind, figure in rank_figures(board):
        yield f"{kind}_{ranking.metric}{'_' * bool(ranking.domain)}{ranking.domain}", figure


def _file_name(name: str, taken: set[str]) -> str:
    """`name` as a file name of at most FILE_NAME letters; numbered where another figure has it, also but for case."""
    stem = first = re.sub(r"[^\w.-]+", "_", name)[:FILE_NAME]
    number = 1
    while stem.lower() in taken:
        number += 1
        stem = f"{first}_{number}"
    taken.add(stem.lower())
    return stem
