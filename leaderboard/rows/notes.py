"""What has to be known beside a table: how settings differ, what was left out, what may be undertrained, who knew a sign."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from leaderboard.record import best_is_last
from leaderboard.results.run_arrays import RunArrays
from leaderboard.results.setting_labels import beta_text

from .row import Row

KNOWLEDGE = {
    "dataset": "its YAML says beforehand which sign is anomalous (dataset.polarity)",
    "validation": "the sign was chosen with the labels of validation images",
}
NAMED = 12  # runs or rows that a note names


def notes_of(rows: Sequence[Row]) -> list[str]:
    """The notes on settings and folds, each once; on rows that a model cannot have; on runs that might have gone on."""
    said = dict.fromkeys(line for row in rows for line in row.note.splitlines())
    return [*said, *left_out(rows), *_unfinished(rows)]


def knowledge(rows: Iterable[Row]) -> list[str]:
    """Which rows know more of the anomalies than how normal images look: their sign, themselves or through their members."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for ground in grounds_of(row):
            found.setdefault((row.dataset, ground), []).append(row.predictor)
    return [
        f"sign on {dataset}: {KNOWLEDGE[ground]}, for {listed(dict.fromkeys(names))}. Other rows do not know it."
        for (dataset, ground), names in found.items()
    ]


def grounds_of(row: Row) -> list[str]:
    """The grounds of KNOWLEDGE on which the sign of a row's maps is known; of an ensemble, those of its members."""
    runs = row.samples.runs if row.samples else ()
    own = {one.sign_by for one in row.maps} | {
        one.sign_by for run in runs for member in members_of(run, row.predictor) for one in run.maps.get(member, ())
    }
    return [ground for ground in KNOWLEDGE if ground in own]


def members_of(run: RunArrays, predictor: str) -> Sequence[str]:
    """The members of an ensemble: those that a search chose, or those of the config; none of a single predictor."""
    members: Sequence[str] = json.loads(run.facts.get(f"predictors.members.{predictor}.members", "[]"))
    return run.choices.get(predictor, members)


def left_out(rows: Iterable[Row]) -> list[str]:
    """Which rows the models of a dataset cannot have, and why."""
    names: dict[tuple[str, str, str], dict[str, None]] = {}
    for row in rows:
        for run in row.samples.runs if row.samples else ():
            for name, why in run.left_out.items():
                names.setdefault((row.dataset, row.label, why), {})[name] = None
    return [f"{dataset}, {label}: no row {listed(some)}: {why}" for (dataset, label, why), some in names.items()]


def _unfinished(rows: Sequence[Row]) -> list[str]:
    by_dataset: dict[str, dict[str, tuple[str, RunArrays]]] = {}
    for row in rows:
        for run in row.samples.runs if row.samples and not row.ensemble else ():
            name = f"{row.label} beta {beta_text(row.beta)} seed {run.seed}"
            by_dataset.setdefault(row.dataset, {}).setdefault(run.run_id, (name, run))
    lines = []
    for dataset, runs in by_dataset.items():
        last = [name for name, run in runs.values() if best_is_last(run.training)]
        if last:
            lines.append(
                f"{dataset}: in {len(last)} of {len(runs)} runs the best epoch is the last, so that they may be undertrained "
                f"(trainer.max_epochs): {listed(last)}."
            )
    return lines


def listed(names: Iterable[str]) -> str:
    """The names, the first NAMED of them."""
    shown = list(names)
    more = len(shown) - NAMED
    return ", ".join(shown[:NAMED]) + (f" and {more} more" if more > 0 else "")
