"""The page on what decides the worth of the KL gradient: latent size, resolution, beta, smoothing, or active units."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from leaderboard.amounts import amount
from leaderboard.board import Board
from leaderboard.results.run_arrays import SMOOTHED, RunArrays
from leaderboard.show.texts import COLUMNS, UNDEFINED, escape, markdown_table, number
from leaderboard.statistics.effects import correlation
from leaderboard.verdicts.claims import START
from leaderboard.verdicts.spreads import KL

from .answers import incomplete, single_runs
from .sources import PHASES, provenance, repeated

METRIC = "auroc"
LEVELS = ("latent size", "resolution", "beta", "smoothing")  # those that are set; active units follow from them
FACTORS = (*LEVELS, "active units")
BESIDE = (START, "grad_rec", "intensity")


class Point(NamedTuple):
    """The AUROC of the KL gradient's map of one run at one width of smoothing, and the factors that it was reached with."""

    dataset: str
    run: str
    value: float
    factors: dict[str, float]


class Share(NamedTuple):
    """What a factor does on a dataset: its levels' mean values, ascending, and the rank correlation with it.

    The correlation is over runs, each the mean over its widths; that of smoothing over all points.
    """

    dataset: str
    factor: str
    levels: dict[float, float]
    rho: float | None

    @property
    def span(self) -> float:
        """From the worst to the best of its levels."""
        return max(self.levels.values()) - min(self.levels.values())


