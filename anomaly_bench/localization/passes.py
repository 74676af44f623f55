"""The passes of localization over images: calibrate → choose → validate, then count what is tested."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch

from anomaly_bench.config.schema import LocalizationConfig
from anomaly_bench.metrics import Calibration, LocalizationCurve, find_regions, own_metrics
from anomaly_bench.predictors.ensemble import TimedMap
from data_modules.base.batch import AnomalyBatch
from leaderboard.record import Measure

from .batches import on_cpu
from .learned import Learned
from .localizer import Advance, Localizer, Maps, no_advance
from .tally import Tally


@dataclass(frozen=True)
class Validation:
    """What is known of each row before a test: of its scores on normal images, and every metric on validation images."""

    learned: Learned
    measures: dict[str, dict[str, Measure]]

    @property
    def thresholds(self) -> dict[str, int]:
        """By row the bin at and above which a pixel is called anomalous."""
        return self.learned.thresholds


def prepare(
    localizer: Localizer,
    normal: Iterable[AnomalyBatch],
    anomalous: Iterable[AnomalyBatch],
    config: LocalizationConfig,
    advance: Advance = no_advance,
    polarity: str | None = None,
) -> Validation:
    """All that comes before a test of one model: choose smoothing and signs, calibrate, let searches choose, validate.

    normal, anomalous: batches of validation images, gone through several times. polarity: see DatasetConfig. Afterwards the
    localizer has learned all: how maps are finished, calibration, thresholds, and the scores of normal images.
    """
    with localizer.remembering():
        localizer.calibrate(normal, config.bits, advance, anomalous, config.smoothing, polarity)
        localizer.choose(normal, anomalous, advance, polarity)
        validation = validate(localizer.maps, localizer.pivots, normal, anomalous, config, advance)
    before, rows = localizer.learned, validation.learned
    localizer.learned = replace(rows, calibration=before.calibration | rows.calibration, finishing=before.finishing)
    return validation


def validate(
    maps: Maps,
    pivots: Mapping[str, float],
    normal: Iterable[AnomalyBatch],
    anomalous: Iterable[AnomalyBatch],
    config: LocalizationConfig,
    advance: Advance,
) -> Validation:
    """Thresholds from the pixels of normal images alone, then metrics of all images; pivots: of the rows, in their order."""
    tallies = fresh(pivots, config)
    for batch in normal:
        count(tallies, maps(batch), batch)
        advance()
    learned = Learned(
        {name: Calibration.of(tally.curve) for name, tally in tallies.items()},
        {name: tally.curve.threshold_at_fpr(config.fpr) for name, tally in tallies.items()},
        {name: torch.tensor(tally.scores).sort().values for name, tally in tallies.items()},
        config.image_share,
    )
    for batch in anomalous:
        count(tallies, maps(batch), batch)
        advance()
    for name, tally in tallies.items():
        tally.threshold = learned.thresholds[name]
    return Validation(learned, {name: tally.measures() for name, tally in tallies.items()})


def fresh(
    pivots: Mapping[str, float | None],
    config: LocalizationConfig,
    thresholds: Mapping[str, int] | None = None,
    bits: int | None = None,
) -> dict[str, Tally]:
    """An empty tally for each row; with thresholds they count per subject and per lesion as well, as a test does.

    bits: of the histograms, in place of the config's.
    """
    gc.collect()  # metrics refer to themselves: without this, the histograms of every past pass stay in memory
    own = own_metrics(config.metrics)
    return {
        name: Tally(
            name,
            LocalizationCurve(bits or config.bits, pivot),
            config.image_share,
            thresholds[name] if thresholds else None,
            per_subject=thresholds is not None,
            own={key: metric.fresh() for key, metric in own.items()},
        )
        for name, pivot in pivots.items()
    }


def count(tallies: Mapping[str, Tally], maps: Mapping[str, TimedMap], batch: AnomalyBatch) -> None:
    """Count the maps of a batch, whose lesions are looked for once. Raises NotANumberError."""
    counted = on_cpu(batch)
    per_lesion = any(tally.per_subject for tally in tallies.values())
    regions = find_regions(counted["mask"]).within(counted["foreground"]) if per_lesion else None
    for name, tally in tallies.items():
        score, seconds = maps[name]
        tally.update(score, seconds, counted, regions)
