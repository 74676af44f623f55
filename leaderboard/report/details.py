"""What stands behind a row of a table: its runs with their seeds, and their config."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from leaderboard.record import METRICS
from leaderboard.results.run_arrays import DIGESTS, RunArrays
from leaderboard.results.setting_labels import beta_text
from leaderboard.rows.row import Row
from leaderboard.show.texts import COLUMNS

VALUES = 40_000  # numbers of single runs that the page has room for
PROVENANCE = "provenance."


class Details:
    """The runs and settings behind the rows that tables show, each kept once."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, str], int] = {}
        self._shown: list[list[Any]] = []
        self._names: dict[str, int] = {}
        self._settings: dict[tuple[str, ...], int] = {}
        self._members: list[tuple[Row, tuple[RunArrays, ...]]] = []
        self._room = VALUES

    def of(self, row: Row | None) -> list[int]:
        """Where `blob` has what stands behind a row: one place, or none without a result."""
        if row is None or row.samples is None:
            return []
        runs = row.samples.runs
        key = (row.dataset, row.setting_id, *(run.run_id for run in runs))
        setting = self._settings.setdefault(key, len(self._settings))
        if setting == len(self._members):
            self._members.append((row, runs))
        place = self._rows.setdefault((setting, row.predictor), len(self._rows))
        if place == len(self._shown):
            name = self._names.setdefault(row.predictor, len(self._names))
            self._shown.append([setting, name, *self._values(row.samples.test)])
        return [place]

    def _values(self, test: np.ndarray[Any, Any]) -> list[list[float | None]]:
        """Each run's METRICS, nothing when there is no more room."""
        values = test[:, : len(METRICS)]
        if values.size > self._room:
            return []
        self._room -= values.size
        return [[None if np.isnan(value) else round(float(value), 3) for value in run] for run in values]

    def blob(self) -> dict[str, Any]:
        """`rows`: [setting, predictor, metrics of each run …]; `settings`: whose, their runs, and their config as places in
        `lines`: `common` to all settings of the dataset here, and `own`."""
        lines: dict[str, int] = {}
        configs = [{lines.setdefault(line, len(lines)) for line in _config(runs[0])} for _, runs in self._members]
        by_dataset: dict[str, list[set[int]]] = defaultdict(list)
        for (row, _), config in zip(self._members, configs, strict=True):
            by_dataset[row.dataset].append(config)
        common = {dataset: set.intersection(*some) for dataset, some in by_dataset.items()}
        settings = [
            {
                "name": f"{row.dataset}, {row.label}, beta {beta_text(row.beta)}",
                "id": row.setting_id[:8],
                "note": _note(row),
                "dataset": row.dataset,
                "own": sorted(config - common[row.dataset]),
                "runs": [_run(run) for run in runs],
            }
            for (row, runs), config in zip(self._members, configs, strict=True)
        ]
        return {
            "metrics": [COLUMNS.get(metric, metric) for metric in METRICS],
            "predictors": list(self._names),
            "rows": self._shown,
            "settings": settings,
            "common": {dataset: sorted(places) for dataset, places in common.items()},
            "lines": list(lines),
        }


def _note(row: Row) -> str:
    if row.ensemble:
        return f"One map made from those of {row.ensemble} seeds."
    if row.folds:
        return f"Each run stands for its {row.folds} folds and is named by the first of them."
    return "The same in every setting, as no model is in it; one setting's runs are listed." if row.any_setting else ""


def _run(run: RunArrays) -> list[Any]:
    """Seed, name, epochs, the best one of them, when it was finished, and device."""
    name = Path(run.folder).name if run.folder else run.run_id
    seeds = ", ".join(map(str, json.loads(run.facts.get("seed_ensemble.seeds", "[]")))) if run.ensemble_of else ""
    epochs = [run.training.get(name) for name in ("epochs", "best_epoch")]
    return [seeds or run.seed, name, *epochs, run.created[:16].replace("T", " "), run.device]


def _config(run: RunArrays) -> list[str]:
    """Keys with their values, digests of data, split and code shortened."""
    lines = []
    for key, text in run.facts.items():
        name = key.removeprefix(PROVENANCE)
        if key != "seed":
            lines.append(f"{name}: {text[:8] if name in DIGESTS else text}")
    return lines
