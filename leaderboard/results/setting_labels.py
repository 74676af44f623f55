"""Settings that share dataset, model and beta are told apart by name, and what they differ in is said."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from leaderboard.json_file import ResultError

from .run_arrays import RunArrays

SUFFIX_LENGTH = 4
ANY = "any"  # model and beta of what is the same in every setting, as no model is in it


class Group(NamedTuple):
    """Runs that differ in their seed alone."""

    dataset: str
    model: str
    beta: float
    setting_id: str


def beta_text(beta: float | None) -> str:
    """The shortest text that reads back as exactly `beta`: 4, 0.25, 1e-05; `any` for None, which stands for all."""
    if beta is None:
        return ANY
    short = f"{beta:g}"
    return short if float(short) == beta else repr(beta)


def distinct_seeds(group: Group, runs: Iterable[RunArrays]) -> set[int]:
    """The seeds of single runs; ResultError when a seed lies twice in the group."""
    by_seed: dict[int, str] = {}
    for run in runs:
        if run.seed in by_seed:
            raise ResultError(
                f"{group.dataset}, {group.model}, beta {beta_text(group.beta)}, setting {group.setting_id}: "
                f"seed {run.seed} lies in two runs, {by_seed[run.seed]} and {run.run_id}. "
                "It would count twice: move one of their folders away."
            )
        by_seed[run.seed] = run.run_id
    return set(by_seed)


def tell_ensembles_apart(ensembles: Sequence[RunArrays]) -> list[RunArrays]:
    """The ensembles over seeds of a group, their rows named so that no two over equally many seeds share a name.

    A name that would be shared says its seeds (`rec_l1@seeds=0,2`) and, where these are the same too, the start of its run id.
    """
    told_apart = list(ensembles)
    for suffix in (_seeds_text, lambda run: f"#{run.run_id[:SUFFIX_LENGTH]}"):
        shared = Counter((name, len(run.ensemble_of)) for run in told_apart for name in run.predictors)
        told_apart = [
            replace(
                run,
                predictors=tuple(
                    f"{name}{suffix(run)}" if shared[name, len(run.ensemble_of)] > 1 else name
                    for name in run.predictors
                ),
            )
            for run in told_apart
        ]
    return told_apart


def _seeds_text(run: RunArrays) -> str:
    return "=" + ",".join(map(str, json.loads(run.facts.get("seed_ensemble.seeds", "[]"))))


def tell_apart(
    groups: Iterable[Group], runs: dict[Group, list[RunArrays]], differs: Mapping[str, str]
) -> tuple[dict[Group, str], dict[Group, str]]:
    """A label for every group, and a note for those that share dataset, model and beta with another setting.

    differs: by setting id, what the plan says of those that it tells apart; it speaks where the results do not.
    """
    alike: dict[tuple[str, str, float], list[Group]] = defaultdict(list)
    for group in groups:
        alike[group[:3]].append(group)
    labels: dict[Group, str] = {}
    notes: dict[Group, str] = {}
    for (dataset, model, beta), family in alike.items():
        if len(family) == 1:
            labels[family[0]] = model
            continue
        suffixes = _suffixes(family)
        labels.update({group: f"{model}{suffixes[group]}" for group in family})
        keys = differing_keys([runs[group] for group in family if runs.get(group)])
        told = {group: differs[group.setting_id] for group in family if group.setting_id in differs}
        how = "differ in nothing that their results record"
        if keys:
            how = f"differ in {', '.join(keys)}"
        elif len(set(told.values())) == len(family):
            how = f"differ by their plan: {', '.join(sorted(f'{suffixes[group]} {text}' for group, text in told.items()))}"
        empty = [suffixes[group] for group in family if not runs.get(group)]
        unknown = f" (no result yet: {', '.join(sorted(empty))})" if empty else ""
        names = ", ".join(sorted(suffixes.values()))
        note = f"{dataset}, {model}, beta {beta_text(beta)}: settings {names} {how}{unknown}; never averaged."
        notes.update(dict.fromkeys(family, note))
    return labels, notes


def _suffixes(family: list[Group]) -> dict[Group, str]:
    """`#` and the first four letters of each setting id, or as many more as it takes to tell them apart."""
    longest = max(len(group.setting_id) for group in family)
    lengths = range(SUFFIX_LENGTH, max(longest, SUFFIX_LENGTH) + 1)
    enough = next(size for size in lengths if len({group.setting_id[:size] for group in family}) == len(family))
    return {group: f"#{group.setting_id[:enough]}" for group in family}


def differing_keys(settings: list[list[RunArrays]]) -> list[str]:
    """Flattened config keys, and digests of data, split and code, that have one value in each setting but not in all.

    The key `seed`, and any key that varies with it inside a setting, says nothing about the settings and is left out.
    """
    facts = [[run.facts for run in runs] for runs in settings]
    keys = sorted({key for setting in facts for run in setting for key in run} - {"seed"})
    differing = []
    for key in keys:
        values = [{run.get(key) for run in setting} for setting in facts]
        if all(len(value) == 1 for value in values) and len(set.union(*values)) > 1:
            differing.append(key)
    return differing
