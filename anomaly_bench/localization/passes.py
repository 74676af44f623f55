"""The passes of localization over images: calibrate → choose → validate, then count what is tested."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch

from anomaly_bench.config.schema import LocalizationConfig
from anomaly_bench.metrics import Calibration, LocalizationCurve, find_regions, own_metrics
from anomaly_bench.metrics.transfers import together
from anomaly_bench.predictors.ensemble import TimedMap
from data_modules.base.batch import AnomalyBatch
from leaderboard.record import Measure

from .localizer import Advance, Localizer, Maps, no_advance
from .tallies.batches import CPU, brought, placed, with_room
from .tallies.tally import Tally
from .tallies.waiting import Batch, Facts
from .validation.learned import Learned


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
        device = localizer.counting
        validation = validate(localizer.maps_there, localizer.pivots, normal, anomalous, config, advance, device)
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
    device: torch.device = CPU,
) -> Validation:
    """Thresholds from the pixels of normal images alone, then metrics of all images; pivots: of the rows, in their order.

    device: where they are counted, see `fresh`.
    """
    tallies = fresh(pivots, config, device=device)
    for batch in normal:
        count(tallies, maps(batch), batch)
        advance()
    read(tallies)
    curves = {name: tally.curve.brought() for name, tally in tallies.items()}
    learned = Learned(
        {name: Calibration.of(curve) for name, curve in curves.items()},
        {name: curve.threshold_at_fpr(config.fpr) for name, curve in curves.items()},
        {name: torch.tensor(tally.scores).sort().values for name, tally in tallies.items()},
        config.image_share,
    )
    for batch in anomalous:
        count(tallies, maps(batch), batch)
        advance()
    settle(tallies)
    for name, tally in tallies.items():
        tally.threshold = learned.thresholds[name]
    return Validation(learned, {name: tally.measures() for name, tally in tallies.items()})


def fresh(
    pivots: Mapping[str, float | None],
    config: LocalizationConfig,
    thresholds: Mapping[str, int] | None = None,
    bits: int | None = None,
    device: torch.device = CPU,
) -> dict[str, Tally]:
    """An empty tally for each row; with thresholds they count per subject and per lesion as well, as a test does.

    bits: of the histograms, in place of the config's. device: where they are, if it has room for those of all rows.
    """
    gc.collect()  # metrics refer to themselves: without this, the histograms of every past pass stay in memory
    own = own_metrics(config.metrics)
    device = with_room(device, len(pivots), bits or config.bits)
    return {
        name: Tally(
            name,
            LocalizationCurve(bits or config.bits, pivot).to(device),
            config.image_share,
            thresholds[name] if thresholds else None,
            per_subject=thresholds is not None,
            own={key: metric.fresh() for key, metric in own.items()},
        )
        for name, pivot in pivots.items()
    }


def count(
    tallies: Mapping[str, Tally],
    maps: Mapping[str, TimedMap],
    batch: AnomalyBatch,
    converged: Mapping[str, list[bool]] = MappingProxyType({}),
) -> None:
    """Count the maps of a batch, whose lesions are looked for once. Raises NotANumberError.

    Where the tallies are on a device, what they know there is to be `read`, and NaN are told of then. converged: see Suite.
    """
    for name in tallies.keys() & converged.keys():
        tallies[name].converged += converged[name]
    per_lesion = any(tally.per_subject for tally in tallies.values())
    device = next((tally.curve.device for tally in tallies.values()), CPU)
    if device.type != "cpu":
        there = Batch(placed(batch, device), lesions=per_lesion)
        for name, tally in tallies.items():
            score, seconds = maps[name]
            tally.update_there(score.to(device), seconds, there)
        return
    counted = placed(batch, CPU)
    maps = brought(maps)
    regions = find_regions(counted["mask"]).within(counted["foreground"]) if per_lesion else None
    for name, tally in tallies.items():
        score, seconds = maps[name]
        tally.update(score, seconds, counted, regions)


def read(tallies: Mapping[str, Tally]) -> None:
    """Have all that tallies have left on a device come over, in one copy. Raises as Tally.update does."""
    rows = [(tally, waiting) for tally in tallies.values() for waiting in tally.waiting]
    for _, waiting in rows:
        waiting.cover()
    batches = list({id(waiting.batch): waiting.batch for _, waiting in rows}.values())
    parts = [part for batch in batches for part in batch.facts]
    parts += [part for _, one in rows for part in (one.top, one.nan, one.nan if one.covered is None else one.covered)]
    came = iter(together(parts))
    for batch in batches:
        batch.facts = Facts(*(next(came) for _ in Facts._fields))
    for tally, waiting in rows:
        tally.take(waiting, next(came), next(came), next(came))
    for tally in tallies.values():
        tally.waiting = []
        tally.subjects.flush()


def settle(tallies: Mapping[str, Tally]) -> None:
    """`read`, and the histograms in main memory: a pass is over."""
    read(tallies)
    for tally in tallies.values():
        tally.curve = tally.curve.brought()
