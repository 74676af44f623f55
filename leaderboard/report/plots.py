"""The numbers of the interactive plots, and the rank figures as pictures."""

from __future__ import annotations

import base64
import io
import warnings
from itertools import groupby
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from leaderboard.board import Board
from leaderboard.record import CURVES as RECORDED
from leaderboard.results.run_arrays import LOGGED, Array
from leaderboard.results.setting_labels import beta_text
from leaderboard.show.figures.curves import LINES, MARKERS, interval_of, looks_of, pair_of
from leaderboard.show.figures.forest import claim_figures
from leaderboard.show.figures.ranks import rank_figures
from leaderboard.show.figures.write import STYLE, UNDATED
from leaderboard.show.texts import COLUMNS, effect_text, number
from leaderboard.statistics.samples import Statistic

SYMBOLS = dict(
    zip(MARKERS, ["circle", "square", "diamond", "triangle-down", "cross", "x", "star", "hexagon"], strict=True)
)
DASHES = dict(zip(LINES, ["solid", "dash", "dot", "dashdot"], strict=True))
OPERATING = 40  # rows of a dataset whose curves are drawn
OPERATING_TITLES = {
    "recall": ("ROC", "false-positive rate", "recall"),
    "overlap": ("PRO", "false-positive rate", "mean overlap of regions"),
    "precision": ("precision-recall", "recall", "precision"),
}
TITLES = {"critical_difference": "Average ranks", "ranks": "Rank by dataset"}
CURVES = 3_000
TRAININGS, EPOCHS = 300, 60  # runs whose training is drawn, and points of a curve
DIGITS = 4


def plot_data(board: Board) -> dict[str, Any]:
    """Per kind of plot a list of {where, metric, …}, and how each predictor is drawn in all of them."""
    kinds = {"operating": _operating, "beta": _beta, "time": _time, "domains": _domains, "training": _training}
    return {"looks": _looks(board), **{kind: data(board) for kind, data in kinds.items()}}


def left_out(board: Board) -> str:
    """What the plots do not show, empty where they show everything."""
    curves = sum(len(curve.points) > 1 for curve in board.curves)
    trained = sum(bool(run.curve) for run in board.single_runs)
    said = [f"The first {CURVES} of {curves} curves over beta are drawn."] if curves > CURVES else []
    said += [f"The training of the first {TRAININGS} of {trained} runs is drawn."] if trained > TRAININGS else []
    return " ".join(said)


