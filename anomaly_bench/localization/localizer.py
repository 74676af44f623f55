"""A trained model applied: its predictors' maps, and where their scores stand among those of normal pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor

from anomaly_bench.metrics import Calibration, LocalizationCurve
from anomaly_bench.models import VAE
from anomaly_bench.predictors import Suite
from anomaly_bench.predictors.ensemble import TimedMap
from anomaly_bench.predictors.evidence import Evidence, frozen
from data_modules.base.batch import AnomalyBatch
from leaderboard.record import SubsetChoice

from .search import Searches, settled
from .tally import on_cpu

ENSEMBLE_PIVOT = 1.0  # calibrated scores crowd below 1, where the anomalies are
Maps = Callable[[AnomalyBatch], dict[str, TimedMap]]
Advance = Callable[[], None]


class Localizer:
    """A model with its predictors, which learns in this order from validation images: `calibrate`, `choose`.

    suite: has ordinary ensembles in the place of its searches once they have chosen. choices: what they chose.
    calibration: by row, the distribution of its scores over normal pixels.
    """

    def __init__(self, model: VAE, suite: Suite) -> None:
        self.model, self.suite = model, suite
        self.calibration: dict[str, Calibration] = {}
        self.choices: dict[str, SubsetChoice] = {}

    @property
    def pivots(self) -> dict[str, float]:
        """Of every row that is shown, where its scores crowd."""
        singles = self.suite.single
        return {name: self.calibration[name].pivot if name in singles else ENSEMBLE_PIVOT for name in self.suite.shown}

    @contextmanager
    def evidence(self, batch: AnomalyBatch) -> Iterator[Evidence]:
        """What the model says about a batch; the model is frozen meanwhile, and the batch may lie on any device."""
        device, kind = self.model.device, next(self.model.parameters()).dtype
        with frozen(self.model):
            yield Evidence(self.model, batch["image"].to(device, kind), batch["foreground"].to(device))

    def single_maps(self, evidence: Evidence, names: Iterable[str] | None = None) -> dict[str, TimedMap]:
        """Raw maps (B, 1, H, W) of single predictors, all if not named, on the CPU, each with its seconds."""
        maps = self.suite.maps(evidence, list(self.suite.single if names is None else names))
        return {name: (score.detach().cpu(), seconds) for name, (score, seconds) in maps.items()}

    def all_maps(self, evidence: Evidence) -> dict[str, TimedMap]:
        """`single_maps`, and the maps of the ensembles over them."""
        raw = self.single_maps(evidence)
        return raw | self.suite.combined(raw, self.calibrated)

    def maps(self, batch: AnomalyBatch) -> dict[str, TimedMap]:
        """The map (B, 1, H, W) of every row that is shown, on the CPU, with its seconds."""
        with self.evidence(batch) as evidence:
            maps = self.all_maps(evidence)
        return {name: maps[name] for name in self.suite.shown}

    def calibrated_maps(self, batch: AnomalyBatch) -> dict[str, TimedMap]:
        """`maps` as shares of normal pixels that score lower, in [0, 1]; ensembles have to be calibrated as well."""
        return {name: (self.calibrated(name, score), seconds) for name, (score, seconds) in self.maps(batch).items()}

    def calibrated(self, name: str, score: Tensor) -> Tensor:
        """A row's scores as shares of normal pixels that score lower, same shape."""
        return self.calibration[name](score)

    def calibrate(self, normal: Iterable[AnomalyBatch], bits: int, advance: Advance) -> None:
        """Learn where the scores of single predictors stand among those of normal pixels."""

        def maps(batch: AnomalyBatch) -> dict[str, TimedMap]:
            with self.evidence(batch) as evidence:
                return self.single_maps(evidence)

        pivots = {name: predictor.pivot for name, predictor in self.suite.single.items()}
        self.calibration = distributions(maps, pivots, normal, bits, advance)

    def calibrate_ensembles(self, normal: Iterable[AnomalyBatch], bits: int, advance: Advance) -> None:
        """The same of the ensembles, once their members are calibrated."""

        def maps(batch: AnomalyBatch) -> dict[str, TimedMap]:
            with self.evidence(batch) as evidence:
                return self.suite.combined(self.single_maps(evidence), self.calibrated)

        pivots = dict.fromkeys(self.suite.ensembles, ENSEMBLE_PIVOT)
        self.calibration |= distributions(maps, pivots, normal, bits, advance)

    def choose(self, batches: Iterable[AnomalyBatch], advance: Advance) -> None:
        """Let the searches choose their members on validation images, normal and anomalous; without searches do nothing.

        Raises ValueError if there is no normal or no anomalous pixel.
        """
        if not self.suite.searches:
            return
        searches = Searches(self.suite.searches)
        for batch in batches:
            with self.evidence(batch) as evidence:
                maps = self.single_maps(evidence, searches.members)
            searches.update({name: self.calibrated(name, score) for name, (score, _) in maps.items()}, on_cpu(batch))
            advance()
        self.choices = searches.choose()
        self.suite = settled(self.suite, self.choices)


def distributions(
    maps: Maps, pivots: Mapping[str, float | None], normal: Iterable[AnomalyBatch], bits: int, advance: Advance
) -> dict[str, Calibration]:
    """The distribution of each row's scores over the pixels of normal images; pivots: of the rows, None for the data's own."""
    curves = {name: LocalizationCurve(bits, pivot) for name, pivot in pivots.items()}
    for batch in normal:
        counted = on_cpu(batch)
        for name, (score, _) in maps(batch).items():
            curves[name].update(score, counted["mask"], counted["foreground"], counted["region_weight"])
        advance()
    return {name: Calibration.of(curve) for name, curve in curves.items()}
