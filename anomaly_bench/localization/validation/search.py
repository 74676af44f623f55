"""What a run gathers on validation images to choose the members of its searched ensembles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Literal

from torch import Tensor

from anomaly_bench.predictors import Ensemble, PixelSample, SubsetSearch, Suite, best_subset
from anomaly_bench.predictors.ensemble import Calibrate
from anomaly_bench.selection.criteria import in_batches
from anomaly_bench.selection.synthetic import spread, with_anomalies
from data_modules.base.batch import AnomalyBatch
from leaderboard.record import SubsetChoice

PASTED = 256  # normal images that searches choose on where none is anomalous
Grounds = Literal["validation", "synthetic"]


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

    def choose(self, calibrate: Calibrate, by: Grounds = "validation") -> dict[str, SubsetChoice]:
        """What each search chooses; by: on what grounds. Raises ValueError if there was no normal or no anomalous pixel."""
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
                by=by,
            )
        return choices


def settled(suite: Suite, choices: Mapping[str, SubsetChoice]) -> Suite:
    """The suite with an ordinary ensemble in the place of each search that chose."""
    return suite.chosen({name: Ensemble(choice.members, choice.how) for name, choice in choices.items()})


def to_search_on(
    normal: Iterable[AnomalyBatch], anomalous: Iterable[AnomalyBatch], polarity: str | None, channels: int | None = None
) -> tuple[Iterable[AnomalyBatch], Grounds]:
    """The validation images that searches choose on: where none is anomalous, normal ones with anomalies pasted into some.

    polarity: see DatasetConfig; channels: of a slice, see `with_anomalies`.
    """
    if next(iter(anomalous), None) is not None:
        return chain(normal, anomalous), "validation"
    images = spread(normal, PASTED)
    pasted = [] if images is None else in_batches(with_anomalies(images, polarity=polarity, channels=channels)[0])
    return chain(normal, pasted), "synthetic"
