"""One run, or several runs of one setting, as what is applied to files."""

from __future__ import annotations

import glob
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, mean
from typing import NamedTuple

import torch
from torch import Tensor

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.schema import RunConfig
from anomaly_bench.ensembles.finished import FinishedRun, check_alike
from anomaly_bench.localization import Localizer
from anomaly_bench.localization.trained import CONFIG_FILE, config_of, load_suite, result_of
from anomaly_bench.metrics.bins import bin_lower_edge
from anomaly_bench.models.slices import slices_of
from anomaly_bench.predictors import SeedEnsemble
from anomaly_bench.predictors.ensemble import TimedMap
from anomaly_bench.runs.code_digest import source_digest
from data_modules.base.batch import AnomalyBatch
from data_modules.base.errors import did_you_mean
from leaderboard.record import RESULT_FILE
from leaderboard.results.collect import SWEEPS_FOLDER

ENSEMBLE = SeedEnsemble()
BESIDE = {"categories.csv", SWEEPS_FOLDER}  # what lies beside runs, with leaderboard.md and leaderboard.csv


class Look(NamedTuple):
    """What a predictor makes of images: maps (B, 1, H, W) float32 and, of each image, its score (B,) and its place (B,).

    A score is the mean of the highest share of the foreground pixels, the place the share of normal validation images that
    score lower; of several runs the mean of what it is with each.
    """

    score: Tensor
    image_score: Tensor
    place: Tensor


@dataclass(frozen=True)
class Applied:
    """The models of runs that differ in their seed alone, with the predictors that are asked for.

    Of one run: its raw maps, calibrated and cut at the run's own threshold. Of several: the mean of the probits of their
    calibrated maps (SeedEnsemble), and the share that this is the probit of as the calibrated map.
    """

    runs: tuple[FinishedRun, ...]
    localizers: tuple[Localizer, ...]
    config: RunConfig

    @classmethod
    def load(cls, folders: Sequence[Path], predictors: str | Sequence[str], device: str) -> Applied:
        """Raises ResultError for what is no finished run, or of another version; ConfigError for runs of several settings."""
        predictors = [predictors] if isinstance(predictors, str) else predictors
        runs = [FinishedRun(result_of(folder), folder) for folder in folders]
        _check_one_setting(runs)
        runs.sort(key=lambda run: run.result.seed)
        if len(runs) > 1:
            check_alike(runs)
        rows = runs[0].result.predictors
        if unknown := [name for name in predictors if name not in rows]:
            raise ConfigError(f"--predictor {unknown[0]}: the run has no such row; {did_you_mean(unknown[0], rows)}")
        names = list(predictors) or [default_predictor(runs)]
        localizers = tuple(Localizer.load(run.folder, names, device) for run in runs)
        return cls(tuple(runs), localizers, config_of(runs[0].folder))

    @property
    def names(self) -> tuple[str, ...]:
        return self.localizers[0].suite.shown

    @property
    def alone(self) -> bool:
        return len(self.runs) == 1

    def look(self, batch: AnomalyBatch) -> dict[str, Look]:
        """What each predictor makes of a batch; of volumes, of their slices."""
        foreground, places = slices_of(batch["foreground"]), dict[str, list[Tensor]]()

        def maps(member: Localizer) -> dict[str, TimedMap]:
            timed = member.maps(batch)
            for name, (score, _) in timed.items():
                scores = member.image_scores(score.nan_to_num(), foreground)
                places.setdefault(name, []).append(member.standing(name, scores))
            if self.alone:
                return timed
            return {
                name: (member.calibrated(name, score, ENSEMBLE.scale), spent) for name, (score, spent) in timed.items()
            }

        each = map(maps, self.localizers)
        joined = next(each) if self.alone else ENSEMBLE.maps(each)
        return {
            name: Look(
                score.float(),
                self.localizers[0].image_scores(score.nan_to_num(), foreground),
                torch.stack(places[name]).mean(0),
            )
            for name, (score, _) in joined.items()
        }

    def calibrated(self, name: str, score: Tensor) -> Tensor:
        """Scores as shares of normal validation pixels that score lower; of several runs the share of the mean probit."""
        return self.localizers[0].calibrated(name, score) if self.alone else torch.special.ndtr(score)

    def threshold(self, name: str) -> float:
        """The least float32 score that is called anomalous.

        Of several runs the mean of the highest share `fpr` of a standard normal: how the seeds depend on each other is not
        known, and their mean reaches this expected shortfall in at most that share of normal pixels however they depend, as
        it is subadditive (Acerbi & Tasche 2002, doi:10.1016/S0378-4266(02)00283-2).
        """
        if not self.alone:
            return expected_shortfall(self.config.localization.fpr)
        learned = self.localizers[0].learned
        known = learned.calibration[name]
        return bin_lower_edge(learned.thresholds[name], known.pivot, known.bits)

    @property
    def threshold_rule(self) -> str:
        """How the threshold was set, in words."""
        fpr = self.config.localization.fpr
        if self.alone:
            return f"at most {fpr:.3g} of the pixels of the run's normal validation images score as high"
        return f"mean of the highest {fpr:.3g} of a standard normal: so is at most {fpr:.3g} of normal pixels"

    def notes(self, chosen: bool) -> list[str]:
        """What the user should know. chosen: whether the predictor was not named, but is the default."""
        notes = []
        if chosen:
            best = self.runs[0].result.predictors[self.names[0]].validation["ap"].value
            why = "the first, as there was no anomaly to validate on" if best is None else "the best AP on validation"
            rows = len(self.runs[0].result.predictors)
            notes.append(f"predictor {self.names[0]}: {why} of the run's {rows} rows, but for those that use no model")
        notes += [
            f"{run.folder}: made by another version of this code, so that maps may differ from those of its test"
            for run in self.runs
            if run.result.provenance.source_digest != source_digest()
        ]
        return notes

    def about(self) -> list[dict[str, object]]:
        """What a record says of the runs."""
        return [
            {
                "run_id": run.result.run_id,
                "folder": str(run.folder),
                "dataset": run.result.dataset,
                "model": run.result.model,
                "beta": run.result.beta,
                "seed": run.result.seed,
            }
            for run in self.runs
        ]

    def segmented(self, name: str, score: Tensor) -> Tensor:
        """Which scores are called anomalous, bool."""
        return self.localizers[0].segmented(name, score) if self.alone else score >= self.threshold(name)


