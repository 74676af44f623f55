"""Figures for papers: curves over beta, time against quality, ranks by dataset, critical differences.

Colours are those of Okabe and Ito, told apart by every kind of colour vision; markers and line styles tell apart what shares
one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from scipy.stats import rankdata

from leaderboard.board import Board
from leaderboard.ranking import Ranking
from leaderboard.record import LOWER_IS_BETTER
from leaderboard.settings import beta_text
from leaderboard.tables import COLUMNS
from leaderboard.views import Chosen, Curve

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
MARKERS = "osD^vPX*"
LINES = ("-", "--", ":", "-.")
FORMATS = ("png", "svg", "pdf")
DRAWN = ("auroc", "ap", "dice")
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
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        for name, figure in figures(board):
            for suffix in formats:
                paths.append(folder / f"{_file_name(name)}.{suffix}")
                figure.savefig(paths[-1], dpi=200, bbox_inches="tight", metadata=UNDATED.get(suffix))
    return paths


def figures(board: Board) -> Iterator[tuple[str, Figure]]:
    """Names and figures, made one at a time."""
    looks = _looks(board)

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
    for ranking in board.rankings:
        if ranking.metric in DRAWN and len(ranking.datasets) > 1 and len(ranking.ranks) > 1:
            name = f"{ranking.metric}{'_' * bool(ranking.domain)}{ranking.domain}"
            yield f"critical_difference_{name}", rank_figure(ranking)
            if not ranking.domain and board.chosen:
                yield f"ranks_{name}", heat_figure(ranking, board.chosen)


def _looks(board: Board) -> dict[str, dict[str, Any]]:
    """A colour, marker and line style for each predictor, the same in every figure."""
    names = sorted({row.predictor for row in board.rows if row.samples is not None})
    return {
        name: {
            "color": COLOURS[at % len(COLOURS)],
            "marker": MARKERS[(at + at // len(COLOURS)) % len(MARKERS)],
            "linestyle": LINES[at // len(COLOURS) % len(LINES)],
        }
        for at, name in enumerate(names)
    }


def beta_figure(members: list[Curve], looks: dict[str, dict[str, Any]]) -> Figure:
    """A metric over beta (log scale) for every predictor, with the 95 % interval over seeds as a band."""
    figure = Figure(figsize=(6.2, 3.6), layout="constrained")
    axes = figure.add_subplot()
    members = sorted(members, key=lambda curve: -(curve.points[-1].test.mean or 0.0))
    betas = sorted({point.beta for curve in members for point in curve.points})
    for curve in members:
        points = [(point.beta, point.test.mean) for point in curve.points if point.test.mean is not None]
        look = looks.get(curve.predictor, looks.get(curve.predictor.split(" (")[0], {}))
        axes.plot(*zip(*points, strict=True), label=curve.predictor, markersize=4, linewidth=1.2, **look)
        banded = [point for point in curve.points if point.test.low is not None]
        if banded:
            lows, highs = zip(*((point.test.low, point.test.high) for point in banded), strict=True)
            axes.fill_between(
                [point.beta for point in banded], lows, highs, color=look.get("color"), alpha=0.12, linewidth=0
            )
    if min(betas) > 0:
        axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(betas))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(betas, [beta_text(beta) for beta in betas])
    first = members[0]
    _finish(axes, "beta", COLUMNS[first.metric], f"{first.dataset}, {first.label}")
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    return figure


def time_figure(choices: list[Chosen], looks: dict[str, dict[str, Any]]) -> Figure:
    """Quality against time per image at the chosen settings; a line joins those that nothing beats in both."""
    figure = Figure(figsize=(6.2, 3.6), layout="constrained")
    axes = figure.add_subplot()
    metric = choices[0].metric
    points = {one.predictor: (1000 * (one.row.seconds.mean or 0.0), one.row.test[metric]) for one in choices if one.row}
    choices = sorted(choices, key=lambda one: -(points[one.predictor][1].mean or 0.0))
    front = sorted((points[one.predictor][0], points[one.predictor][1].mean or 0.0) for one in choices if one.front)
    axes.plot(*zip(*front, strict=True), color="0.6", linewidth=1, drawstyle="steps-post", zorder=1, label="front")
    for one in choices:
        time, value = points[one.predictor]
        mean, look = value.mean or 0.0, {key: looks[one.predictor][key] for key in ("color", "marker")}
        error = None if value.low is None or value.high is None else [[mean - value.low], [value.high - mean]]
        axes.errorbar(time, mean, yerr=error, linestyle="none", markersize=6, elinewidth=1, label=one.predictor, **look)
    if all(time > 0 for time, _ in points.values()):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    _finish(axes, "milliseconds per image", COLUMNS[metric], choices[0].dataset)
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    return figure


def _finish(axes: Axes, x: str, y: str, title: str) -> None:
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, fontsize=9)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def rank_figure(ranking: Ranking) -> Figure:
    """Average ranks on a line, best at the left; bars join what Nemenyi's test cannot tell apart (Demšar 2006)."""
    names, values = list(ranking.ranks), list(ranking.ranks.values())
    half = (len(names) + 1) // 2
    bars = len(ranking.cliques)
    height = 1.1 + 0.22 * half + 0.12 * bars
    figure = Figure(figsize=(6.2, height))
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    axes.set(xlim=(-0.42 * len(names), 1.42 * len(names) + 1), ylim=(-(1.0 + half * 0.7 + bars * 0.35), 1.9))
    axes.set_axis_off()
    axes.plot([1, len(names)], [0, 0], color="black", linewidth=1)
    for tick in range(1, len(names) + 1):
        axes.plot([tick, tick], [0, 0.18], color="black", linewidth=1)
        axes.text(tick, 0.28, str(tick), ha="center", va="bottom", fontsize=8)
    for at, (name, value) in enumerate(zip(names, values, strict=True)):
        left = at < half
        level = -(0.9 + bars * 0.35 + 0.7 * (at if left else len(names) - 1 - at))
        end = 0.6 if left else len(names) + 0.4
        axes.plot([value, value, end], [0, level, level], color="0.35", linewidth=0.8)
        text = f"{name}  {value:.2f}" if left else f"{value:.2f}  {name}"
        axes.text(end + (-0.1 if left else 0.1), level, text, ha="right" if left else "left", va="center", fontsize=8)
    for at, clique in enumerate(ranking.cliques):
        ends = ranking.ranks[clique[0]] - 0.06, ranking.ranks[clique[-1]] + 0.06
        axes.plot(ends, [-0.35 * (at + 1)] * 2, color=COLOURS[0], linewidth=3, solid_capstyle="butt")
    where = f"{len(ranking.datasets)} {ranking.domain or ''} datasets".replace("  ", " ")
    title = f"{COLUMNS[ranking.metric]}: average rank over {where}"
    if ranking.difference is not None:
        axes.plot([1, 1 + ranking.difference], [1.15, 1.15], color="black", linewidth=1.5)
        for end in (1, 1 + ranking.difference):
            axes.plot([end, end], [1.03, 1.27], color="black", linewidth=1.5)
        axes.text(
            1.15 + ranking.difference, 1.15, f"critical difference {ranking.difference:.2f}", va="center", fontsize=8
        )
    else:
        axes.text(1, 1.1, f"not tested: {ranking.why}", va="center", fontsize=8)
    axes.set_title(title, fontsize=9, y=1.0, pad=2)
    return figure


def heat_figure(ranking: Ranking, choices: list[Chosen]) -> Figure:
    """The rank of each predictor on each dataset."""
    values: dict[tuple[str, str], list[float]] = {}
    for one in choices:
        if one.metric == ranking.metric and one.row is not None and one.predictor in ranking.ranks:
            values.setdefault((one.family, one.predictor), []).append(one.row.test[one.metric].mean or 0.0)
    names = list(ranking.ranks)
    sign = 1 if ranking.metric in LOWER_IS_BETTER else -1
    table = np.array([[np.mean(values[family, name]) for name in names] for family in ranking.datasets])
    ranks = rankdata(sign * table, axis=1).T
    figure = Figure(figsize=(1.8 + 0.5 * len(ranking.datasets), 1.0 + 0.26 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(ranks, cmap="cividis_r", aspect="auto", vmin=1, vmax=len(names))
    for (y, x), rank in np.ndenumerate(ranks):
        axes.text(
            x, y, f"{rank:g}", ha="center", va="center", fontsize=8, color="white" if rank > len(names) / 2 else "black"
        )
    axes.set_xticks(range(len(ranking.datasets)), ranking.datasets, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_title(f"Rank by dataset: {COLUMNS[ranking.metric]}", fontsize=9)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
