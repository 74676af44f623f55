"""Metrics, and scores of images, as tables of pandas and as what Lightning logs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytorch_lightning as pl

from leaderboard.record import IMAGE_COLUMNS, Measure

from .tally import Tally

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


def log(module: pl.LightningModule, part: str, measures: Mapping[str, Mapping[str, Measure]]) -> None:
    """Log `part/<predictor>/<metric>` of all that are defined; every process logs the same. Warns of a test without any."""
    values = {
        f"{part}/{name}/{key}": measure.value
        for name, row in measures.items()
        for key, measure in row.items()
        if measure.value is not None
    }
    if part == "test" and not values:
        warnings.warn(
            "test: no metric is defined, as no foreground pixel is anomalous; a batch has masks as `mask`, 1 where anomalous",
            stacklevel=2,
        )
    module.log_dict(values, sync_dist=module.trainer.world_size > 1)


def scores_of(tallies: Mapping[str, Tally], subjects: Mapping[int, str]) -> DataFrame:
    """A row per image that was counted and has foreground: `subject`, `slice`, `anomalous` (0 or 1), its score by predictor.

    A score is the mean of the highest `image_share` of an image's map, of foreground pixels; higher = more anomalous.
    subjects: their names by id.
    """
    from pandas import DataFrame

    first = next(iter(tallies.values()))
    owners, labels = [subjects[owner] for owner in first.owners], [int(label) for label in first.labels]
    about = dict(zip(IMAGE_COLUMNS, (owners, first.slices, labels), strict=True))
    return DataFrame(about | {name: tally.scores for name, tally in tallies.items()})


def write_scores(scores: DataFrame, path: Path) -> None:
    """Write the table of `scores_of` as CSV, to six digits; what of a subject's name is no text in UTF-8 as \\udcXX."""
    scores.to_csv(path, index=False, float_format="%.6g", encoding="utf-8", errors="backslashreplace")
