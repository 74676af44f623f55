"""What any two rows of a dataset reach on each test subject, side by side."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np

from leaderboard.board import Board
from leaderboard.rows.row import Row
from leaderboard.show.texts import COLUMNS

DATASETS, ROWS, SUBJECTS = 6, 40, 400  # how many are compared
METRICS = ("ap", "dice", "auroc")


def comparisons(board: Board) -> list[dict[str, Any]]:
    """For each of the first datasets with several rows: `subjects`, `names`, and by metric the values of each row (R, S), null
    where undefined; of the main table's rows the means over seeds. `left`: how many subjects are left out."""
    found = []
    for dataset, rows in groupby(board.main, key=lambda row: row.dataset):
        members = [row for row in rows if row.samples is not None and not row.ensemble][:ROWS]
        names = {row.samples.subjects for row in members if row.samples}
        if len(members) < 2 or len(names) != 1 or len(subjects := names.pop()) < 2:
            continue
        values = {COLUMNS[metric]: _values(members, metric) for metric in METRICS}
        values = {metric: of for metric, of in values.items() if any(value is not None for row in of for value in row)}
        if values:
            about = {"dataset": dataset, "names": [row.predictor for row in members]}
            shown = list(subjects[:SUBJECTS])
            found.append({**about, "subjects": shown, "values": values, "left": len(subjects) - len(shown)})
    return found[:DATASETS]


def _values(rows: list[Row], metric: str) -> list[list[float | None]]:
    means = (row.samples.means[metric][:SUBJECTS] for row in rows if row.samples)
    return [[None if np.isnan(value) else round(float(value), 3) for value in of] for of in means]
