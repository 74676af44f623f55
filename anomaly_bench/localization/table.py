"""Metrics as a table of pandas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from leaderboard.record import Measure

if TYPE_CHECKING:
    from pandas import DataFrame

BOUNDS = ("low", "high", "ci_low", "ci_high")


def table_of(measures: Mapping[str, Mapping[str, Measure]]) -> DataFrame:
    """A row per predictor: the value of every metric, then its bounds, `<metric>_low` and so on, where any row has them."""
    from pandas import DataFrame

    rows = {
        name: {key: measure.value for key, measure in row.items()}
        | {f"{key}_{bound}": getattr(measure, bound) for key, measure in row.items() for bound in BOUNDS}
        for name, row in measures.items()
    }
    table = DataFrame.from_dict(rows, orient="index", dtype=float)
    return table.rename_axis("predictor").dropna(axis="columns", how="all")
