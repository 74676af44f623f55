"""The callback that localizes anomalies for a trainer: a look while it fits, everything when it validates or tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from anomaly_bench.base.bars import bar
from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.checks import check_part
from anomaly_bench.config.schema import LocalizationConfig
from anomaly_bench.metrics.bins import default_pivot
from anomaly_bench.models import VAE
from anomaly_bench.models.slices import like, slices_of
from anomaly_bench.pictures.panels import Calibrated, Sample, draw_model, draw_panels, samples_of
from anomaly_bench.predictors.ensemble import TimedMap
from anomaly_bench.predictors.possible import possible
from anomaly_bench.predictors.suite import Predictors, suite_of
from data_modules.base.batch import AnomalyBatch
from data_modules.modules.base import AnomalyDataModule
from leaderboard.record import MapChoice, PredictorResult, SubsetChoice

from .cases import LateCases
from .loaders import Given, Images, Numbers, check_normal, names_of, polarity_of, source_of, validation_loaders
from .localizer import Advance, Localizer, no_advance, rec_levels
from .passes import Validation, count, fresh, prepare, settle
from .tallies.batches import chosen, completed, in_slices, placed
from .tallies.surroundings import Surroundings
from .tallies.table import log, scores_of, table_of
from .tallies.tally import Tally
from .validation.learned import Learned
from .validation.variants import Variant, count_variants, with_tests

if TYPE_CHECKING:
    from pandas import DataFrame

# Lightning evaluates in inference mode, whose tensors can neither be added to outside of it nor take part in gradients.
OUTSIDE = torch.inference_mode(False)
MONITOR_BITS = 18  # of a look while the trainer fits: AUROC to about ±2e-4, and little for processes to exchange


class LocalizationCallback(pl.Callback):
    """Localizes anomalies with every predictor of a suite, in any trainer of a VAE.

        localization = LocalizationCallback(["rec_l1", "grad_kl", "ensemble_probit"])
        trainer = pl.Trainer(max_epochs=30, callbacks=[localization])
        trainer.fit(model, data)
        trainer.test(model, data)
        localization.table()

    fit: every few epochs and after the last one the cheap predictors look at a few validation images, which selects nothing:
    `val/<predictor>/auroc` and `ap`. validate: smoothing and signs that predictors leave open are chosen on the validation
    images, all are calibrated on the normal ones, searches choose, thresholds are set, and every metric of the validation
    images is logged. test: the same, then `test/<predictor>/<metric>` of the test images. predict: the calibration; then each
    batch's prediction has the raw map of each predictor under its name. Pictures go to `pictures/` below the trainer's
    `log_dir`, and to its loggers of TensorBoard and W&B.

    Batches are dicts as `completed` describes them: `image` and `mask`; an image without a mask is normal. Validation images
    are those of the trainer's data module, or else those that it has been given to fit or validate. Of several processes, each
    prepares on all validation images of a data module and counts its own test images; all have the results of all.

    predictors: see `suite_of`; those that the model cannot have are left out with a warning (see `possible`). config: how maps
    become metrics. advance: called after each batch of the passes before a test, in place of a progress bar.

    tallies, samples, surroundings: what was counted and drawn in the last test. validation: what validation images gave.
    Raises ConfigError for an unknown predictor and a value out of range; the hooks raise ValueError for a batch that is none,
    and without a normal validation image to calibrate on.
    """

    def __init__(
        self,
        predictors: Predictors = "all",
        config: LocalizationConfig | None = None,
        advance: Advance | None = None,
    ) -> None:
        self.suite, self.config, self.advance = suite_of(predictors), config or LocalizationConfig(), advance
        check_part(self.config, "localization")
        self._given_suite = self.suite
        self.validation = Validation(Learned(), {})
        self.tallies: dict[str, Tally] = {}
        self.samples: list[Sample] = []
        self.surroundings = Surroundings()
        self.subjects: Mapping[int, str] = {}
        self.attributes: Mapping[int, dict[str, str]] = {}
        self._localizer: Localizer | None = None
        self._results: dict[str, PredictorResult] | None = None
        self._tested: tuple[Validation, dict[str, SubsetChoice], dict[str, MapChoice]] | None = None  # of the last test
        self._tried: dict[str, list[Variant]] = {}
        self._look: Localizer | None = None
        self._predicting: Localizer
        self._looked: tuple[dict[str, Tally], list[Sample]] = {}, []
        self._decisive = ""
        self._cases, self._numbers = LateCases(0, {}), Numbers([])
        self._pictures: Path | None = None
        self._given: Given = None, None
        self._levels: Tensor | None = None  # those that this callback has estimated

    @property
    def localizer(self) -> Localizer:
        """The model with its predictors, as they were calibrated last. Raises ValueError before there is one."""
        if self._localizer is None:
            raise ValueError("nothing is calibrated yet; call trainer.validate, trainer.test or trainer.predict first")
        return self._localizer

    @property
    def scale(self) -> Calibrated:
        """On which maps are drawn. Raises ValueError before there is a localizer."""
        validated = any(row["ap"].value is not None for row in self.validation.measures.values())
        return Calibrated(self.localizer.calibrated, 1 - self.config.fpr, self._decisive, validated)

    def results(self) -> dict[str, PredictorResult]:
        """What every shown predictor reached; after the test, else ValueError."""
        if self._tested is None:
            raise ValueError(
                "nothing is tested yet in this process; call trainer.test(model, data) first (and over several devices choose "
                'strategy="ddp": spawned processes take their results with them)'
            )
        if self._results is None:
            validation, choices, finishing = self._tested
            about = self.subjects, self.attributes, self.config.resamples
            self._results = {
                name: tally.result(
                    validation.measures[name], *about, choice=choices.get(name), finishing=finishing.get(name)
                )
                for name, tally in self.tallies.items()
            }
        return self._results

    def table(self, part: str = "test") -> DataFrame:
        """A row per predictor: every metric, then the bounds of those that histograms leave any, and intervals over subjects.

        `auroc`, …; then `auroc_low` and `auroc_high`, between which the value is certain to lie, and `auroc_ci_low` and
        `auroc_ci_high`, 95 % of a bootstrap over test subjects. part: "test" or "validation". ValueError before either was run.
        """
        if part == "test":
            return table_of({name: result.test for name, result in self.results().items()})
        if part != "validation":
            raise ValueError(f"part={part}: expected test or validation")
        if not self.validation.measures:
            raise ValueError("nothing is validated yet; call trainer.validate or trainer.test first")
        return table_of(self.validation.measures)

    def images(self) -> DataFrame:
        """Of each test image what `scores_of` has. Raises ValueError before the trainer has tested."""
        self.results()
        return scores_of(self.tallies, self.subjects)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Raises ConfigError if another callback of the trainer logs rows of the same names, and for half a precision."""
        self.suite, left_out = possible(self._given_suite, vae_of(pl_module))
        if left_out:
            rank_zero_warn("; ".join(f"{name} is left out: {why}" for name, why in left_out.items()))
        if str(trainer.precision) in ("bf16-true", "16-true"):
            mixed = str(trainer.precision).replace("true", "mixed")
            raise ConfigError(f"precision={trainer.precision}: maps need float32; {mixed} trains as quickly")
        for other in trainer.callbacks:  # type: ignore[attr-defined]
            rows = other.suite.shown if isinstance(other, LocalizationCallback) and other is not self else ()
            if both := set(self.suite.shown) & set(rows):
                raise ConfigError(
                    f"predictors: two callbacks have a row {min(both)}; give it two names: {{'my_name': …}}"
                )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget what was known of the model before."""
        vae_of(pl_module).rec_levels.fill_(float("nan"))
        self._localizer = self._tested = None
        self.validation = Validation(Learned(), {})

    @OUTSIDE
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._given = trainer.val_dataloaders, source_of(trainer)
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._prepare(trainer, pl_module)
        self._begin(trainer, trainer.val_dataloaders)

    @OUTSIDE
    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._look = Localizer(vae_of(pl_module), self.suite) if self._looks(trainer) else None
        self._looked = {}, []

    @OUTSIDE
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Mapping[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        at_once = trainer.world_size * vae_of(pl_module).depth
        left = self.config.monitor_images - self._numbers.met[dataloader_idx] * at_once
        if self._look is None or left <= 0:
            return
        images = self._numbers.take(batch, dataloader_idx)
        images = chosen(images, torch.arange(len(images["image"])) < -(-left // at_once))
        tallies, samples = self._looked
        with self._look.evidence(images) as evidence:
            maps, images = self._look.single_maps(evidence, self.suite.cheap()), in_slices(images)
            if not tallies:  # the first batch, which every process has
                tallies |= self._fresh_look(trainer, maps, images)
            if any(bool(score.isnan().any()) for score, _ in maps.values()):
                return  # a training that diverges says so itself, and a test raises
            count(tallies, maps, images)
            shown = {name: score for name, (score, _) in maps.items() if name in self.suite.shown}
            anomalous = images["mask"].flatten(1).any(1).nonzero().flatten().tolist()
            drawn = anomalous[: max(0, self.config.pictures - len(samples))]
            samples += samples_of(images, slices_of(evidence.reconstruction), shown, drawn, self.subjects)

    @OUTSIDE
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            log(pl_module, "val", self.validation.measures)
        elif self._look is not None:
            tallies, samples = self._looked
            seen = {name: tally.gathered().measures() for name, tally in tallies.items() if name in self.suite.shown}
            log(pl_module, "val", {name: {key: row[key] for key in ("auroc", "ap")} for name, row in seen.items()})
            self._draw(trainer, samples, f"epoch_{trainer.current_epoch + 1:03d}")

    @OUTSIDE
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Calibrate → choose → validate."""
        self._prepare(trainer, pl_module)
        self._begin(trainer, trainer.test_dataloaders)
        counting, thresholds = self.localizer.counting, self.validation.thresholds
        self.tallies = fresh(self.localizer.pivots, self.config, thresholds, device=counting)
        self._tried = {name: several for name, several in self.localizer.tried.items() if name in self.suite.shown}
        self._cases = LateCases(self.config.pictures, self.subjects)
        self.surroundings, self._tested = Surroundings(), None

    @OUTSIDE
    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Mapping[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        first = sum(self._numbers.met) * vae_of(pl_module).depth
        images = self._numbers.take(batch, dataloader_idx)
        if not len(images["image"]):
            return
        with self.localizer.evidence(images) as evidence:
            unfinished, counted = self.localizer.unfinished(evidence), placed(images, self.localizer.counting)
            maps = self.localizer.all_maps(evidence, unfinished)
            count(self.tallies, maps, counted, self.localizer.suite.converged(evidence))
            count_variants(self._tried, unfinished, evidence.foreground, counted)
            error = slices_of(evidence.error).mean(1, keepdim=True).to(self.localizer.counting)
            self.surroundings.update(error, counted["mask"], counted["foreground"])
            shown: dict[str, Tensor] = {name: maps[name][0] for name in self.suite.shown}
            self._cases.take(counted, first, slices_of(evidence.reconstruction), shown, self._decisive)

    @OUTSIDE
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        settle(self.tallies)
        # One after the other, so that no process holds the histograms of all processes together.
        self.tallies = {name: tally.gathered() for name, tally in self.tallies.items()}
        self.surroundings = self.surroundings.gathered()
        tried = {name: [variant.gathered() for variant in several] for name, several in self._tried.items()}
        finishing = with_tests(self.localizer.learned.finishing, tried)
        self._tested, self._results = (self.validation, self.localizer.choices, finishing), None
        self.samples = self._cases.samples()
        log(pl_module, "test", {name: tally.measures() for name, tally in self.tallies.items()})
        self._draw(trainer, self.samples, calibrated=self.scale)
        if trainer.is_global_zero and self._pictures:
            draw_model(self.samples, pl_module, self._pictures)

    @OUTSIDE
    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Calibrate → choose, as far as the maps depend on it."""
        localizer, normal, anomalous = self._begun(trainer, pl_module)
        known = next(iter(normal), None) is not None  # without images to choose on, maps are smoothed by their size
        if known or self.suite.members:
            check_normal(normal)
            polarity = polarity_of(trainer)
            localizer.calibrate(normal, self.config.bits, no_advance, anomalous, self.config.smoothing, polarity)
            localizer.choose(normal, anomalous, polarity=polarity)
        self._predicting = localizer
        self._localizer = self._localizer or localizer

    @OUTSIDE
    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Mapping[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add the raw map (B, 1, H, W) of each predictor to the prediction, under its name."""
        if not isinstance(outputs, dict):
            raise ValueError(f"predict_step: expected a dict, to which maps are added, got {type(outputs).__name__}")
        images = completed(batch)
        outputs |= {name: like(score, images["image"]) for name, (score, _) in self._predicting.maps(images).items()}

    def _prepare(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Learn all that there is to learn from the validation images."""
        self._localizer, normal, anomalous = self._begun(trainer, pl_module)
        check_normal(normal)
        with self._advancing(trainer) as advance:
            polarity = polarity_of(trainer)
            self.validation = prepare(self._localizer, normal, anomalous, self.config, advance, polarity)
        measures, suite = self.validation.measures, self.localizer.suite
        self._decisive = max(suite.of_model or measures, key=lambda name: measures[name]["ap"].value or 0.0)

    def _begun(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> tuple[Localizer, Images, Images]:
        """The model with its predictors and levels, and the normal and the anomalous validation images."""
        model, data = vae_of(pl_module), source_of(trainer)
        loaders = validation_loaders(trainer, data, self._given)
        normal, anomalous = (Images(trainer, loaders, anomalous=kind) for kind in (False, True))
        levels = model.rec_levels
        if levels.isnan().any() or (self._levels is not None and torch.equal(levels, self._levels)):
            count = self.config.level_images
            images = data.normal_dataloader(count) if isinstance(data, AnomalyDataModule) else normal
            levels.copy_(trainer.strategy.broadcast(rec_levels(model, images, count)))
            self._levels = levels.clone()
        return Localizer(model, self.suite), normal, anomalous

    def _fresh_look(self, trainer: pl.Trainer, maps: Mapping[str, TimedMap], images: AnomalyBatch) -> dict[str, Tally]:
        """Empty tallies, with the pivots of the first process's batch in all of them."""
        own = {name: self.suite.single[name].pivot for name in maps}
        pivots = {
            name: float(default_pivot(maps[name][0], images["foreground"].cpu())) if pivot is None else pivot
            for name, pivot in own.items()
        }
        return fresh(trainer.strategy.broadcast(pivots), self.config, bits=min(self.config.bits, MONITOR_BITS))

    def _begin(self, trainer: pl.Trainer, loaders: Any) -> None:
        """Get ready to go through the images of these loaders."""
        self._numbers = Numbers(loaders)
        self.subjects, self.attributes = names_of(loaders)
        folder = trainer.log_dir  # which all processes have to ask for together
        self._pictures = Path(folder) / "pictures" if folder and trainer.loggers else None

    def _looks(self, trainer: pl.Trainer) -> bool:
        """Whether the cheap predictors look at this epoch's validation images."""
        every, epoch = self.config.monitor_every, trainer.current_epoch + 1
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        since = trainer.check_val_every_n_epoch or 1  # epochs, of which this one has to speak for all
        return fitting and every > 0 and (epoch % every < since or epoch == trainer.max_epochs)

    @contextmanager
    def _advancing(self, trainer: pl.Trainer) -> Iterator[Advance]:
        """What is called after each batch of the passes over validation images: a bar where the trainer shows bars."""
        if self.advance is not None or trainer.progress_bar_callback is None or not trainer.is_global_zero:
            yield self.advance or no_advance
            return
        done = itertools.count(1)
        with bar("calibrate") as show:
            yield lambda: show(next(done), 0)  # how many there will be, only a pass over all images could say

    def _draw(
        self, trainer: pl.Trainer, samples: Sequence[Sample], subfolder: str = "", calibrated: Calibrated | None = None
    ) -> None:
        if not (trainer.is_global_zero and self._pictures and samples):
            return
        draw_panels(samples, self._pictures / subfolder, calibrated)
        overview = self._pictures / subfolder / "overview.png"
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                with Image.open(overview) as picture:
                    pixels = np.asarray(picture.convert("RGB"))
                logger.experiment.add_image("maps", pixels, trainer.global_step, dataformats="HWC")
            elif isinstance(logger, WandbLogger):
                logger.log_image("maps", [str(overview)])


def vae_of(module: pl.LightningModule) -> VAE:
    """The module, if it is a VAE. Raises ValueError."""
    if not isinstance(module, VAE):
        raise ValueError(
            f"LocalizationCallback: expected a VAE of anomaly_bench, such as BetaVAE, got {type(module).__name__}"
        )
    return module
