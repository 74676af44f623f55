"""Ensembles over seeds: find the runs of each setting → load their models → calibrate each → combine → record."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor
from torch.utils.data import DataLoader

from anomaly_bench.base.errors import OutputError
from anomaly_bench.base.files import check_writable, explained
from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.schema import LocalizationConfig
from anomaly_bench.localization.callback import ENSEMBLE_PIVOT
from anomaly_bench.localization.tally import Tally, on_cpu
from anomaly_bench.metrics import Calibration, LocalizationCurve, find_regions
from anomaly_bench.models import VAE
from anomaly_bench.predictors import SeedEnsemble, Suite
from anomaly_bench.predictors.ensemble import TimedMap
from anomaly_bench.predictors.evidence import Evidence, frozen
from anomaly_bench.runs.code_digest import source_digest
from anomaly_bench.runs.data import build_data
from anomaly_bench.runs.identity import device_kind
from anomaly_bench.runs.result import provenance_of
from anomaly_bench.runs.training.quiet import quiet
from data_modules.base.batch import AnomalyBatch
from data_modules.base.errors import DataError
from data_modules.modules.base import AnomalyDataModule
from leaderboard.record import PredictorResult, RunResult, read_result, write_result
from leaderboard.results.collect import RESULT_FILE

from .finished import FinishedRun, check_alike, load_model, load_suite, saved_config


@dataclass(frozen=True)
class SeedModel:
    """One member of an ensemble over seeds: a model, the predictors, and their scores on normal validation pixels."""

    model: VAE
    suite: Suite
    calibration: dict[str, Calibration] = field(default_factory=dict)

    def calibrate(self, normal: DataLoader[AnomalyBatch], bits: int, advance: Callable[[], None]) -> None:
        """Learn where each row's scores stand among those of normal validation pixels: single predictors, then ensembles."""
        for names, maps in ((self.suite.single, self._raw), (self.suite.ensembles, self._combined)):
            pivots = {name: predictor.pivot for name, predictor in self.suite.single.items()}
            curves = {name: LocalizationCurve(bits, pivots.get(name, ENSEMBLE_PIVOT)) for name in names}
            for batch in normal:
                for name, (score, _) in maps(batch).items():
                    curves[name].update(score, batch["mask"], batch["foreground"], batch["region_weight"])
                advance()
            self.calibration.update({name: Calibration.of(curve) for name, curve in curves.items()})

    def maps(self, batch: AnomalyBatch) -> dict[str, TimedMap]:
        """The calibrated map (B, 1, H, W) of every shown predictor, on the CPU, with its seconds."""
        raw = self._raw(batch)
        every = raw | self.suite.combined(raw, self._calibrated)
        return {name: (self._calibrated(name, every[name][0]), every[name][1]) for name in self.suite.shown}

    def _combined(self, batch: AnomalyBatch) -> dict[str, TimedMap]:
        return self.suite.combined(self._raw(batch), self._calibrated) if self.suite.ensembles else {}

    def _calibrated(self, name: str, score: Tensor) -> Tensor:
        return self.calibration[name](score)

    def _raw(self, batch: AnomalyBatch) -> dict[str, TimedMap]:
        device, kind = self.model.device, next(self.model.parameters()).dtype
        with frozen(self.model):
            evidence = Evidence(self.model, batch["image"].to(device, kind), batch["foreground"].to(device))
            maps = self.suite.maps(evidence, list(self.suite.single))
            return {name: (score.detach().cpu(), seconds) for name, (score, seconds) in maps.items()}


