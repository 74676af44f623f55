"""Forest plots: an effect on every dataset with its interval, and over all of them."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from leaderboard.statistics.effects import Effect

from .figures import COLOURS
from .texts import shown

DOMAINS = {"natural": COLOURS[0], "medical": COLOURS[1]}
OTHER, ALL = COLOURS[2], "all"


def forest_figure(
    parts: Mapping[str, Effect],
    domains: Mapping[str, str],
    xlabel: str,
    threshold: float | None = 0.0,
    overall: Effect | None = None,
) -> Figure:
    """A line per dataset, coloured by its domain, and a diamond for `overall` below.

    threshold: what the effect has to exceed, a dashed line. The axis is as wide as the estimates need: an interval of few
    seeds may leave it.
    """
    given = [*parts.items(), *([] if overall is None else [(ALL, overall)])]
    effects = [(name, effect.value, effect) for name, effect in given if effect.value is not None]
    figure = Figure(figsize=(6.2, 0.9 + 0.24 * len(effects)), layout="constrained")
    axes = figure.add_subplot()
    for at, (name, value, effect) in enumerate(effects):
        colour = "black" if name == ALL else DOMAINS.get(domains.get(name, ""), OTHER)
        axes.plot([value], [-at], "D" if name == ALL else "o", color=colour, markersize=5)
        if effect.low is not None and effect.high is not None:
            axes.plot([effect.low, effect.high], [-at, -at], color=colour, linewidth=1.4)
    values = [value for _, value, _ in effects]
    if threshold is not None:
        axes.axvline(threshold, color="0.5", linewidth=0.8, linestyle="--")
        values.append(threshold)
    room = 0.6 * (max(values) - min(values)) or 0.05
    axes.set(xlabel=xlabel, xlim=(min(values) - room, max(values) + room), ylim=(0.6 - len(effects), 0.6))
    axes.set_yticks([-at for at in range(len(effects))], [shown(name) for name, *_ in effects])
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure
