"""What a run gathers on validation images to choose the members of its searched ensembles."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.predictors import Ensemble, PixelSample, SubsetSearch, Suite, best_subset
from anomaly_bench.predictors.ensemble import Calibrate
from data_modules.base.batch import AnomalyBatch
from data_modules.modules.base import AnomalyDataModule
from leaderboard.record import SubsetChoice


class Searches:
    """The searches of a suite, each with the pixels it has sampled: the same ones whenever the same batches come."""

    def __init__(self, searches: Mapping[str, SubsetSearch]) -> None:
        self.searches = searches
        self._samples = {name: PixelSample(search.pixels) for name, search in searches.items()}

    @property
    def members(self) -> list[str]:
        """The single predictors that any search may choose."""
        return list(dict.fromkeys(member for search in self.searches.values() for member in search.members))

    def update(self, maps: Mapping[str, Tensor], batch: AnomalyBatch) -> None:
        """Sample from the members' raw maps (B, 1, H, W) of a batch, all on the CPU."""
        for name, search in self.searches.items():
            members = {member: maps[member] for member in search.members}
            self._samples[name].update(members, batch["mask"], batch["foreground"])

    def choose(self, calibrate: Calibrate) -> dict[str, SubsetChoice]:
        """What each search chooses. Raises ValueError if there was no normal or no anomalous pixel."""
        choices = {}
        for name, search in self.searches.items():
            sample = self._samples[name]
            best, anomalous = best_subset(sample, calibrate, search.how), sample.pixels()[1]
            choices[name] = SubsetChoice(
                members=list(best.members),
                how=best.how,
                ap=best.ap,
                pixels=len(anomalous),
                anomalous_pixels=int(anomalous.sum()),
                tried=best.tried,
            )
        return choices


def settled(suite: Suite, choices: Mapping[str, SubsetChoice]) -> Suite:
    """The suite with an ordinary ensemble in the place of each search that chose."""
    return suite.chosen({name: Ensemble(choice.members, choice.how) for name, choice in choices.items()})


def check_searches(suite: Suite, data: AnomalyDataModule) -> None:
    """Raises ConfigError if a search has no anomalous validation image to choose on."""
    for name in suite.searches:
        if not len(data.indices["val_anomalous"]):
            raise ConfigError(
                f"predictors.members.{name}: it chooses its members on anomalous validation images, of which "
                f"{data.config.name} has none; change dataset.split (holdout, val), or leave {name} out of predictors.only"
            )
