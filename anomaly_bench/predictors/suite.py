"""All the predictors of a run, and their maps of one batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.load import load_config
from anomaly_bench.config.schema import PredictorsConfig
from data_modules.base.errors import did_you_mean
from data_modules.base.options.folders import options_of
from leaderboard.record import IMAGE_COLUMNS, IMAGES_FILE

from .base import REGISTER, Predictor, build_predictor
from .ensemble import Calibrate, Ensemble, TimedMap
from .evidence import Evidence
from .stopwatch import TimedEvidence
from .subset_search import SubsetSearch


@dataclass(frozen=True)
class Suite:
    """Predictors by name. `shown` are the names that the table has rows for; the rest are members of an ensemble only.

    searches: the ensembles whose members are still to be chosen.
    """

    single: Mapping[str, Predictor]
    ensembles: Mapping[str, Ensemble]
    shown: tuple[str, ...]
    searches: Mapping[str, SubsetSearch] = field(default_factory=dict)

    def chosen(self, ensembles: Mapping[str, Ensemble]) -> Suite:
        """The suite in which these ensembles, by name, have taken the place of the searches for them."""
        left = {name: search for name, search in self.searches.items() if name not in ensembles}
        return replace(self, ensembles={**self.ensembles, **ensembles}, searches=left)

    def finishing(self, predictors: Mapping[str, Predictor]) -> Suite:
        """The suite in which these predictors, by name, have taken the place of those that left something to be chosen."""
        return replace(self, single={**self.single, **predictors})

    @property
    def members(self) -> set[str]:
        """The single predictors that an ensemble has, or a search may choose."""
        joint: list[Ensemble | SubsetSearch] = [*self.ensembles.values(), *self.searches.values()]
        return {member for one in joint for member in one.members}

    @property
    def of_model(self) -> list[str]:
        """The shown rows that depend on the model, those of an ensemble where any member does."""
        joint: dict[str, Ensemble | SubsetSearch] = {**self.ensembles, **self.searches}
        parts = {name: joint[name].members if name in joint else (name,) for name in self.shown}
        return [name for name, members in parts.items() if any(self.single[one].uses_model for one in members)]

    def cheap(self) -> list[str]:
        """The names of the predictors that take no passes of their own through the model, no calibration and no choice."""
        return [name for name, one in self.single.items() if one.cheap and one.signed != "signed"]

    def unfinished(self, evidence: Evidence, names: Iterable[str]) -> dict[str, TimedMap]:
        """Maps (B, 1, H, W) of single predictors before all filters, with seconds (shared quantities counted for everyone)."""
        stopwatch = TimedEvidence(evidence)
        return {name: stopwatch.timed(partial(_unfinished, name, self.single[name])) for name in names}

    def finished(self, unfinished: Mapping[str, TimedMap], evidence: Evidence) -> dict[str, TimedMap]:
        """The maps that these become, each with all its seconds."""
        stopwatch, out = TimedEvidence(evidence), {}
        for name, (score, seconds) in unfinished.items():
            finished, more = stopwatch.timed(partial(_finished, self.single[name], score))
            out[name] = finished, seconds + more
        return out

    def converged(self, evidence: Evidence) -> dict[str, list[bool]]:
        """Whether each image of the evidence, whose maps there are, has converged, of the single predictors that know."""
        said = {name: one.converged(evidence) for name, one in self.single.items() if one.iterative}
        return {name: which.tolist() for name, which in said.items() if which is not None}

    def maps(self, evidence: Evidence, names: Iterable[str]) -> dict[str, TimedMap]:
        """Maps (B, 1, H, W) of single predictors, each with its seconds."""
        return self.finished(self.unfinished(evidence, names), evidence)

    def combined(self, maps: Mapping[str, TimedMap], calibrate: Calibrate) -> dict[str, TimedMap]:
        """Maps of the ensembles over maps of their members; their seconds are the members' together."""
        out = {}
        for name, ensemble in self.ensembles.items():
            members = [maps[member] for member in ensemble.members]
            calibrated = [calibrate(member, maps[member][0], ensemble.scale) for member in ensemble.members]
            out[name] = ensemble.combine(calibrated), sum(seconds for _, seconds in members)
        return out


Rule = Predictor | Ensemble | SubsetSearch
Predictors = Suite | str | Sequence[str | Rule] | Mapping[str, Any]


def suite_of(predictors: Predictors) -> Suite:
    """A suite from what a user writes in Python.

        suite_of("fast")                                                     # an option of configs/predictors
        suite_of(["rec_l1", "ensemble_probit", Gradient("kl", smooth=2.0)])    # names of predictors=extended, and objects
        suite_of({"wide": Reconstruction(smooth=4.0), "kl": "grad_kl", "mine": {"use": "package.module.Name"}})

    An object in a list is called as its class is registered, a user's own by its class's name. Members of an ensemble are
    names of the mapping or shipped ones. Raises ConfigError for an unknown name, and for two rows of one name.
    """
    if isinstance(predictors, Suite):
        return predictors
    if isinstance(predictors, str):
        if predictors in options_of("predictors"):
            return build_suite(load_config([f"predictors={predictors}"]).predictors)
        predictors = [predictors]
    shipped = load_config(["predictors=extended"]).predictors.members
    if not isinstance(predictors, Mapping):
        named = [(rule, rule) if isinstance(rule, str) else (_name_of(rule), rule) for rule in predictors]
        twice = [name for name in dict(named) if sum(name == other for other, _ in named) > 1]
        if twice:
            raise ConfigError(f"predictors: two rows are called {twice[0]}; name them: {{'my_name': ..., ...}}")
        predictors = dict(named)
    built: dict[str, Any] = {name: build_predictor(name, settings) for name, settings in shipped.items()}
    rows = {}
    for name, rule in predictors.items():
        if isinstance(rule, str):
            _known("predictors", rule, shipped)
            rule = built[rule]
        elif isinstance(rule, Mapping):
            rule = build_predictor(name, rule)
        if not isinstance(rule, Rule):
            raise ConfigError(
                f"predictors: {name} is {rule!r}; expected a name, a Predictor, an Ensemble or a SubsetSearch"
            )
        rows[name] = rule
    return _assembled(built | rows, list(rows))


def build_suite(config: PredictorsConfig) -> Suite:
    """The suite that the config describes.

    Raises ConfigError for an unknown predictor or argument, for an unknown name in `only`, and for an ensemble or search of
    anything but single predictors.
    """
    chosen = list(config.members) if config.only is None else list(config.only)
    for name in chosen:
        _known("predictors.only", name, config.members)
    return _assembled({name: build_predictor(name, config.members[name]) for name in config.members}, chosen)


def _assembled(built: Mapping[str, Any], chosen: Sequence[str]) -> Suite:
    """The suite that shows the chosen ones of these rules by name."""
    if not chosen:
        raise ConfigError("predictors.only is empty: name at least one predictor")
    if taken := sorted(set(chosen) & set(IMAGE_COLUMNS)):
        raise ConfigError(f"predictors.members.{taken[0]}: {IMAGES_FILE} has a column of this name; call it otherwise")
    ensembles = {name: built[name] for name in chosen if isinstance(built[name], Ensemble)}
    searches = {name: built[name] for name in chosen if isinstance(built[name], SubsetSearch)}
    needed = [name for name in chosen if isinstance(built[name], Predictor)]
    for name, ensemble in (ensembles | searches).items():
        for member in ensemble.members:
            _known(f"predictors.members.{name}.members", member, built)
            if not isinstance(built[member], Predictor):
                raise ConfigError(
                    f"predictors.members.{name}.members: {member} is an ensemble itself; list its members"
                )
            needed += [member] if member not in needed else []
    return Suite({name: built[name] for name in needed}, ensembles, tuple(chosen), searches)


def _unfinished(name: str, predictor: Predictor, evidence: Evidence) -> Tensor:
    """Raises ConfigError if it spoils what the others go by."""
    score = predictor.unfinished(evidence)
    if changed := evidence.changed():
        raise ConfigError(
            f"predictor {name} changes evidence.{changed} in place, which all predictors share; have it work on a copy, "
            "as x.clamp(max=1) does and x.clamp_(max=1) does not"
        )
    return score


def _finished(predictor: Predictor, unfinished: Tensor, evidence: Evidence) -> Tensor:
    return predictor.finished(unfinished, evidence.foreground)


def _name_of(rule: Any) -> str:
    return next((name for name, cls in REGISTER.items() if type(rule) is cls), type(rule).__name__)


def _known(key: str, name: str, members: Mapping[str, Any]) -> None:
    if name not in members:
        raise ConfigError(f"{key}: there is no predictor '{name}'; {did_you_mean(name, members)}")
