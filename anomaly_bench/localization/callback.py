"""The callback that localizes anomalies for a trainer: a look while it fits, everything when it tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from anomaly_bench.config.schema import LocalizationConfig
from anomaly_bench.models import VAE
from anomaly_bench.pictures.choice import Cases
from anomaly_bench.pictures.panels import Sample, draw_model, draw_panels, samples_of
from anomaly_bench.predictors import Suite
from data_modules.base.batch import AnomalyBatch
from leaderboard.record import PredictorResult

from .localizer import Advance, Localizer
from .passes import Validation, count, fresh, prepare
from .surroundings import Surroundings
from .tally import Tally, on_cpu


class LocalizationCallback(pl.Callback):
    """Localizes anomalies with every predictor of a suite.

    While the trainer fits, the cheap predictors look at a few validation images every few epochs; that selects nothing.
    When it tests, they are calibrated on the normal validation images of its data module first, searches choose, thresholds
    are set, all predictors are validated; then the test images are counted. Of several processes each does the former on
    all validation images and counts its own test images, which are added up at the end.

    Pictures and `surroundings` are of what the first process, and each, has seen. subjects and attributes: names of all
    subjects by id, and what is known of each. cases: which test images pictures are drawn of; the predictor with the best AP
    on validation decides. advance: called after each batch of validation images before the test.
    """

    def __init__(
        self,
        suite: Suite,
        config: LocalizationConfig,
        subjects: Sequence[str],
        attributes: Sequence[dict[str, str]],
        pictures: Path,
        cases: Cases,
        advance: Advance = lambda: None,
    ) -> None:
        self.suite, self.config, self.subjects, self.attributes = suite, config, subjects, attributes
        self.pictures, self.cases, self.advance = pictures, cases, advance
        self.validation = Validation({}, {})
        self.tallies: dict[str, Tally] = {}
        self.samples: list[Sample] = []
        self.surroundings = Surroundings()
        self._localizer: Localizer | None = None
        self._decisive = ""
        self._seen: dict[int, int] = {}

    def results(self) -> dict[str, PredictorResult]:
        """What every shown predictor reached; after the test."""
        about = self.subjects, self.attributes, self.config.resamples
        choices = self._localizer.choices if self._localizer else {}
        return {
            name: tally.result(self.validation.measures[name], *about, choice=choices.get(name))
            for name, tally in self.tallies.items()
        }

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        every, self.tallies, self.samples, self._seen = self.config.monitor_every, {}, [], {}
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking and trainer.is_global_zero
        if fitting and every > 0 and (trainer.current_epoch + 1) % every == 0:
            assert isinstance(pl_module, VAE)
            self._localizer = Localizer(pl_module, self.suite)
            self.tallies = fresh({name: self.suite.single[name].pivot for name in self.suite.cheap()}, self.config)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: AnomalyBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        seen = self._seen.get(dataloader_idx, 0)
        if not self.tallies or self._localizer is None or seen >= self.config.monitor_images:
            return
        self._seen[dataloader_idx] = seen + len(batch["image"])
        with self._localizer.evidence(batch) as evidence:
            maps = self._localizer.single_maps(evidence, self.tallies)
            count(self.tallies, maps, batch)
            if dataloader_idx == 1:
                chosen = range(len(batch["image"]))[: self.config.pictures - len(self.samples)]
                shown = {name: score for name, (score, _) in maps.items() if name in self.suite.shown}
                self.samples += samples_of(batch, evidence, shown, chosen, self.subjects)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for name, tally in self.tallies.items():
            measures = tally.measures() if name in self.suite.shown else {}
            for metric in ("auroc", "ap"):
                if metric in measures and (value := measures[metric].value) is not None:
                    pl_module.log(f"val/{name}/{metric}", value)
        if self.tallies:
            draw_panels(self.samples, self.pictures / f"epoch_{trainer.current_epoch + 1:03d}")

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Calibrate → choose → validate."""
        assert isinstance(pl_module, VAE)
        if trainer.datamodule is None:  # type: ignore[attr-defined]
            raise ValueError(
                "expected a data module, whose validation images calibrate the maps: trainer.test(model, data)"
            )
        normal, anomalous = trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
        self._localizer = localizer = Localizer(pl_module, self.suite)
        self.validation = prepare(localizer, normal, anomalous, self.config, self.advance)
        measures = self.validation.measures
        self._decisive = max(measures, key=lambda name: measures[name]["ap"].value or 0.0)
        self.tallies, self.samples, self._seen = (
            fresh(localizer.pivots, self.config, self.validation.thresholds),
            [],
            {},
        )
        self.surroundings = Surroundings()

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: AnomalyBatch, *_: Any, **__: Any
    ) -> None:
        assert self._localizer is not None
        first = self._seen.get(0, 0)
        self._seen[0] = first + len(batch["image"])
        with self._localizer.evidence(batch) as evidence:
            maps, counted = self._localizer.all_maps(evidence), on_cpu(batch)
            count(self.tallies, maps, counted)
            error = evidence.error.mean(1, keepdim=True).cpu()
            self.surroundings.update(error, counted["mask"], counted["foreground"])
            shown: dict[str, Tensor] = {name: maps[name][0] for name in self.suite.shown}
            chosen = self.cases.wanted(shown[self._decisive], batch, first)
            self.cases.add(first, chosen, samples_of(batch, evidence, shown, chosen, self.subjects))

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # One after the other, so that no process holds the histograms of all processes together.
        self.tallies = {name: tally.gathered() for name, tally in self.tallies.items()}
        self.samples = self.cases.samples()
        for name, tally in self.tallies.items():
            measures = tally.measures()
            pl_module.log_dict({f"test/{name}/{key}": m.value for key, m in measures.items() if m.value is not None})
        if trainer.is_global_zero:
            draw_panels(self.samples, self.pictures)
            draw_model(self.samples, pl_module, self.pictures)
