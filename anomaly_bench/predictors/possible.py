"""Which rows a model can have: those that say something with it, each of them once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.models.vae import VAE

from .ensemble import Ensemble
from .subset_search import SubsetSearch
from .suite import Suite

NO_SIGN = "neither dataset.polarity nor an anomalous validation image says which sign is anomalous"


def possible(
    suite: Suite, model: VAE, named: Collection[str] = (), sign_known: bool = True
) -> tuple[Suite, dict[str, str]]:
    """The suite without rows that the model cannot have, and by name why each of them is left out.

    A row is left out if it says nothing with this model, or ranks as another one does; so is an ensemble or a search of which
    fewer than two members are left. named: rows that the user has named. sign_known: whether the sign of `error=signed` will
    be known.

    Raises ConfigError for a named row that says nothing, and if no row is left.
    """
    silent = {
        name: reason
        for name, one in suite.single.items()
        if (reason := one.says_nothing(model) or ("" if sign_known or one.signed != "signed" else NO_SIGN))
    }
    joints: dict[str, Ensemble | SubsetSearch] = {**suite.ensembles, **suite.searches}
    lost = {name: sorted(silent.keys() & {*joint.members}) for name, joint in joints.items()}
    left = {name: [one for one in joint.members if one not in silent] for name, joint in joints.items()}
    few = {
        name: f"fewer than two of its members are left without {', '.join(lost[name])}"
        for name, members in left.items()
        if len(set(members)) < 2
    }
    kept = {name: replace(joint, members=left[name]) for name, joint in joints.items() if name not in few}
    gone = silent | few
    for name in named:
        if name in gone:
            raise ConfigError(f"predictors.only: {name} says nothing here: {gone[name]}; leave it out")
    gone |= _same(suite, model, [name for name in suite.shown if name not in gone])
    shown = tuple(name for name in suite.shown if name not in gone)
    if not shown:
        reasons = "; ".join(f"{name}: {gone[name]}" for name in suite.shown)
        raise ConfigError(f"predictors: no row is left with this model: {reasons}")
    needed = {*shown, *(member for joint in kept.values() for member in joint.members)}
    why = {name: gone[name] for name in suite.shown if name in gone}
    for name in kept:
        why |= {member: f"{why.get(member, silent[member])}; {name} goes without it" for member in lost[name]}
    return Suite(
        {name: one for name, one in suite.single.items() if name in needed},
        {name: one for name, one in kept.items() if isinstance(one, Ensemble)},
        shown,
        {name: one for name, one in kept.items() if isinstance(one, SubsetSearch)},
    ), why


def _same(suite: Suite, model: VAE, rows: Collection[str]) -> dict[str, str]:
    """Of rows that rank alike all but one, by name: the one that is what they come to, else the first by name."""
    simplified = {name: suite.single[name].simplified(model) for name in rows if name in suite.single}
    same = {}
    for name, one in simplified.items():
        alike = [other for other in simplified if simplified[other] == one]
        kept = min(alike, key=lambda other: (suite.single[other] != simplified[other], other))
        if kept != name:
            same[name] = f"ranks as {kept} with this model"
    return same