def combine_seeds(
    runs: Sequence[FinishedRun],
    root: Path,
    how: str = "mean",
    predictors: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> RunResult:
    """Combine the models of runs that differ in their seed, and write the result to a folder of its own below `root`.

    The result of an ensemble that was made before, of the same runs by the same code, is returned as it is. Raises
    ResultError for runs that do not belong together or whose files are damaged, DataError if the data are no longer those
    that they were trained on, ConfigError for an unknown predictor.
    """
    reporter = reporter or Reporter()
    check_alike(runs)
    first, config = runs[0], saved_config(runs[0])
    names = sorted(load_suite(first, config, predictors).shown)
    run_id = ensemble_id([run.result.run_id for run in runs], how, names)
    folder = root / folder_name(runs, how, run_id)
    if (folder / RESULT_FILE).exists():
        return read_result(folder / RESULT_FILE)
    with quiet():
        data = build_data(config, reporter)
        check_data(data, first)
        members = [load_member(run, data, predictors) for run in runs]
        start = time.perf_counter()
        reached = localize(members, data, config.localization, how, reporter)
        made = provenance_of(data, members[0].model, {"localize": time.perf_counter() - start})
    ensemble = {"how": how, "seeds": [run.result.seed for run in runs]}
    document = first.result.model_dump() | {
        "run_id": run_id,
        "config": first.result.config | {"seed_ensemble": ensemble},
        "provenance": made,
        "training": {},
        "predictors": reached,
        "ensemble_of": [run.result.run_id for run in runs],
    }
    result = RunResult.model_validate(document)
    with explained(folder):
        write_result(result, folder / RESULT_FILE)
    return result


def combine_all(
    settings: Sequence[Sequence[FinishedRun]], root: Path, how: str, predictors: Sequence[str], reporter: Reporter
) -> tuple[list[tuple[Sequence[FinishedRun], RunResult]], dict[str, Exception]]:
    """The ensemble of every setting with its runs, and why the others failed, by title: none costs the others.

    Raises OutputError if the folder cannot be written to.
    """
    check_writable(root)
    done, failed = [], dict[str, Exception]()
    for runs in settings:
        title = title_of(runs)
        reporter.run(title)
        try:
            result = combine_seeds(runs, root, how, predictors, reporter)
        except OutputError:
            raise
        except Exception as error:
            failed[title] = error
            reporter.finished(f"{title}: FAILED")
            continue
        done.append((runs, result))
        reporter.finished(f"{title}: combined by {how}")
    return done, failed


def localize(
    members: Sequence[SeedModel], data: AnomalyDataModule, config: LocalizationConfig, how: str, reporter: Reporter
) -> dict[str, PredictorResult]:
    """What each predictor's ensemble reaches: thresholds from normal validation pixels, metrics on validation and test."""
    normal, anomalous = data.val_dataloader()
    test, ensemble, names = data.test_dataloader(), SeedEnsemble(how), members[0].suite.shown
    reporter.stage("ensemble", (2 * len(members) + 1) * len(normal) + len(anomalous) + len(test))
    for member in members:
        member.calibrate(normal, config.bits, reporter.advance)

    def count(loader: DataLoader[AnomalyBatch], tallies: Mapping[str, Tally]) -> None:
        for batch in loader:
            maps, counted = ensemble.maps(member.maps(batch) for member in members), on_cpu(batch)
            regions = find_regions(counted["mask"]).within(counted["foreground"])
            for name, (score, seconds) in maps.items():
                tallies[name].update(score, seconds, counted, regions)
            reporter.advance()

    def fresh(name: str, threshold: int | None = None) -> Tally:
        curve = LocalizationCurve(config.bits, ENSEMBLE_PIVOT)
        return Tally(name, curve, config.image_share, threshold, per_subject=threshold is not None)

    validated = {name: fresh(name) for name in names}
    count(normal, validated)
    thresholds = {name: tally.curve.threshold_at_fpr(config.fpr) for name, tally in validated.items()}
    count(anomalous, validated)
    for name, tally in validated.items():
        tally.threshold = thresholds[name]
    validation = {name: tally.measures() for name, tally in validated.items()}
    tested = {name: fresh(name, thresholds[name]) for name in names}
    count(test, tested)
    about = data.store.subjects, data.store.attributes, config.resamples
    return {row_name(name, how): tally.result(validation[name], *about) for name, tally in tested.items()}


def row_name(predictor: str, how: str) -> str:
    """The row of a predictor's ensemble over seeds in a leaderboard: each way of combining has its own."""
    return f"{predictor}@seeds" if how == "mean" else f"{predictor}@seeds_{how}"


def load_member(run: FinishedRun, data: AnomalyDataModule, predictors: Sequence[str]) -> SeedModel:
    """The model of a run on the device that its config asks for, with its predictors."""
    config = saved_config(run)
    model = load_model(run, config, data).to(device_kind(config.trainer.accelerator))
    return SeedModel(model, load_suite(run, config, predictors))


def check_data(data: AnomalyDataModule, run: FinishedRun) -> None:
    """Raises DataError unless the data and their split are those of the run."""
    made = run.result.provenance
    if (data.fingerprint, data.split_digest) != (made.data_fingerprint, made.split_digest):
        raise DataError(
            f"{data.root()}: data or split are not those that {run.folder} was trained on; restore them, or repeat the runs"
        )


def ensemble_id(run_ids: Sequence[str], how: str, predictors: Sequence[str]) -> str:
    """The hash of what defines an ensemble over seeds: its runs, its rows, how they are combined, and the code."""
    own = hashlib.blake2b(Path(__file__).read_bytes(), digest_size=16).hexdigest()
    parts = [sorted(run_ids), how, list(predictors), source_digest(), own]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def folder_name(runs: Sequence[FinishedRun], how: str, run_id: str) -> str:
    """Where the result lies below the runs folder."""
    one = runs[0].result
    return f"{one.dataset}-{one.model}-beta{one.beta:g}-{len(runs)}seeds-{how}-{run_id[:8]}".replace("/", "_")


def title_of(runs: Sequence[FinishedRun]) -> str:
    """What the user reads of a setting."""
    one = runs[0].result
    return f"{one.dataset} {one.model} beta={one.beta:g} seeds={','.join(str(run.result.seed) for run in runs)}"
