"""Ensembles over seeds: find the runs of each setting → load their models → combine → record."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from msgspec.structs import replace

from anomaly_bench.base.errors import ConfigError, OutputError
from anomaly_bench.base.files import check_writable, explained
from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.schema import LocalizationConfig, RunConfig
from anomaly_bench.localization import Localizer
from anomaly_bench.localization.passes import count, fresh, validate
from anomaly_bench.localization.tallies.table import scores_of, write_scores
from anomaly_bench.localization.trained import load_suite
from anomaly_bench.predictors import SeedEnsemble
from anomaly_bench.predictors.ensemble import TimedMap
from anomaly_bench.runs.code_digest import source_digest
from anomaly_bench.runs.data import build_data
from anomaly_bench.runs.identity import device_kind, own_code_of
from anomaly_bench.runs.result import provenance_of
from anomaly_bench.runs.training.quiet import quiet
from data_modules.base.batch import AnomalyBatch
from data_modules.base.digests import digest_of_code, hash_of
from data_modules.base.errors import DataError
from data_modules.modules.base import AnomalyDataModule
from leaderboard.record import (
    IMAGES_FILE,
    RESULT_FILE,
    MapChoice,
    PredictorResult,
    RunResult,
    read_result,
    write_result,
)

from .finished import FinishedRun, check_alike

if TYPE_CHECKING:
    from pandas import DataFrame

DEFAULT_WAY = SeedEnsemble().how


def combine_seeds(
    runs: Sequence[FinishedRun],
    root: Path,
    how: str = DEFAULT_WAY,
    predictors: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> tuple[RunResult, bool]:
    """Combine the models of runs that differ in their seed, and write the result to a folder of its own below `root`.

    The result and whether it was made now: that of an ensemble of the same runs by the same code is found as it is. Raises
    ResultError for runs that do not belong together or whose files are damaged, DataError if the data are no longer those
    that they were trained on, ConfigError for a predictor that is unknown or knows no model.
    """
    reporter = reporter or Reporter()
    check_alike(runs)
    first, config = runs[0], runs[0].config()
    names = rows_to_combine(first, predictors)
    run_id = ensemble_id([run.result.run_id for run in runs], how, names, config)
    folder = root / folder_name(runs, how, run_id)
    if (folder / RESULT_FILE).exists():
        return read_result(folder / RESULT_FILE), False
    with quiet():
        data = build_data(config, reporter)
        check_data(data, first)
        device = device_kind(config.trainer.accelerator)
        members = [Localizer.load(run.folder, names, device) for run in runs]
        start = time.perf_counter()
        reached, images = localize(members, data, config.localization, how, reporter)
        made = provenance_of(config, data, members[0].model, {"localize": time.perf_counter() - start})
    ensemble = {"how": how, "seeds": [run.result.seed for run in runs]}
    result = replace(
        first.result,
        run_id=run_id,
        config=first.result.config | {"seed_ensemble": ensemble},
        provenance=made,
        training={},
        predictors=reached,
        ensemble_of=[run.result.run_id for run in runs],
    )
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_scores(images, folder / IMAGES_FILE)
        write_result(result, folder / RESULT_FILE)
    return result, True


def combine_all(
    settings: Sequence[Sequence[FinishedRun]],
    root: Path,
    how: str,
    predictors: Sequence[str],
    reporter: Reporter,
    differs: Mapping[str, str] | None = None,
) -> tuple[list[tuple[Sequence[FinishedRun], RunResult]], dict[str, Exception]]:
    """The ensemble of every setting with its runs, and why the others failed, by title: none costs the others.

    differs: by setting id, in what settings differ that are of the same dataset and model. Raises OutputError if the folder
    cannot be written to.
    """
    check_writable(root)
    done, failed = [], dict[str, Exception]()
    for runs in settings:
        title = title_of(runs, (differs or {}).get(runs[0].result.setting_id, ""))
        reporter.run(title)
        try:
            result, made = combine_seeds(runs, root, how, predictors, reporter)
        except OutputError:
            raise
        except Exception as error:
            failed[title] = error
            reporter.finished(f"{title}: FAILED")
            continue
        done.append((runs, result))
        reporter.finished(f"{title}: {f'combined by {how}' if made else 'done before'}", timed=made)
    return done, failed


def localize(
    members: Sequence[Localizer], data: AnomalyDataModule, config: LocalizationConfig, how: str, reporter: Reporter
) -> tuple[dict[str, PredictorResult], DataFrame]:
    """What each predictor's ensemble reaches: thresholds from normal validation pixels, metrics on validation and test.

    And its score of each test image.
    """
    normal, anomalous = data.val_dataloader()
    test, ensemble = data.test_dataloader(), SeedEnsemble(how)
    reporter.stage("ensemble", len(normal) + len(anomalous) + len(test))

    def maps(batch: AnomalyBatch) -> dict[str, TimedMap]:
        return ensemble.maps(member.calibrated_maps(batch, ensemble.scale) for member in members)

    pivots = dict.fromkeys(members[0].suite.shown, ensemble.pivot)
    validation = validate(maps, pivots, normal, anomalous, config, reporter.advance)
    tallies = fresh(pivots, config, validation.thresholds)
    for batch in test:
        count(tallies, maps(batch), batch)
        reporter.advance()
    about = dict(enumerate(data.store.subjects)), dict(enumerate(data.store.attributes)), config.resamples
    results = {
        row_name(name, how): tally.result(validation.measures[name], *about, finishing=finishing_of(members, name))
        for name, tally in tallies.items()
    }
    named = {row_name(name, how): tally for name, tally in tallies.items()}
    return results, scores_of(named, about[0])


def finishing_of(members: Sequence[Localizer], name: str) -> MapChoice | None:
    """How the maps of a row are smoothed, by the median of the seeds' widths, and signed; None for an ensemble's row."""
    choices = [member.learned.finishing[name] for member in members if name in member.learned.finishing]
    if not choices:
        return None
    return replace(choices[0], smooth=float(median(choice.smooth for choice in choices)), tried=[])


def row_name(predictor: str, how: str) -> str:
    """The row of a predictor's ensemble over seeds in a leaderboard: each way of combining has its own."""
    return f"{predictor}@seeds" if how == DEFAULT_WAY else f"{predictor}@seeds_{how}"


