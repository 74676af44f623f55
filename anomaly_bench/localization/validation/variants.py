"""How maps are finished, chosen on validation images: how wide they are smoothed, and the sign of signed errors."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import msgspec
import torch
from torch import Tensor

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.localization.tallies.batches import CPU, with_room
from anomaly_bench.metrics import Calibration, LocalizationCurve, formulas
from anomaly_bench.models.processes import of_all_processes
from anomaly_bench.predictors.base import Predictor
from anomaly_bench.predictors.ensemble import TimedMap
from anomaly_bench.predictors.suite import Suite
from data_modules.base.batch import AnomalyBatch
from leaderboard.record import MapChoice, SmoothedRow

BITS = 18  # of each of many histograms: average precision to about 1e-3, at some megabytes at most
FIGURES = ("auroc", "ap", "dice_oracle", "aupro")
SIGN_OF = {"bright": "positive", "dark": "negative"}  # by dataset.polarity


@dataclass(frozen=True)
class Variant:
    """One way to finish a row's maps, and the histogram of their scores; predictor: with that width and sign."""

    predictor: Predictor
    curve: LocalizationCurve

    @property
    def smooth(self) -> float:
        assert self.predictor.smooth is not None
        return self.predictor.smooth

    def update(self, unfinished: Tensor, foreground: Tensor, counted: AnomalyBatch) -> None:
        """Finish and count the maps (B, 1, H, W) of a batch, which is where the curve is; foreground: on their own device."""
        score = self.predictor.finished(unfinished, foreground).detach().to(self.curve.device)
        self.curve.update(score, counted["mask"], counted["foreground"], counted["region_weight"])

    def figures(self) -> dict[str, float | None]:
        """What was counted, as a SmoothedRow has it."""
        known = formulas.read_all(*self.curve.brought().descending())
        return {name: None if (metric := known[name]) is None else metric.value for name in FIGURES}

    def fresh(self) -> Variant:
        """The same with nothing counted yet; its bins stay where they are."""
        return Variant(self.predictor, LocalizationCurve(BITS, float(self.curve.pivot)).to(self.curve.device))

    def gathered(self) -> Variant:
        """Of a distributed run, what all its processes counted, which have to call this together."""
        total, *others = of_all_processes(self.curve.brought())
        for other in others:
            total.merge_state(other)
        return Variant(self.predictor, total)


class Chosen(NamedTuple):
    """How a row's maps are finished: on what grounds, the variant itself with its calibration, and all that were tried."""

    choice: MapChoice
    variant: Variant
    calibration: Calibration
    tried: list[Variant]


