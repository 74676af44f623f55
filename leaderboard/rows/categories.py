"""A benchmark of several categories: each category's mean over seeds, and the mean over the categories.

Categories come from runs of their own (one model for each, as mvtec_ad_bottle and mvtec_ad_cable) or from the groups of
one run (one model for all). The two are different settings and never share a row.
"""

import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from leaderboard.record import METRICS
from leaderboard.results.run_arrays import RunArrays
from leaderboard.results.setting_labels import ANY, SUFFIX_LENGTH
from leaderboard.statistics.samples import Statistic, summarise

OF_CATEGORY = (  # facts that differ between the runs of one setting
    "seed",
    "dataset.name",
    "dataset.category",
    "provenance.data_fingerprint",
    "provenance.split_digest",
)


@dataclass(frozen=True)
class CategoryRow:
    """One predictor of one setting over the categories of a family.

    label: as in the tables of datasets; of one model for each category that of the first category's table. categories: the
    metric by category, over seeds; mean: over those seeds that have every category, of the mean over the categories (each
    counts the same); joint: whether one model was trained on all of them.
    """

    family: str
    model: str
    label: str
    beta: float | None
    setting: str
    joint: bool
    predictor: str
    categories: dict[str, Statistic]
    mean: Statistic


def by_category(
    results: list[RunArrays],
    metric: str,
    labels: Mapping[tuple[str, str], str],
    free: Collection[tuple[str, str]] = (),
) -> list[CategoryRow]:
    """Rows by family, model, beta and setting, predictors by falling mean; only families with two categories or more.

    results: of a collection whose folds are joined. labels: by dataset and setting id, those of the other tables. free:
    families with their predictors that are the same in every setting (`main_table.model_free`): they have one row, of the model
    ANY and no beta.
    """
    values: dict[tuple[str, str, float | None, str, bool, str], dict[str, dict[int, float]]] = defaultdict(dict)
    firsts: dict[tuple[str, bool, str], tuple[str, str]] = {}
    for run in results:
        entries = [] if run.ensemble_of else _values(run, metric)
        setting = _setting(run) if entries else ""
        place = run.dataset, run.setting_id
        for predictor, category, joint, value in entries:
            own = (ANY, None, "") if (run.family, predictor) in free else (run.model, run.beta, setting)
            key = (run.family, *own, joint, predictor)
            values[key].setdefault(category, {})[run.seed] = value
            firsts[run.family, joint, own[2]] = min(firsts.get((run.family, joint, own[2]), place), place)
    kept = {key: by_seed for key, by_seed in values.items() if len(by_seed) > 1}
    settings = {(family, joint, model, beta, setting) for family, model, beta, setting, joint, _ in kept}
    named = _labels(settings, firsts, labels)
    rows = [_row(*key, named[key[0], key[4], key[3]], by_seed) for key, by_seed in kept.items()]
    return sorted(
        rows,
        key=lambda row: (row.family, row.model, row.beta or 0.0, row.setting, -(row.mean.mean or 0.0), row.predictor),
    )


def _labels(
    settings: Iterable[tuple[str, bool, str, float | None, str]],
    firsts: Mapping[tuple[str, bool, str], tuple[str, str]],
    labels: Mapping[tuple[str, str], str],
) -> dict[tuple[str, bool, str], str]:
    """The label of each (family, joint, setting): that of its first dataset, if it tells apart what shares model and beta.

    Runs of one setting id that other facts tell apart (the code's digest) share their label.
    """
    alike: dict[tuple[str, bool, str, float | None], list[str]] = defaultdict(list)
    for *shared, setting in settings:
        alike[tuple(shared)].append(setting)  # type: ignore[index]
    found: dict[tuple[str, bool, str], str] = {}
    for (family, joint, model, _), members in alike.items():
        places = [firsts[family, joint, setting] for setting in members]
        names = [ANY if model == ANY else labels[place] for place in places]
        size = SUFFIX_LENGTH
        while len(set(names)) < len(set(places)):  # they share no dataset that tells them apart
            names = [f"{model}#{f'{setting_id} {dataset}'[:size]}" for dataset, setting_id in places]
            size += 1
        found |= {(family, joint, setting): name for setting, name in zip(members, names, strict=True)}
    return found


def _values(run: RunArrays, metric: str) -> list[tuple[str, str, bool, float]]:
    """(predictor, category, joint, value) of everything that a run says of a single category."""
    column = METRICS.index(metric)
    tables = run.groups.get("category", {})
    joint = len(tables) > 1
    if not joint:
        tables = {} if run.category is None else {run.category: run.test}
    return [
        (predictor, category, joint, value)
        for category, table in tables.items()
        for predictor, value in zip(run.predictors, table[:, column].tolist(), strict=True)
        if not math.isnan(value)
    ]


def _setting(run: RunArrays) -> str:
    """What the run shares with those of other categories and seeds."""
    shared = {key: value for key, value in run.facts.items() if key not in OF_CATEGORY}
    return json.dumps(shared, sort_keys=True)


def _row(
    family: str,
    model: str,
    beta: float | None,
    setting: str,
    joint: bool,
    predictor: str,
    label: str,
    values: dict[str, dict[int, float]],
) -> CategoryRow:
    categories = {name: summarise(list(values[name].values())) for name in sorted(values)}
    complete = set.intersection(*(set(seeds) for seeds in values.values()))
    means = [sum(seeds[seed] for seeds in values.values()) / len(values) for seed in sorted(complete)]
    return CategoryRow(family, model, label, beta, setting, joint, predictor, categories, summarise(means))