def rows_to_combine(run: FinishedRun, predictors: Sequence[str]) -> list[str]:
    """The rows of these names, or all that a model has a part in. Raises ConfigError for one without, as all seeds have it."""
    suite = load_suite(run.folder, run.result, predictors)
    same = [name for name in suite.shown if name not in suite.of_model]
    if same and (predictors or not suite.of_model):
        raise ConfigError(
            f"predictor {', '.join(same)}: knows no model, and so is the same for every seed; name others"
        )
    return suite.of_model


def check_data(data: AnomalyDataModule, run: FinishedRun) -> None:
    """Raises DataError unless the data and their split are those of the run."""
    made = run.result.provenance
    if (data.fingerprint, data.split_digest) != (made.data_fingerprint, made.split_digest):
        raise DataError(
            f"{data.root()}: data or split are not those that {run.folder} was trained on; restore them, or repeat the runs"
        )


def ensemble_id(run_ids: Sequence[str], how: str, predictors: Sequence[str], config: RunConfig) -> str:
    """The hash of what defines an ensemble over seeds: its runs, its rows, how they are combined, and the code."""
    code = source_digest(), digest_of_code([Path(__file__).parent]), own_code_of(config)
    return hash_of([sorted(run_ids), how, sorted(predictors), code])


def folder_name(runs: Sequence[FinishedRun], how: str, run_id: str) -> str:
    """Where the result lies below the runs folder."""
    first = runs[0].result
    return f"{first.dataset}-{first.model}-beta{first.beta:g}-{len(runs)}seeds-{how}-{run_id[:8]}".replace("/", "_")


def title_of(runs: Sequence[FinishedRun], differs: str = "") -> str:
    """What the user reads of a setting; differs: in what it differs from others, if there are any alike."""
    first, seeds = runs[0].result, ",".join(str(run.result.seed) for run in runs)
    return " ".join(filter(None, (first.dataset, first.model, f"beta={first.beta:g}", differs, f"seeds={seeds}")))
