"""The rows as tables have them: each predictor at the setting that validation chooses, and all settings; both compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from leaderboard.amounts import amount
from leaderboard.record import MARGIN
from leaderboard.results.run_arrays import DIGESTS

from .aggregate import by_auroc
from .comparison import mark
from .notes import listed
from .row import Row
from .views import Chosen

CHOSEN_BY = "ap"  # on validation, whichever metric is shown: a row has one setting


def main_rows(rows: list[Row], choices: Iterable[Chosen], margin: float = MARGIN) -> list[Row]:
    """Of each dataset's predictors the rows at the setting (model and beta) that was chosen, compared among themselves.

    The highest CHOSEN_BY chooses, or a criterion (`selection.BY`); where none is known, all settings stay. An ensemble over
    seeds is shown at its predictor's setting, and a group without any result as it is. The notes of a dataset's rows name the
    hidden settings that had too few seeds to be chosen. rows: of `all_settings`; choices: of `chosen`, CHOSEN_BY among their
    metrics.
    """
    settings: dict[tuple[str, str], set[str]] = {}
    grounds: dict[tuple[str, str], str] = {}
    for choice in choices:
        if choice.metric == CHOSEN_BY and choice.row is not None:
            settings[choice.dataset, choice.predictor] = {choice.row.setting_id}
            grounds[choice.dataset, choice.predictor] = choice.by if choice.candidates > 1 else ""

    def shown(row: Row) -> bool:
        name = row.predictor.partition("@")[0] if row.ensemble else row.predictor
        return row.setting_id in settings.get((row.dataset, name), {row.setting_id})

    hidden = _not_considered(rows, {id(row) for row in rows if not shown(row)})
    kept = [
        replace(
            row,
            chosen_by=grounds.get((row.dataset, row.predictor), ""),
            note="\n".join(filter(None, [row.note, *hidden.get(row.dataset, [])])),
        )
        for row in rows
        if shown(row)
    ]
    return mark(sorted(kept, key=lambda row: (row.dataset, row.samples is None, *by_auroc(row))), margin)


def _not_considered(rows: list[Row], hidden: set[int]) -> dict[str, list[str]]:
    """By dataset a line per setting of which rows are hidden, as another has more seeds; with their names unless all are."""
    single = [row for row in rows if row.samples is not None and not row.ensemble]
    most: dict[tuple[str, str], int] = defaultdict(int)
    by_setting: dict[str, set[str]] = defaultdict(set)
    for row in single:
        most[row.dataset, row.predictor] = max(most[row.dataset, row.predictor], row.n)
        by_setting[row.setting_id].add(row.predictor)
    fewer: dict[tuple[str, str, str], dict[tuple[int, int], list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in single:
        if row.n < most[row.dataset, row.predictor] and id(row) in hidden:
            fewer[row.dataset, *row.where][row.n, most[row.dataset, row.predictor]].append(row)
    lines: dict[str, list[str]] = defaultdict(list)
    for (dataset, label, beta), seeds in fewer.items():
        for (n, of_most), some in seeds.items():
            names = [row.predictor for row in some]
            of = "" if set(names) == by_setting[some[0].setting_id] else f" of {listed(names)}"
            lines[dataset].append(
                f"{dataset}, {label}, beta {beta}: not considered when settings were chosen, "
                f"{n} of {amount(of_most, 'seeds')}{of}."
            )
    return lines


def all_settings(rows: list[Row], margin: float = MARGIN) -> list[Row]:
    """The rows of `aggregate`, compared with the best of their dataset over all settings.

    Those of a predictor that reaches the same in several settings on the same data, as no model is in it, are one; that of most
    seeds stays.
    """
    alike: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row.samples is not None and not row.ensemble:
            alike[row.dataset, row.predictor].append(row)
    joined = [sorted(several, key=lambda row: -row.n) for several in alike.values()]
    joined = [several for several in joined if _equal(several)]
    repeats = {id(row) for several in joined for row in several[1:]}
    firsts = {id(several[0]) for several in joined}
    kept = [replace(row, any_setting=id(row) in firsts) for row in rows if id(row) not in repeats]
    return mark(kept, margin)


def _equal(rows: list[Row]) -> bool:
    """Whether rows, the one of most seeds first, have the same seeds or some of them, and the same values on the same data."""
    first, *others = (row.samples for row in rows if row.samples)
    data = [first.runs[0].facts.get(f"provenance.{name}") for name in DIGESTS[:2]]
    return bool(others) and all(
        set(other.seeds) <= set(first.seeds)
        and data == [other.runs[0].facts.get(f"provenance.{name}") for name in DIGESTS[:2]]
        and np.array_equal(other.test, first.test[[first.seeds.index(seed) for seed in other.seeds]], equal_nan=True)
        for other in others
    )


def model_free(rows: list[Row]) -> set[tuple[str, str]]:
    """Family and predictor of what is one row in each dataset with several settings; rows: of `all_settings`."""
    found: dict[tuple[str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.samples is not None and not row.ensemble:
            found[row.samples.runs[0].family, row.predictor][row.dataset].append(row)
    return {
        key
        for key, datasets in found.items()
        if any(of[0].any_setting for of in datasets.values()) and all(len(of) == 1 for of in datasets.values())
    }
