"""The folds of a cross-validation joined into one run per seed: every subject is tested once, by the model that never saw
it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from msgspec import structs

from leaderboard.record import best_is_last

from .collect import Collection
from .run_arrays import SMOOTHED, Array, RunArrays, Single
from .setting_labels import beta_text

FOLD, FOLDS = "dataset.split.fold", "dataset.split.folds"
VARIES = (FOLD, "provenance.split_digest", "seed")


@dataclass(frozen=True)
class Joined:
    """A collection whose folds are joined, and by joint setting id their number and a note that says what was done."""

    collection: Collection
    folds: dict[str, int]
    notes: dict[str, str]


def join_folds(collection: Collection) -> Joined:
    """Each seed's folds as one run: metrics are means over folds, subjects are those of all folds.

    A seed without all of its folds is left out with a note and counts as missing in n/N; where no seed has all, the folds
    stay runs of their own. Ensembles over seeds are joined likewise, apart from single runs.
    """
    families: dict[Any, list[RunArrays]] = defaultdict(list)
    results: list[RunArrays] = []
    for run in collection.results:
        (families[_family(run)] if int(run.facts.get(FOLDS, "null").replace("null", "0")) > 1 else results).append(run)
    settings: dict[str, str] = {}
    folds: dict[str, int] = {}
    notes: dict[str, str] = {}
    for members in families.values():
        expected = int(members[0].facts[FOLDS])
        by_seed: dict[tuple[int, int], list[RunArrays]] = defaultdict(list)
        for run in members:
            by_seed[run.seed, len(run.ensemble_of)].append(run)
        complete = [
            runs for runs in by_seed.values() if len({run.facts[FOLD] for run in runs}) == len(runs) == expected
        ]
        if not complete:
            results += members
            continue
        setting = min(run.setting_id for run in members)
        settings.update({run.setting_id: setting for run in members})
        folds[setting] = expected
        results += [_join(sorted(runs, key=lambda run: int(run.facts[FOLD])), setting) for runs in complete]
        left = sorted(seed for (seed, _), runs in by_seed.items() if runs not in complete)
        name = f"{members[0].dataset}, {members[0].model}, beta {beta_text(members[0].beta)}"
        lacking = f"; seeds {left} lack some of them and are left out" if left else ""
        note = f"{name}: each seed is the mean over its {expected} folds{lacking}."
        if note not in notes.setdefault(setting, note):  # single runs and ensembles over them share a setting
            notes[setting] += f"\n{note}"
    planned = [
        structs.replace(run, setting_id=settings.get(run.setting_id, run.setting_id)) for run in collection.planned
    ]
    return Joined(replace(collection, results=results, planned=planned), folds, notes)


def _family(run: RunArrays) -> tuple[Any, ...]:
    shared = frozenset((key, value) for key, value in run.facts.items() if key not in VARIES)
    return run.dataset, run.model, run.beta, shared


def _join(runs: list[RunArrays], setting: str) -> RunArrays:
    """Folds of one seed; predictors that a fold lacks are left out."""
    first = runs[0]
    names = tuple(name for name in first.predictors if all(name in run.predictors for run in runs))
    at = [[run.index[name] for name in names] for run in runs]

    widths = first.widths if len({run.widths for run in runs}) == 1 else ()

    def mean(values: Sequence[Array | Single]) -> Array:
        return np.mean([array[..., rows, :] for array, rows in zip(values, at, strict=True)], axis=0)

    return replace(
        first,
        run_id="+".join(run.run_id for run in runs),
        setting_id=setting,
        facts={key: value for key, value in first.facts.items() if key not in VARIES},
        training=_mean_training([run.training for run in runs]),
        predictors=names,
        test=mean([run.test for run in runs]),
        validation=mean([run.validation for run in runs]),
        seconds=mean([run.seconds[:, None] for run in runs])[:, 0],
        subjects=tuple(name for run in runs for name in run.subjects),
        by_subject={
            metric: np.concatenate([run.by_subject[metric][rows] for run, rows in zip(runs, at, strict=True)], axis=1)
            for metric in first.by_subject
        },
        influence=_joined_influence(runs, at),
        curves={
            name: mean([run.curves[name] for run in runs]).astype(np.float32)
            for name in first.curves
            if all(name in run.curves for run in runs)
        },
        maps={
            name: sum((run.maps[name] for run in runs if name in run.maps), ()) for name in names if name in first.maps
        },
        widths=widths,
        smoothed=mean([run.smoothed for run in runs]) if widths else np.zeros((2, 0, len(names), len(SMOOTHED))),
        curve={},
        groups={"category": categories} if (categories := _joined_categories(runs, at)) else {},
        lesions={
            size: np.sum(
                [run.lesions[size][rows] for run, rows in zip(runs, at, strict=True) if size in run.lesions], axis=0
            )
            for size in dict.fromkeys(size for run in runs for size in run.lesions)
        },
    )


def _mean_training(trainings: list[Mapping[str, float | int | None]]) -> dict[str, float | int | None]:
    means: dict[str, float | int | None] = {}
    for key in trainings[0]:
        values = [training.get(key) for training in trainings]
        means[key] = None if None in values else sum(values) / len(values)  # type: ignore[arg-type]
    if any(map(best_is_last, trainings)):  # one fold that might have gone on is enough to say so
        means["best_epoch"] = means["epochs"]
    return means


def _joined_categories(runs: list[RunArrays], at: list[list[int]]) -> dict[str, Array]:
    """The means over folds of the categories that every fold tests."""
    found = [run.groups.get("category", {}) for run in runs]
    return {
        name: np.mean([of[name][rows] for of, rows in zip(found, at, strict=True)], axis=0)
        for name in found[0]
        if all(name in of for of in found)
    }


def _joined_influence(runs: list[RunArrays], at: list[list[int]]) -> dict[str, Single]:
    """Of the subjects of all folds on the mean over folds, scaled so that their squares give its variance."""
    total, folds = sum(len(run.subjects) for run in runs), len(runs)
    scales = [
        np.sqrt(total * (total - 1) / (len(run.subjects) * (len(run.subjects) - 1))) / folds
        for run in runs
        if len(run.subjects) > 1
    ]
    return {
        metric: np.concatenate(
            [scale * run.influence[metric][rows] for scale, run, rows in zip(scales, runs, at, strict=True)], axis=1
        )
        for metric in runs[0].influence
        if all(metric in run.influence for run in runs)
    }
