"""A trial of a study that tells how it goes, and ends where others were better at that epoch."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn

from anomaly_bench.base.study import EVERY, PRUNED, open_study
from anomaly_bench.config.schema import SelectionConfig
from anomaly_bench.localization import Localizer
from anomaly_bench.models import VAE
from anomaly_bench.predictors import Suite
from anomaly_bench.predictors.ensemble import TimedMap
from anomaly_bench.selection.select import select
from data_modules.base.batch import AnomalyBatch
from data_modules.modules.base import AnomalyDataModule

IMAGES = 32  # that a look takes
SEEN = ("synthetic_ap", "synthetic_auroc", "elbo", "iwae", "false_positives")  # criteria that a look can tell


class PrunedError(RuntimeError):
    """A trial was worse than others at the same epoch."""


class Pruning(pl.Callback):
    """Every few epochs report a criterion of normal validation images; PrunedError where the study says so.

    trial: STUDY:NUMBER:CRITERION:ROW, the file of a study, the trial's number, what is reported, and of which row (of the best
    if empty). Of rows that need calibration or many passes nothing is reported.
    """

    def __init__(self, trial: str, suite: Suite, data: AnomalyDataModule, fpr: float) -> None:
        file, number, self.by, row = trial.rsplit(":", 3)
        self.file, self.number, self.suite, self.data, self.fpr = Path(file), int(number), suite, data, fpr
        self.names = [name for name in suite.cheap() if name in ((row,) if row else suite.shown)]

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if trainer.state.fn != TrainerFn.FITTING or epoch % EVERY or not self.names or self.by not in SEEN:
            return
        assert isinstance(pl_module, VAE)
        localizer = Localizer(pl_module, self.suite)

        def maps(batch: AnomalyBatch) -> dict[str, TimedMap]:
            with localizer.evidence(batch) as evidence:
                return localizer.single_maps(evidence, self.names)

        normal, wanted = self.data.val_dataloader()[0], SelectionConfig([self.by], IMAGES)
        found = select(pl_module, maps, normal, wanted, self.fpr, self.data.polarity).criteria
        values = [value for row in found.values() if (value := row[self.by]) is not None]
        if values:
            self._report(max(values), epoch)

    def _report(self, value: float, epoch: int) -> None:
        from optuna.trial import Trial

        study = open_study(self.file)
        frozen = study.trials[self.number]
        if frozen.state.is_finished():
            return  # the run is done again by itself
        trial = Trial(study, frozen._trial_id)
        trial.report(value, epoch)
        if trial.should_prune():
            trial.set_user_attr(PRUNED, epoch)
            raise PrunedError(f"pruned: at epoch {epoch} its {self.by} of {value:.4g} was below that of other trials")
