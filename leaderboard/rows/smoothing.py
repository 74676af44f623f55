"""A row's maps at every width of smoothing that was measured, and which of them the runs chose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from leaderboard.results.run_arrays import SMOOTHED, Array
from leaderboard.statistics.samples import Statistic, statistics_of_all

from .row import Row


class Width(NamedTuple):
    """One width: its standard deviation in pixels, the metric over the seeds, and how many runs' own figures have it."""

    smooth: float
    test: Statistic
    validation: Statistic
    chosen: int


@dataclass(frozen=True)
class Smoothing:
    """A metric of SMOOTHED of a row over the widths; `by`: on what grounds they were chosen, in `runs` runs or folds."""

    dataset: str
    label: str
    beta: float | None
    predictor: str
    metric: str
    by: str
    runs: int
    widths: tuple[Width, ...]


def smoothings(rows: Iterable[Row]) -> list[Smoothing]:
    """For each row whose runs measured several widths, all the same ones, and for each metric of SMOOTHED."""
    known = [(row, np.stack(parts)) for row in rows if (parts := _parts(row))]
    summaries = statistics_of_all([values.reshape(len(values), -1) for _, values in known])
    found = []
    for (row, values), summary in zip(known, summaries, strict=True):
        table = np.array(summary, dtype=object).reshape(*values.shape[1:], len(Statistic._fields))
        widths = row.samples.runs[0].widths  # type: ignore[union-attr]
        grounds = {one.smooth_by for one in row.maps}
        by = grounds.pop() if len(grounds) == 1 else ""
        counts = [sum(one.smooth == smooth for one in row.maps) for smooth in widths]
        for column, metric in enumerate(SMOOTHED):
            validation, test = ([Statistic(*cells) for cells in part[:, column]] for part in table)
            found.append(
                Smoothing(
                    row.dataset,
                    *row.key,
                    row.predictor,
                    metric,
                    by,
                    len(row.maps),
                    tuple(map(Width, widths, test, validation, counts)),
                )
            )
    return found


def _parts(row: Row) -> list[Array]:
    """Of each run validation and test by width and metric, (2, W, metrics); none unless all have the same widths."""
    runs = row.samples.runs if row.samples else ()
    if not row.maps or len({run.widths for run in runs}) != 1 or len(runs[0].widths) < 2:
        return []
    parts = [run.smoothed[:, :, run.index[row.predictor]] for run in runs]
    return [] if np.isnan(parts).all() else parts