def write_page(board: Board, path: Path) -> list[Path]:
    """Write the page; it has no pictures. OSError if it cannot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(board), encoding="utf-8")
    return []


def page(board: Board) -> str:
    """The text, always the same for the same results."""
    runs = single_runs(board)
    found = shares(points(runs))
    parts = (
        _question(runs),
        incomplete(board),
        _answer(runs, found),
        _levels(found),
        _beside(runs),
        _settings(runs),
        _again(runs),
    )
    return "\n".join(line for part in parts for line in part) + "\n"


def points(runs: Sequence[RunArrays], predictor: str = KL) -> list[Point]:
    """One for each run and each width of smoothing that it measured the predictor at."""
    found = []
    for run in runs:
        if predictor not in run.index:
            continue
        size = json.loads(run.facts.get("dataset.size", "[]"))
        fixed = {
            "latent size": float(json.loads(run.facts.get("model.latent", "null")) or np.nan),
            "resolution": float(size[0]) if size else np.nan,
            "beta": run.beta,
            "active units": float(run.training.get("last_active_units") or 0),
        }
        values = run.smoothed[1, :, run.index[predictor], SMOOTHED.index(METRIC)]
        found += [
            Point(run.dataset, run.run_id, value, fixed | {"smoothing": width})
            for width, value in zip(run.widths, values.tolist(), strict=True)
            if not np.isnan(value)
        ]
    return found


def shares(found: Sequence[Point]) -> list[Share]:
    """For each dataset what each factor does, those that vary there alone, all other factors averaged over."""
    answers = []
    for dataset in sorted({point.dataset for point in found}):
        here = [point for point in found if point.dataset == dataset]
        runs = _over_widths(here)
        for factor in FACTORS:
            by_level: dict[float, list[float]] = {}
            for point in here:
                by_level.setdefault(point.factors[factor], []).append(point.value)
            if len(by_level) > 1:
                levels = {level: float(np.mean(values)) for level, values in sorted(by_level.items())}
                alike = here if factor == "smoothing" else runs
                rho = correlation([point.factors[factor] for point in alike], [point.value for point in alike])
                answers.append(Share(dataset, factor, levels, rho))
    return answers


def _over_widths(found: Sequence[Point]) -> list[Point]:
    """A point for each run, the mean over its widths."""
    runs: dict[str, list[Point]] = {}
    for point in found:
        runs.setdefault(point.run, []).append(point)
    return [members[0]._replace(value=float(np.mean([one.value for one in members]))) for members in runs.values()]


def _question(runs: Sequence[RunArrays]) -> Iterator[str]:
    datasets = ", ".join(sorted({run.dataset for run in runs}))
    yield "# What decides the worth of the KL gradient?"
    yield ""
    yield (
        "Zimmerer et al. ([2019](https://arxiv.org/abs/1907.02796)) find that the KL gradient localizes well over many "
        "settings of a VAE; Zhou et al. ([2020](https://arxiv.org/abs/2005.10686)) that it depends on the setting."
    )
    yield ""
    yield (
        f"**What was done.** {amount(len(runs), 'runs')} on {escape(datasets)}, over every combination of latent size, "
        f"resolution and beta ({amount(len({run.seed for run in runs}), 'seeds')} each). The maps of each run "
        f"are measured at several widths of smoothing, and its active units are counted. What follows is {COLUMNS[METRIC]} of "
        f"`{KL}` on test; nothing is chosen."
    )
    yield ""


def _answer(runs: Sequence[RunArrays], found: Sequence[Share]) -> Iterator[str]:
    yield "## The answer in brief"
    yield ""
    for dataset in dict.fromkeys(share.dataset for share in found):
        ranked = sorted(
            (share for share in found if share.dataset == dataset and share.factor in LEVELS),
            key=lambda share: -share.span,
        )
        active = next((one for one in found if (one.dataset, one.factor) == (dataset, "active units")), None)
        if ranked:
            others = ", then ".join(f"{one.factor} ({one.span:.3f})" for one in ranked[1:])
            first = f"{ranked[0].factor} decides most, {ranked[0].span:.3f} from its worst to its best level"
            more = "" if active is None else f". Its rank correlation with active units is {_signed(active.rho)}"
            here = [run for run in runs if run.dataset == dataset]
            best, other = (max((point.value for point in points(here, name)), default=None) for name in (KL, START))
            more += f". At its best it reaches {number(best)}, the best `{START}` {number(other)}"
            yield f"- On {escape(dataset)} {first}{f'; then {others}' if others else ''}{more}."
    yield ""


def _levels(found: Sequence[Share]) -> Iterator[str]:
    yield "## How far each of them moves it"
    yield ""
    lines = [
        (
            one.dataset,
            one.factor,
            ", ".join(f"{level:g}: {value:.3f}" for level, value in one.levels.items()) if one.factor in LEVELS else "",
            number(one.span) if one.factor in LEVELS else UNDEFINED,
            _signed(one.rho),
        )
        for one in found
    ]
    header = ("dataset", "factor", "mean at each level", "worst to best", "rank correlation")
    yield from markdown_table(header, lines)
    yield ""
    yield (
        "Means are over all levels of the other factors and the seeds. The rank correlation (Spearman) is over runs, each "
        "the mean over its widths, and for smoothing over runs and widths. Active units follow from latent size and beta, so "
        "that a correlation with them is none apart from these. Smoothing is in pixels of each resolution."
    )
    yield ""


def _beside(runs: Sequence[RunArrays]) -> Iterator[str]:
    yield "## Beside other maps"
    yield ""
    lines = []
    for dataset in sorted({run.dataset for run in runs}):
        for name in (KL, *BESIDE):
            values = [point.value for point in points([run for run in runs if run.dataset == dataset], name)]
            if values:
                low, high = min(values), max(values)
                lines.append((dataset, name, number(float(np.mean(values))), f"{low:.3f} to {high:.3f}"))
    yield from markdown_table(("dataset", "predictor", "mean", "over all settings, seeds and widths"), lines)
    yield ""


def _settings(runs: Sequence[RunArrays]) -> Iterator[str]:
    yield "## Every setting"
    yield ""
    lines: dict[tuple[str, tuple[float, ...]], list[tuple[float, Point]]] = {}
    for run in runs:
        for point in points([run]):
            key = point.dataset, tuple(point.factors[name] for name in ("latent size", "resolution", "beta"))
            lines.setdefault(key, []).append((point.factors["smoothing"], point))
    widths = sorted({width for members in lines.values() for width, _ in members})
    rows = []
    for (dataset, setting), members in sorted(lines.items()):
        units = np.mean([point.factors["active units"] for _, point in members])
        means = ([point.value for at, point in members if at == width] for width in widths)
        cells = (number(float(np.mean(values))) if values else UNDEFINED for values in means)
        rows.append((dataset, *(f"{value:g}" for value in setting), f"{units:.1f}", *cells))
    header = ("dataset", "latent size", "pixels", "beta", "active units", *(f"{width:g} px" for width in widths))
    yield from markdown_table(header, rows)
    yield ""


def _again(runs: Sequence[RunArrays]) -> Iterator[str]:
    found = [source for run in runs if (source := provenance(run))]
    hours = sum(source.durations.get(phase, 0.0) for source in found for phase in PHASES) / 3600
    yield f"The runs took {hours:.2f} hours of one after the other. To do it again:"
    yield ""
    yield from repeated(found, "anomaly-bench paper --settings --jobs 2")


def _signed(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:+.2f}"