class Survey:
    """Every single predictor's maps in all the ways that they may be finished: count normal, `calibrate`, count anomalous.

    smoothing: the widths in pixels to choose from, where a predictor leaves it open; by_size: what is taken if no image is
    anomalous. polarity: see DatasetConfig. bits: of the histograms that members of ensembles are calibrated with. device:
    where they are, if it has room for them.
    """

    def __init__(
        self,
        suite: Suite,
        smoothing: Sequence[float],
        by_size: float,
        polarity: str | None,
        bits: int,
        device: torch.device = CPU,
    ) -> None:
        gc.collect()  # metrics refer to themselves: without this, the histograms of every past pass stay in memory
        self.suite, self.polarity, self.bits = suite, polarity, bits
        self.smoothing, self.by_size = sorted(set(smoothing)), by_size
        curves = len(suite.single) * 2 * (len(self.smoothing) + 1)  # at most
        self.device = with_room(device, curves, bits)
        self.variants = {name: self._variants(name) for name in suite.single}
        self._calibrations: dict[str, list[Calibration]] = {}

    @property
    def open(self) -> bool:
        """Whether anomalous images would choose anything."""
        return any(len(variants) > 1 for variants in self.variants.values())

    def update(self, unfinished: Mapping[str, TimedMap], foreground: Tensor, counted: AnomalyBatch) -> None:
        """Count a batch's unfinished maps; foreground: on their device, counted: the batch on this one's."""
        count_variants(self.variants, unfinished, foreground, counted)

    def calibrate(self) -> None:
        """What has been counted so far are the normal images. Raises ValueError if they have no pixel."""
        self._calibrations = {
            name: [Calibration.of(variant.curve.brought()) for variant in variants]
            for name, variants in self.variants.items()
        }

    def choose(self) -> dict[str, Chosen]:
        """How each row is finished: the highest average precision, of equals the least smoothed, the positive one.

        Raises ConfigError for a sign that neither the dataset's polarity nor an anomalous pixel decides.
        """
        return {name: self._chosen(name) for name in self.variants}

    def _variants(self, name: str) -> list[Variant]:
        given = self.suite.single[name]
        widths = self._measured if given.smooth is None else [given.smooth]
        predictors = [replace(each, smooth=width) for width in widths for each in self._signed(given)]
        coarse = len(predictors) > 1 and name not in self.suite.members
        bits = min(self.bits, BITS) if coarse else self.bits
        return [
            Variant(predictor, LocalizationCurve(bits, predictor.pivot).to(self.device)) for predictor in predictors
        ]

    @property
    def _measured(self) -> list[float]:
        """Every width that is counted; a single one to choose from is no choice."""
        return self.smoothing if len(self.smoothing) == 1 else sorted({*self.smoothing, self.by_size})

    def _signed(self, given: Predictor) -> list[Predictor]:
        if given.signed != "signed":
            return [given]
        signs = ["positive", "negative"] if self.polarity is None else [SIGN_OF[self.polarity]]
        return [replace(given, error=sign) for sign in signs]  # type: ignore[call-arg]

    def _chosen(self, name: str) -> Chosen:
        given, variants, calibrations = self.suite.single[name], self.variants[name], self._calibrations[name]
        undecided = dict[str, float | None].fromkeys(FIGURES)
        figures = [variant.figures() if len(variants) > 1 else undecided for variant in variants]
        decided = figures[0]["ap"] is not None  # else there is no anomalous pixel, for any of them
        several = given.smooth is None and len(self._measured) > 1
        listed = [
            index for index, each in enumerate(variants) if not (several and decided) or each.smooth in self.smoothing
        ]
        if decided:
            best = max(listed, key=lambda index: figures[index]["ap"] or 0.0)
        elif len(self._signed(given)) > 1:
            raise ConfigError(
                f"predictors.members.{name}: error=signed needs anomalous validation images to choose the sign on, or "
                "dataset.polarity; set error=positive or error=negative"
            )
        else:
            best = next(index for index in listed if not several or variants[index].smooth == self.by_size)
        sign = variants[best].predictor.signed
        tried = [index for index in listed if several and variants[index].predictor.signed == sign]
        by_config = given.smooth is not None or len(self.smoothing) == 1
        choice = MapChoice(
            smooth=variants[best].smooth,
            smooth_by="config" if by_config else "validation" if decided and several else "size",
            sign=sign,  # type: ignore[arg-type]
            sign_by=self._sign_by(given),
            tried=[SmoothedRow(smooth=variants[index].smooth, validation=figures[index], test={}) for index in tried],
        )
        return Chosen(choice, variants[best], calibrations[best], [variants[index] for index in tried])

    def _sign_by(self, given: Predictor) -> Literal["config", "dataset", "validation"] | None:
        if given.signed is None:
            return None
        return "config" if given.signed != "signed" else "validation" if self.polarity is None else "dataset"


def finished_as(suite: Suite, finishing: Mapping[str, MapChoice]) -> Suite:
    """The suite whose single predictors are finished as was chosen, by name."""
    predictors = {}
    for name, given in suite.single.items():
        how = finishing[name]
        signed = given if how.sign is None else replace(given, error=how.sign)  # type: ignore[call-arg]
        predictors[name] = replace(signed, smooth=how.smooth)
    return suite.finishing(predictors)


def with_tests(finishing: Mapping[str, MapChoice], tested: Mapping[str, Sequence[Variant]]) -> dict[str, MapChoice]:
    """The choices by row, with the figures that every width has reached in a test."""
    return dict(finishing) | {
        name: msgspec.structs.replace(
            finishing[name],
            tried=[
                msgspec.structs.replace(row, test=variant.figures())
                for row, variant in zip(finishing[name].tried, variants, strict=True)
            ],
        )
        for name, variants in tested.items()
    }


def count_variants(
    variants: Mapping[str, Sequence[Variant]],
    unfinished: Mapping[str, TimedMap],
    foreground: Tensor,
    counted: AnomalyBatch,
) -> None:
    """Count a batch in every variant of every row; see Survey.update."""
    for name, several in variants.items():
        for variant in several:
            with of_row(name):
                variant.update(unfinished[name][0], foreground, counted)


@contextmanager
def of_row(name: str) -> Iterator[None]:
    """What is wrong with a row's scores is told with its name."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"predictor {name}: {error}") from error
