"""The callback that turns evidence into maps, maps into metrics, and metrics into logs and pictures."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from torch import Tensor

from anomaly_bench.config.schema import LocalizationConfig
from anomaly_bench.metrics import Calibration, LocalizationCurve, find_regions
from anomaly_bench.models import VAE
from anomaly_bench.pictures.choice import Cases
from anomaly_bench.pictures.panels import Sample, draw_model, draw_panels, samples_of
from anomaly_bench.predictors import Suite
from anomaly_bench.predictors.evidence import Evidence, frozen
from data_modules.base.batch import AnomalyBatch
from leaderboard.record import Measure, PredictorResult, SubsetChoice

from .search import Searches, settled
from .surroundings import Surroundings
from .tally import Tally, on_cpu

ENSEMBLE_PIVOT = 1.0  # calibrated scores crowd below 1, where the anomalies are


class LocalizationCallback(pl.Callback):
    """Localizes anomalies with every predictor of a suite, whenever the trainer validates or tests.

    phase: 'monitor' while fitting (the cheap predictors on a few images, every few epochs; it selects nothing), then in
    this order 'calibrate' (single predictors on normal validation images: score distributions and thresholds), 'search' if
    the suite has searches (their members on all validation images: which ones to combine), 'validate' (all predictors on
    all validation images) and 'test'. Whoever runs the trainer sets it.
    choices: what each search chose; from then on `suite` has ordinary ensembles in their place.
    subjects and attributes: names of all subjects by id, and what is known of each.
    cases: which test images pictures are drawn of; the predictor with the best AP on validation decides.
    """

    def __init__(
        self,
        suite: Suite,
        config: LocalizationConfig,
        subjects: list[str],
        attributes: list[dict[str, str]],
        pictures: Path,
        cases: Cases,
    ) -> None:
        self.suite, self.config, self.subjects, self.attributes = suite, config, subjects, attributes
        self.pictures, self.cases = pictures, cases
        self.phase: Literal["monitor", "calibrate", "search", "validate", "test"] = "monitor"
        self.searches = Searches(suite.searches)
        self.choices: dict[str, SubsetChoice] = {}
        self.calibration: dict[str, Calibration] = {}
        self.thresholds: dict[str, int] = {}
        self.validation: dict[str, dict[str, Measure]] = {}
        self.tallies: dict[str, Tally] = {}
        self.samples: list[Sample] = []
        self.surroundings = Surroundings()
        self._names: list[str] = []
        self._seen: dict[int, int] = {}

    def results(self) -> dict[str, PredictorResult]:
        """What every shown predictor reached; after the test."""
        about = self.subjects, self.attributes, self.config.resamples
        results = {name: self.tallies[name].result(self.validation[name], *about) for name in self.suite.shown}
        chosen = {name: results[name].model_copy(update={"choice": choice}) for name, choice in self.choices.items()}
        return results | chosen

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.phase == "search":
            self.tallies = {}
        elif self.phase != "monitor":
            self._start(list(self.suite.single))
        elif self._looking(trainer):
            self._start(self.suite.cheap())
        else:
            self.tallies = {}

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.phase == "search":
            self.searches.update(pl_module, self.suite, self.calibration, batch)
        elif self.tallies:
            self._count(pl_module, batch, dataloader_idx)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.phase == "validate" and len(self._seen) < 2:
            self._set_thresholds(list(self.suite.ensembles))
        self._gather()
        if self.phase == "monitor" and self.tallies:
            for name, measures in self._measures().items():
                for metric in ("auroc", "ap"):
                    if (value := measures[metric].value) is not None:
                        pl_module.log(f"val/{name}/{metric}", value)
            draw_panels(self.samples, self.pictures / f"epoch_{trainer.current_epoch + 1:03d}")
        elif self.phase == "calibrate":
            self.calibration = {name: Calibration.of(tally.curve) for name, tally in self.tallies.items()}
            self._set_thresholds(self._names)
        elif self.phase == "search":
            self.choices = trainer.strategy.broadcast(self.searches.choose())  # one for all processes: the first's
            self.suite = settled(self.suite, self.choices)
        elif self.phase == "validate":
            self.validation = self._measures()

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.phase = "test"
        self._start(list(self.suite.single))

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: Any, **__: Any
    ) -> None:
        self._count(pl_module, batch, 0)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._gather()
        self.samples = self.cases.samples()
        for name, measures in self._measures().items():
            pl_module.log_dict({f"test/{name}/{key}": m.value for key, m in measures.items() if m.value is not None})
        draw_panels(self.samples, self.pictures)
        draw_model(self.samples, pl_module, self.pictures)

    def _looking(self, trainer: pl.Trainer) -> bool:
        every = self.config.monitor_every
        return every > 0 and not trainer.sanity_checking and (trainer.current_epoch + 1) % every == 0

    def _start(self, names: list[str]) -> None:
        """Fresh tallies; ensembles are counted once their members are calibrated."""
        self._names, self._seen, self.samples, self.tallies = names, {}, [], {}
        gc.collect()  # metrics refer to themselves: without this, the histograms of every past phase stay in memory
        ensembles = list(self.suite.ensembles) if self.phase in ("validate", "test") else []
        self.tallies = {name: self._tally(name) for name in [*names, *ensembles]}

    def _tally(self, name: str) -> Tally:
        if self.phase in ("monitor", "calibrate"):
            pivot = self.suite.single[name].pivot
        else:
            pivot = ENSEMBLE_PIVOT if name in self.suite.ensembles else self.calibration[name].pivot
        curve = LocalizationCurve(self.config.bits, pivot)
        return Tally(name, curve, self.config.image_share, self.thresholds.get(name), per_subject=self.phase == "test")

    def _count(self, model: pl.LightningModule, batch: AnomalyBatch, loader: int) -> None:
        assert isinstance(model, VAE)
        seen = self._seen.get(loader, 0)
        if self.phase == "validate" and loader and not seen:
            self._set_thresholds(list(self.suite.ensembles))
        if self.phase == "monitor" and seen >= self.config.monitor_images:
            return
        self._seen[loader] = seen + len(batch["image"])
        with frozen(model):
            evidence = Evidence(model, batch["image"], batch["foreground"])
            maps = {
                name: (score.cpu(), seconds)
                for name, (score, seconds) in self.suite.maps(evidence, self._names).items()
            }
            if self.phase in ("validate", "test"):
                maps |= self.suite.combined(maps, lambda name, score: self.calibration[name](score))
            counted = on_cpu(batch)
            regions = find_regions(counted["mask"]).within(counted["foreground"]) if self.phase == "test" else None
            for name, (score, seconds) in maps.items():
                self.tallies[name].update(score, seconds, counted, regions)
            if self.phase == "test":
                error = evidence.error.mean(1, keepdim=True).cpu()
                self.surroundings.update(error, counted["mask"], counted["foreground"])
            shown = {name: maps[name][0] for name in maps if name in self.suite.shown}
            chosen = self._chosen(batch, shown, seen, loader)
            samples = samples_of(batch, evidence, shown, chosen, self.subjects)
            if self.phase == "test":
                self.cases.add(seen, chosen, samples)
            else:
                self.samples += samples

    def _set_thresholds(self, names: list[str]) -> None:
        """From normal validation pixels alone, those of all processes, as long as nothing else has been counted."""
        for name in names:
            tally = self.tallies[name]
            with tally.curve.sync_context(should_sync=tally.curve.sync_on_compute):
                self.thresholds[name] = tally.threshold = tally.curve.threshold_at_fpr(self.config.fpr)

    def _gather(self) -> None:
        """One predictor after the other, so that no process holds the histograms of all processes together."""
        self.tallies = {name: tally.gathered() for name, tally in self.tallies.items()}

    def _measures(self) -> dict[str, dict[str, Measure]]:
        return {name: tally.measures() for name, tally in self.tallies.items() if name in self.suite.shown}

    def _chosen(self, batch: AnomalyBatch, maps: dict[str, Tensor], first: int, loader: int) -> list[int]:
        """Which of a batch's images the pictures show: the cases of the test, or the first anomalous ones while monitoring."""
        if self.phase == "test":
            decisive = max(maps, key=lambda name: self.validation[name]["ap"].value or 0.0)
            return self.cases.wanted(maps[decisive], batch, first)
        if self.phase == "monitor" and loader == 1:
            return list(range(len(batch["image"])))[: self.config.pictures - len(self.samples)]
        return []
