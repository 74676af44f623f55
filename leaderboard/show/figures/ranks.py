"""Figures of ranks over datasets: critical differences, and the rank on each dataset."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import rankdata

from leaderboard.board import Board
from leaderboard.record import direction
from leaderboard.rows.ranking import Ranking
from leaderboard.rows.views import Chosen
from leaderboard.show.texts import COLUMNS, shown

CLIQUE = "#0072B2"
DRAWN = ("auroc", "ap", "dice")


def rank_figures(board: Board) -> Iterator[tuple[Ranking, str, Figure]]:
    """The rankings of the metrics DRAWN as `critical_difference`; those over all datasets as `ranks` by dataset, too."""
    for ranking in board.rankings:
        if ranking.metric in DRAWN and len(ranking.datasets) > 1 and len(ranking.ranks) > 1:
            yield ranking, "critical_difference", rank_figure(ranking)
            if not ranking.domain and board.chosen:
                yield ranking, "ranks", heat_figure(ranking, board.chosen)


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
        text = f"{shown(name)}  {value:.2f}" if left else f"{value:.2f}  {shown(name)}"
        axes.text(end + (-0.1 if left else 0.1), level, text, ha="right" if left else "left", va="center", fontsize=8)
    for at, clique in enumerate(ranking.cliques):
        ends = ranking.ranks[clique[0]] - 0.06, ranking.ranks[clique[-1]] + 0.06
        axes.plot(ends, [-0.35 * (at + 1)] * 2, color=CLIQUE, linewidth=3, solid_capstyle="butt")
    where = f"{len(ranking.datasets)} {shown(ranking.domain)} datasets".replace("  ", " ")
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
    table = np.array([[np.mean(values[family, name]) for name in names] for family in ranking.datasets])
    ranks = rankdata(-direction(ranking.metric) * table, axis=1).T
    figure = Figure(figsize=(1.8 + 0.5 * len(ranking.datasets), 1.0 + 0.26 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(ranks, cmap="cividis_r", aspect="auto", vmin=1, vmax=len(names))
    for (y, x), rank in np.ndenumerate(ranks):
        axes.text(
            x, y, f"{rank:g}", ha="center", va="center", fontsize=8, color="white" if rank > len(names) / 2 else "black"
        )
    datasets = list(map(shown, ranking.datasets))
    axes.set_xticks(range(len(datasets)), datasets, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), list(map(shown, names)))
    axes.set_title(f"Rank by dataset: {COLUMNS[ranking.metric]}", fontsize=9)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure
