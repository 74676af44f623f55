"""All the predictors of a run, and their maps of one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.schema import PredictorsConfig
from data_modules.base.errors import did_you_mean

from .base import Predictor, build_predictor
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

    def cheap(self) -> list[str]:
        """The names of the predictors that take no passes of their own through the model, nor a calibration."""
        return [name for name, predictor in self.single.items() if predictor.cheap]

    def maps(self, evidence: Evidence, names: Sequence[str]) -> dict[str, TimedMap]:
        """Maps (B, 1, H, W) of single predictors, each with its seconds (shared quantities counted for everyone)."""
        stopwatch = TimedEvidence(evidence)
        return {name: stopwatch.timed(self.single[name]) for name in names}

    def combined(self, maps: Mapping[str, TimedMap], calibrate: Calibrate) -> dict[str, TimedMap]:
        """Maps of the ensembles over maps of their members; their seconds are the members' together."""
        out = {}
        for name, ensemble in self.ensembles.items():
            members = [maps[member] for member in ensemble.members]
            calibrated = [calibrate(member, maps[member][0]) for member in ensemble.members]
            out[name] = ensemble.combine(calibrated), sum(seconds for _, seconds in members)
        return out


def build_suite(config: PredictorsConfig) -> Suite:
    """The suite that the config describes.

    Raises ConfigError for an unknown predictor or argument, for an unknown name in `only`, and for an ensemble or search of
    anything but single predictors.
    """
    chosen = list(config.members) if config.only is None else list(config.only)
    for name in chosen:
        _known("predictors.only", name, config.members)
    if not chosen:
        raise ConfigError("predictors.only is empty: name at least one predictor")
    built: dict[str, Any] = {name: build_predictor(name, config.members[name]) for name in config.members}
    ensembles = {name: built[name] for name in chosen if isinstance(built[name], Ensemble)}
    searches = {name: built[name] for name in chosen if isinstance(built[name], SubsetSearch)}
    needed = [name for name in chosen if isinstance(built[name], Predictor)]
    for name, ensemble in (ensembles | searches).items():
        for member in ensemble.members:
            _known(f"predictors.members.{name}.members", member, config.members)
            if not isinstance(built[member], Predictor):
                raise ConfigError(
                    f"predictors.members.{name}.members: {member} is an ensemble itself; list its members"
                )
            needed += [member] if member not in needed else []
    return Suite({name: built[name] for name in needed}, ensembles, tuple(chosen), searches)


def _known(key: str, name: str, members: Mapping[str, Any]) -> None:
    if name not in members:
        raise ConfigError(f"{key}: there is no predictor '{name}'; {did_you_mean(name, members)}")