def _looks(board: Board) -> dict[str, dict[str, str]]:
    return {
        name: {"color": look["color"], "symbol": SYMBOLS[look["marker"]], "dash": DASHES[look["linestyle"]]}
        for name, look in looks_of(board).items()
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _drawn(statistic: Statistic) -> list[Any]:
    """Mean, the ends of its bar, and of two seeds both values instead; as in the figures."""
    low, high = interval_of(statistic) or (None, None)
    pair = [round(value, DIGITS) for value in pair_of(statistic) or ()]
    return [_rounded(statistic.mean), _rounded(low), _rounded(high), *([pair] if pair else [])]


def _beta(board: Board) -> list[dict[str, Any]]:
    metrics = list(COLUMNS)
    known = [curve for curve in board.curves if len(curve.points) > 1]
    known = sorted(known, key=lambda curve: metrics.index(curve.metric))[:CURVES]
    known = sorted(known, key=lambda curve: (curve.dataset, curve.label, metrics.index(curve.metric)))
    found = []
    for (dataset, label, metric), group in groupby(known, key=lambda one: (one.dataset, one.label, one.metric)):
        curves = [
            {"name": one.predictor, "points": [[point.beta, *_drawn(point.test)] for point in one.points]}
            for one in group
            if any(point.test.mean is not None for point in one.points)
        ]
        if curves:
            found.append({"where": f"{dataset}, {label}", "metric": COLUMNS[metric], "curves": curves})
    return found


def _operating(board: Board) -> list[dict[str, Any]]:
    """Per dataset the recorded curves of the main table's rows, each the mean over seeds at fixed places."""
    found = []
    for dataset, rows in groupby(board.main, key=lambda row: row.dataset):
        members = [row for row in rows if row.samples is not None and not row.ensemble][:OPERATING]
        for name, (title, x, y) in OPERATING_TITLES.items():
            curves = []
            for row in members:
                runs = row.samples.runs if row.samples else ()
                known = [run.curves[name][run.index[row.predictor]] for run in runs if name in run.curves]
                if known and not np.isnan(known).any():
                    curves.append({"name": row.predictor, "y": np.mean(known, axis=0).round(3).tolist()})
            if curves:
                places = [float(f"{place:.4g}") for place in RECORDED[name]]
                found.append({"where": dataset, "metric": title, "axes": [x, y], "x": places, "curves": curves})
    return found


def _time(board: Board) -> list[dict[str, Any]]:
    tables: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in board.chosen:
        if one.row is not None and one.row.seconds.mean is not None:
            setting = "any setting" if one.row.any_setting else f"{one.row.label}, beta {beta_text(one.row.beta)}"
            point = {"name": one.predictor, "x": round(1000 * one.row.seconds.mean, DIGITS), "front": one.front}
            point |= {"y": _drawn(one.row.test[one.metric])[:3], "setting": setting}
            tables.setdefault((one.dataset, one.metric), []).append(point)
    return [
        {"where": dataset, "metric": COLUMNS.get(metric, metric), "points": points}
        for (dataset, metric), points in tables.items()
        if len(points) > 1
    ]


def _domains(board: Board) -> list[dict[str, Any]]:
    found = []
    for metric in COLUMNS:
        rows = [row for row in board.domains if row.metric == metric and row.value.mean is not None]
        names = sorted({row.domain for row in rows})
        if len(names) > 1:
            values = [
                {
                    "name": row.predictor,
                    "domain": row.domain,
                    "value": _rounded(row.value.mean),
                    "sd": _rounded(row.value.sd),
                    "count": f"{row.value.n}/{row.datasets} datasets",
                }
                for row in rows
            ]
            found.append({"where": "", "metric": COLUMNS[metric], "domains": names, "values": values})
    return found


def _training(board: Board) -> list[dict[str, Any]]:
    """Loss and ELBO over the epochs, a plot per setting, a curve per seed, with the best epoch where it is recorded."""
    labels = {(row.dataset, row.setting_id): row.label for row in board.rows}
    tables: dict[tuple[str, str], list[dict[str, Any]]] = {}
    drawn = [run for run in board.single_runs if "epoch" in run.curve]
    named = [(run.dataset, labels.get((run.dataset, run.setting_id), run.model), run.beta, run) for run in drawn]
    for _, label, _, run in sorted(named, key=lambda one: one[:3])[:TRAININGS]:
        for key in LOGGED:
            best = run.training.get("best_epoch")
            points = _thinned(run.curve["epoch"], run.curve[key], best) if key in run.curve else []
            if points:
                entry = {"name": f"seed {run.seed}", "points": points, "best": best}
                tables.setdefault((f"{run.dataset}, {label}, beta {beta_text(run.beta)}", key), []).append(entry)
    return [
        {"where": where, "metric": key, "curves": sorted(curves, key=lambda curve: curve["name"])}
        for (where, key), curves in tables.items()
    ]


def _thinned(epochs: Array, values: Array, best: float | None) -> list[list[float]]:
    """At most EPOCHS [epoch, value] pairs of what is known, evenly, with the first and the last, and the best."""
    known = np.flatnonzero(np.isfinite(values))
    even = known[np.linspace(0, len(known) - 1, min(EPOCHS, len(known))).round().astype(int)]
    at = np.union1d(even, known[epochs[known] == best])
    return [[float(epoch), float(f"{value:.6g}")] for epoch, value in zip(epochs[at], values[at], strict=True)]


def rank_pictures(board: Board) -> list[dict[str, str]]:
    """Critical differences and ranks by dataset: `title`, `source` (an SVG as a data URI), `alt` (the ranks in words), and of
    which `metric` and `datasets`."""
    found = []
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        for ranking, kind, figure in rank_figures(board):
            where = f"{COLUMNS[ranking.metric]}, {ranking.domain or 'all'} datasets"
            ranks = ", ".join(f"{name} {number(value, 2)}" for name, value in ranking.ranks.items())
            picture = _picture(f"{TITLES[kind]}: {where}", figure, f"Average rank, best first: {ranks}.")
            found.append(picture | {"metric": COLUMNS[ranking.metric], "datasets": ranking.domain or "all"})
    return found


def claim_pictures(board: Board) -> dict[str, dict[str, str]]:
    """What each dataset says of a claim, by the claim's name: as `rank_pictures`."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        return {
            one.name: _picture(
                one.part,
                figure,
                "; ".join(f"{name} {effect_text(part, one.difference)}" for name, part in one.parts.items()),
            )
            for one, figure in claim_figures(board.findings, board.runs)
        }


def _picture(title: str, figure: Figure, said: str) -> dict[str, str]:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a very long name, which leaves no room for the rest
        figure.savefig(stream, format="svg", bbox_inches="tight", metadata=UNDATED["svg"])
    source = f"data:image/svg+xml;base64,{base64.b64encode(stream.getvalue()).decode()}"
    return {"title": title, "source": source, "alt": f"{title}. {said}"}
