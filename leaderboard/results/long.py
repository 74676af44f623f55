"""Everything that was measured, one value per line, for the statistics of others: of each run, test subject and test image."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from leaderboard.json_file import ResultError
from leaderboard.record import IMAGE_COLUMNS, IMAGES_FILE, REMEDY

from .folds import FOLD, FOLDS
from .run_arrays import RunArrays

if TYPE_CHECKING:
    from pandas import DataFrame

NAMED = ("dataset", "family", "domain", "model", "beta", "setting", "run", "seed", "fold", "predictor")
CATEGORIES = (*(name for name in NAMED if name not in ("beta", "seed", "fold")), "part", "subject", "metric")
Part = Literal["runs", "subjects", "images"]
PARTS: tuple[Part, ...] = get_args(Part)
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # in a file's name or an attribute, it would steer a terminal


def long_table(runs: Iterable[RunArrays], part: Part = "runs") -> DataFrame:
    """A line per run, predictor and metric that is defined.

    Columns: dataset, family, domain, model, beta, setting and run (ids), seed, fold (NA without folds), predictor; of `runs`:
    part (test or validation), metric, value; of `subjects`: subject, metric (ap, auroc, dice), value, on test; of `images`
    (a picture, or a slice of a volume): subject, slice, anomalous (0 or 1), metric (score: higher = more anomalous), value, on
    test, from the file that a run writes beside its result; of a run without that file there is nothing. An ensemble over seeds
    has the seed of its first member, and its predictor's name says @seeds. A fold is a run; nothing is averaged.
    """
    import pandas as pd

    columns: dict[str, list[Any]] = {}
    for run in runs:
        values = OF_PART[part](run)
        known = ~np.isnan(values["value"])
        count = int(known.sum())
        about = (run.dataset, run.family, run.domain, run.model, run.beta, run.setting_id, run.run_id, run.seed)
        fold = int(run.facts[FOLD]) if run.facts.get(FOLDS, "null") not in ("null", "0", "1") else None
        for name, value in zip(NAMED, (*about, fold), strict=False):
            columns.setdefault(name, []).append(np.repeat(np.array([value], dtype=object), count))
        for name, of in values.items():
            columns.setdefault(name, []).append(of[known])
    frame = pd.DataFrame({name: np.concatenate(parts) for name, parts in columns.items()})
    kinds = {"beta": "float64", "seed": "int64", "fold": "Int64", "value": "float64"}
    kinds |= {name: "category" for name in CATEGORIES if name in frame}
    return frame.astype({name: kind for name, kind in kinds.items() if name in frame})


def write_long(runs: Iterable[RunArrays], folder: Path) -> list[Path]:
    """Write every part as CSV and as Parquet below `folder`; the paths. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    runs, paths = list(runs), []
    for part in PARTS:
        frame = long_table(runs, part)
        paths += [folder / f"{part}.csv", folder / f"{part}.parquet"]
        paths[-2].write_text(CONTROL.sub("\ufffd", frame.to_csv(index=False)), encoding="utf-8")
        frame.to_parquet(paths[-1], index=False)
    return paths


def images_of(run: RunArrays) -> Path | None:
    """The run's file of scores by image; None of a run of an earlier revision, which wrote none."""
    path = None if run.folder is None else run.folder / IMAGES_FILE
    return path if path is not None and path.exists() else None


def _of_runs(run: RunArrays) -> dict[str, Any]:
    """Flat columns over (part, predictor, metric)."""
    values = np.stack([run.test, run.validation])
    places = np.indices(values.shape).reshape(3, -1)
    return {
        "predictor": np.array(run.predictors, dtype=object)[places[1]],
        "part": np.array(["test", "validation"], dtype=object)[places[0]],
        "metric": np.array(run.metrics, dtype=object)[places[2]],
        "value": values.ravel(),
    }


def _of_subjects(run: RunArrays) -> dict[str, Any]:
    """Flat columns over (metric, predictor, subject)."""
    metrics = sorted(run.by_subject)
    values = np.stack([run.by_subject[metric] for metric in metrics])
    places = np.indices(values.shape).reshape(3, -1)
    return {
        "predictor": np.array(run.predictors, dtype=object)[places[1]],
        "subject": np.array(run.subjects, dtype=object)[places[2]],
        "metric": np.array(metrics, dtype=object)[places[0]],
        "value": values.ravel(),
    }


def _of_images(run: RunArrays) -> dict[str, Any]:
    """Flat columns over (predictor, image); ResultError if the file is damaged."""
    import pandas as pd

    if (path := images_of(run)) is None:
        return {name: np.empty(0, dtype=object) for name in ("predictor", *IMAGE_COLUMNS, "metric")} | {
            "value": np.empty(0)
        }
    try:
        table = pd.read_csv(path, dtype={"subject": str}, keep_default_na=False)
        values = table[list(run.predictors)].to_numpy(dtype=float).T
        about = {name: np.tile(table[name].to_numpy(dtype=object), len(run.predictors)) for name in IMAGE_COLUMNS}
    except (ValueError, KeyError) as error:
        raise ResultError(f"{path}: damaged ({error}). {REMEDY}") from error
    return {
        "predictor": np.repeat(np.array(run.predictors, dtype=object), values.shape[1]),
        **about,
        "metric": np.full(values.size, "score", dtype=object),
        "value": values.ravel(),
    }


OF_PART = {"runs": _of_runs, "subjects": _of_subjects, "images": _of_images}
