"""What a run records so that its setting, predictors and ensembles can be chosen without an anomaly's label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from anomaly_bench.config.schema import SelectionConfig
from anomaly_bench.models import VAE
from anomaly_bench.models.slices import slices_of
from data_modules.base.batch import AnomalyBatch
from leaderboard.record import CRITERIA

from .criteria import Maps, bounds, consistency, false_positives, fingerprint, localized, of_images
from .synthetic import spread, with_anomalies


@dataclass(frozen=True)
class Selection:
    """By row its criteria (CRITERIA, higher is better) and its fingerprint, as `PredictorResult` has them."""

    criteria: dict[str, dict[str, float | None]] = field(default_factory=dict)
    fingerprints: dict[str, list[int]] = field(default_factory=dict)


def select(
    model: VAE,
    maps: Maps,
    normal: Iterable[AnomalyBatch],
    config: SelectionConfig,
    fpr: float,
    polarity: str | None = None,
) -> Selection:
    """The criteria that the config names, of some images spread over the normal validation images.

    maps: of a batch, by row, raw. fpr: see `false_positives`; polarity: see DatasetConfig. Empty without a criterion.
    """
    wanted = [name for name in CRITERIA if name in config.criteria]
    images = spread(normal, config.images) if wanted else None
    if images is None:
        return Selection()
    scores = of_images(maps, images)
    found: dict[str, dict[str, float | None]] = {name: {} for name in scores}
    if {"elbo", "iwae"} & set(wanted):
        known = bounds(model, images["image"], seed=config.seed)
        for row in found.values():
            row.update(known)
    if {"synthetic_ap", "synthetic_auroc"} & set(wanted):
        pasted, _ = with_anomalies(images, config.seed, polarity, model.shape[0])
        for name, values in localized(of_images(maps, pasted), pasted).items():
            found[name] |= values
    if "consistency" in wanted:
        for name, value in consistency(maps, images, scores).items():
            found[name]["consistency"] = value
    seen = slices_of(images["foreground"])
    if "false_positives" in wanted:
        for name, score in scores.items():
            found[name]["false_positives"] = false_positives(score, seen, fpr)
    stable = "stability" in wanted
    return Selection(
        {name: {key: row.get(key) for key in wanted if key != "stability"} for name, row in found.items()},
        {name: fingerprint(score, seen) for name, score in scores.items()} if stable else {},
    )