def expected_shortfall(share: float) -> float:
    """The mean of the highest share, in (0, 1), of a standard normal."""
    normal = NormalDist()
    return normal.pdf(normal.inv_cdf(1 - share)) / share


def default_predictor(runs: Sequence[FinishedRun]) -> str:
    """The row with the best AP on validation (mean over runs) of those that use the model.

    The first one where there was no anomaly to validate on.
    """
    results = [run.result for run in runs]

    def reached(name: str) -> float:
        values = [result.predictors[name].validation["ap"].value for result in results]
        known = [value for value in values if value is not None]
        return mean(known) if len(known) == len(values) else -math.inf

    rows = load_suite(runs[0].folder, results[0]).of_model
    return max(rows or results[0].predictors, key=reached)


def _check_one_setting(runs: Sequence[FinishedRun]) -> None:
    first = runs[0]
    for run in runs[1:]:
        if run.result.setting_id != first.result.setting_id:
            raise ConfigError(
                f"{run.folder}: its settings are not those of {first.folder}; several runs are localized with together only "
                "if they differ in nothing but the seed: name the runs of one setting"
            )


def split_runs(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The folders of runs that the first arguments name, as paths or globs, and the other arguments.

    The first argument always names runs, the following ones as long as they are folders of runs. What lies beside runs and is
    none, where a shell spells out runs/*, is passed over: tables and plans of the leaderboard, and ensembles over seeds, which
    have no model of their own, where runs are named too. Raises ConfigError naming anything else among the runs.
    """
    folders: list[Path] = []
    for used, text in enumerate(arguments):
        path = Path(text).expanduser()
        found = [path] if path.exists() else [Path(match) for match in sorted(glob.glob(str(path)))]  # noqa: PTH207
        runs = list(filter(_is_run, found))
        if not runs and path.exists() and (path.name in BESIDE or path.stem == "leaderboard"):
            continue
        if folders and not runs:
            if any(map(_is_run, map(Path, arguments[used:]))):
                raise ConfigError(
                    f"{text}: lies among the runs, but is none; name runs first, then inputs, and leave it out"
                )
            break
        folders += runs or [path]
    else:
        used = len(arguments)
    own = [folder for folder in folders if (folder / CONFIG_FILE).exists()]
    return own or folders or [Path(arguments[0])], list(arguments[used:])


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in (CONFIG_FILE, RESULT_FILE))
