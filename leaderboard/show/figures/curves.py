"""A metric over beta, and quality against time; the look of each predictor.

Colours are those of Okabe and Ito, told apart by every kind of colour vision; markers and line styles tell apart what shares
one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from leaderboard.board import Board
from leaderboard.results.setting_labels import beta_text
from leaderboard.rows.views import Chosen, Curve
from leaderboard.show.texts import COLUMNS, shown
from leaderboard.statistics.samples import Statistic

from .forest import COLOURS

MARKERS = "osD^vPX*"
LINES = ("-", "--", ":", "-.")
BESIDE = 0.03  # inches from a predictor to the next at a beta


def looks_of(board: Board) -> dict[str, dict[str, Any]]:
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


def interval_of(value: Statistic) -> tuple[float, float] | None:
    """The 95 % interval over seeds that is drawn as a bar, within [0, 1].

    None of two seeds: theirs, t of one degree of freedom, would fill the figure.
    """
    if value.low is None or value.high is None or value.n <= 2:
        return None
    low, high = np.clip((value.low, value.high), 0, 1).tolist()
    return low, high


def pair_of(value: Statistic) -> tuple[float, float] | None:
    """The values of two seeds, which are drawn instead of an interval."""
    if value.mean is None or value.sd is None or value.n != 2:
        return None
    half = value.sd / math.sqrt(2)
    return value.mean - half, value.mean + half


def beta_figure(members: list[Curve], looks: dict[str, dict[str, Any]]) -> Figure:
    """A metric over beta (log scale) for every predictor: the 95 % interval over seeds as a bar, of two seeds both values.

    Predictors stand beside each other at a beta.
    """
    figure, axes = _figure(len(members))
    members = sorted(members, key=lambda curve: -(curve.points[-1].test.mean or 0.0))
    betas = sorted({point.beta for curve in members for point in curve.points})
    for at, curve in enumerate(members):
        points = [(point.beta, point.test.mean) for point in curve.points if point.test.mean is not None]
        look = looks.get(curve.predictor, looks.get(curve.predictor.split(" (")[0], {}))
        beside = ScaledTranslation(BESIDE * (at - (len(members) - 1) / 2), 0, figure.dpi_scale_trans)
        look = look | {"transform": axes.transData + beside}
        axes.plot(*zip(*points, strict=True), label=_label(curve.predictor), markersize=4, linewidth=1.2, **look)
        color, transform = look.get("color"), look["transform"]
        for point in curve.points:
            if bar := interval_of(point.test):
                axes.vlines(point.beta, *bar, color=color, linewidth=1, alpha=0.5, transform=transform)
            if both := pair_of(point.test):
                axes.plot([point.beta] * 2, both, ".", color=color, markersize=4, transform=transform)
    least, most = min(betas), max(betas)
    if least > 0:
        axes.set_xscale("log", base=2)
        room = max((most / least) ** 0.08, 1.2)
        axes.set_xlim(least / room, most * room)
    else:
        room = 0.08 * (most - least) or 0.5
        axes.set_xlim(least - room, most + room)
    axes.xaxis.set_major_locator(FixedLocator(betas))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(betas, [beta_text(beta) for beta in betas])
    first = members[0]
    means = [point.test.mean for curve in members for point in curve.points if point.test.mean is not None]
    _finish(figure, axes, "beta", COLUMNS[first.metric], f"{shown(first.dataset)}, {shown(first.label)}", means)
    return figure


def time_figure(choices: list[Chosen], looks: dict[str, dict[str, Any]]) -> Figure:
    """Quality against time per image at the chosen settings; a line joins those that nothing beats in both."""
    figure, axes = _figure(len(choices))
    metric = choices[0].metric
    points = {one.predictor: (1000 * (one.row.seconds.mean or 0.0), one.row.test[metric]) for one in choices if one.row}
    choices = sorted(choices, key=lambda one: -(points[one.predictor][1].mean or 0.0))
    front = sorted((points[one.predictor][0], points[one.predictor][1].mean or 0.0) for one in choices if one.front)
    axes.plot(*zip(*front, strict=True), color="0.6", linewidth=1, drawstyle="steps-post", zorder=1, label="front")
    for one in choices:
        time, value = points[one.predictor]
        mean, look = value.mean or 0.0, {key: looks[one.predictor][key] for key in ("color", "marker")}
        bar = interval_of(value)
        error = bar and [[mean - bar[0]], [bar[1] - mean]]
        axes.errorbar(
            time, mean, yerr=error, linestyle="none", markersize=6, elinewidth=1, label=_label(one.predictor), **look
        )
    if all(time > 0 for time, _ in points.values()):
        axes.set_xscale("log")
        decades = math.log10(max(times := [time for time, _ in points.values()]) / min(times))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2.5 else (1,)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
    _finish(
        figure,
        axes,
        "milliseconds per image",
        COLUMNS[metric],
        shown(choices[0].dataset),
        [value.mean or 0.0 for _, value in points.values()],
    )
    return figure


def _figure(names: int) -> tuple[Figure, Axes]:
    """A figure with room for a legend of this many names beside its axes."""
    figure = Figure(figsize=(6.2, max(3.6, 0.5 + 0.18 * names)), layout="constrained")
    return figure, figure.add_subplot()


def _finish(figure: Figure, axes: Axes, x: str, y: str, title: str, means: list[float]) -> None:
    """Name the axes and what is drawn.

    y is what the means need within [0, 1]: an interval of few seeds is often so wide that nothing else could be seen.
    """
    low, high = min(means), max(means)
    room = 0.3 * (high - low) or 0.05
    axes.set(xlabel=x, ylabel=y, ylim=(max(low - room, min(low, -0.01)), min(high + room, max(high, 1.01))))
    axes.set_title(title, fontsize=9)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False, fontsize=8)


def _label(name: str) -> str:
    """`name` in a legend, which leaves out what begins with _."""
    return f"\u200b{shown(name)}"
