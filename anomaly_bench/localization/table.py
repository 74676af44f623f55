"""Metrics as a table of pandas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from leaderboard.record import Measure

if TYPE_CHECKING:
    from pandas import DataFrame

BOUNDS = ("low", "high", "ci_low", "ci_high")


def table_of(measures: Mapping[str, Mapping[str, Measure]]) -> DataFrame:
    """A row per predictor: the value of every metric, then `<metric>_low` and so on of those that are not known exactly."""
    from pandas import DataFrame

    rows = {
        name: {key: measure.value for key, measure in row.items()}
        | {f"{key}_{bound}": getattr(measure, bound) for key, measure in row.items() for bound in BOUNDS}
        for name, row in measures.items()
    }
    table = DataFrame.from_dict(rows, orient="index", dtype=float).rename_axis("predictor")
    exact = [key for key in next(iter(measures.values()), ()) if table[f"{key}_low"].equals(table[f"{key}_high"])]
    table = table.drop(columns=[f"{key}_{bound}" for key in exact for bound in ("low", "high")])
    return table.dropna(axis="columns", how="all")
