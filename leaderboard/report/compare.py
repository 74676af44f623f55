"""What any two rows of a dataset reach on each test subject, side by side."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np

from leaderboard.amounts import amount
from leaderboard.board import Board
from leaderboard.rows.row import Row
from leaderboard.show.texts import COLUMNS

DATASETS, ROWS, SUBJECTS = 6, 40, 400  # how many are compared
METRICS = ("ap", "dice", "auroc")


def comparisons(board: Board) -> tuple[list[dict[str, Any]], list[str]]:
    """For each of the first datasets with several rows: `subjects`, `names`, and by metric the values of each row (R, S), null
    where undefined; of the main table's rows the means over seeds. And notes on what is left out."""
    found: list[dict[str, Any]] = []
    left: list[str] = []
    for dataset, rows in groupby(board.main, key=lambda row: row.dataset):
        whole = [row for row in rows if row.samples is not None and not row.ensemble]
        members = [row for row in whole[:ROWS] if row.samples and row.samples.subjects == whole[0].samples.subjects]  # type: ignore[union-attr]
        subjects = whole[0].samples.subjects if whole and whole[0].samples else ()
        values = {COLUMNS[metric]: _values(members, metric) for metric in METRICS}
        values = {metric: of for metric, of in values.items() if any(value is not None for row in of for value in row)}
        if len(members) < 2 or len(subjects) < 2 or not values:
            left.append(f"{dataset}: there are no two rows with values of two test subjects.")
        elif len(found) == DATASETS:
            left.append(f"{dataset}: --long has its values.")
        else:
            names = [row.predictor for row in members]
            found.append({"dataset": dataset, "names": names, "subjects": list(subjects[:SUBJECTS]), "values": values})
            more = len(whole) - len(members), max(len(subjects) - SUBJECTS, 0)
            left += (
                [f"{dataset}: not shown: {amount(more[0], 'more rows')} and {amount(more[1], 'more subjects')}."]
                if any(more)
                else []
            )
    return found, left if found else []


def _values(rows: list[Row], metric: str) -> list[list[float | None]]:
    means = (row.samples.means[metric][:SUBJECTS] for row in rows if row.samples)
    return [[None if np.isnan(value) else round(float(value), 3) for value in of] for of in means]
