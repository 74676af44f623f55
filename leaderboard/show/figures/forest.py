"""Forest plots: an effect on every dataset with its interval, and over all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from matplotlib.figure import Figure

from leaderboard.results.run_arrays import RunArrays
from leaderboard.show.sentences import METRIC_FREE, domains_of
from leaderboard.show.texts import COLUMNS, shown
from leaderboard.statistics.effects import Effect
from leaderboard.verdicts.claim import Finding

# Okabe and Ito's, told apart by every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
DOMAINS = {"natural": COLOURS[0], "medical": COLOURS[1]}
OTHER, ALL = COLOURS[2], "all"
OTHER_SCALE = ("projection", "kl-gradient-dataset")  # their parts are not on the scale of the effect
LABEL = 100  # letters of an axis


def claim_figures(findings: Sequence[Finding], runs: Sequence[RunArrays]) -> Iterator[tuple[Finding, Figure]]:
    """What each dataset says of each claim that any dataset says something of."""
    domains = domains_of(runs)
    for one in findings:
        if any(part.value is not None for part in one.parts.values()):
            whole = None if one.name in OTHER_SCALE else one.effect
            threshold = None if one.name == "kl-gradient-dataset" else one.threshold
            by = "" if one.name in METRIC_FREE else f" ({COLUMNS.get(one.metric, one.metric)})"
            label = f"{one.part[:LABEL]}{'…' * (len(one.part) > LABEL)}{by}"
            yield one, forest_figure(one.parts, domains, label, threshold, whole)


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
