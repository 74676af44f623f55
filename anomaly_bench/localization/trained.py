"""The folder of a finished run, as what is in it is wanted for localizing: its record, its model, its predictors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.load import read_config
from anomaly_bench.config.messages import first_line
from anomaly_bench.config.schema import RunConfig
from anomaly_bench.models import VAE, build_model
from anomaly_bench.predictors import Suite, build_suite
from leaderboard.record import RESULT_FILE, ResultError, RunResult, read_result

from .validation.search import settled

MODEL_FILE, CONFIG_FILE = "model.ckpt", "config.yaml"
REMEDY = "move that run's folder away and repeat the run, or name other runs"


def result_of(folder: Path) -> RunResult:
    """The record of a finished run. Raises ResultError if the folder holds none."""
    if not (folder / RESULT_FILE).exists():
        what = "no run" if folder.is_dir() else "there is no such folder"
        if (folder / CONFIG_FILE).exists():
            what = "no finished run: it has a config, but no result.json yet"
        raise ResultError(f"{folder}: {what}; name the folder of a run that `anomaly-bench status` calls done")
    result = read_result(folder / RESULT_FILE)
    if result.ensemble_of:
        raise ResultError(f"{folder}: an ensemble of runs, which has no model of its own; name the runs")
    return result


def config_of(folder: Path) -> RunConfig:
    """The config that the run was started with. Raises ConfigError if it cannot be read."""
    return read_config(folder / CONFIG_FILE)


def load_model(folder: Path) -> VAE:
    """The trained model of a run, on the CPU, in evaluation mode.

    Raises ResultError naming the checkpoint if it is missing, damaged or of another version of the model.
    """
    path, config = folder / MODEL_FILE, config_of(folder)
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
        model = build_model(config.model, tuple(checkpoint["hyper_parameters"]["shape"]), config.dataset.context)
        model.load_state_dict(checkpoint["state_dict"])
    except Exception as error:  # a damaged file makes torch raise all sorts
        reason = first_line(error).partition(". ")[0]  # torch adds advice for other callers
        raise ResultError(f"{path}: expected the model of a finished run ({reason}); {REMEDY}") from error
    return model.eval()


def load_suite(folder: Path, result: RunResult, names: Sequence[str] = ()) -> Suite:
    """The predictors of these names, or all that the run shows, with the ensembles that the run itself chose.

    Raises ConfigError for a name that the run has not.
    """
    for name in names:
        if name not in result.predictors:
            there = ", ".join(result.predictors)
            raise ConfigError(f"predictor {name}: {folder.name} has no such row; there are {there}")
    suite = build_suite(replace(config_of(folder).predictors, only=list(names) or list(result.predictors)))
    choices = {name: result.predictors[name].choice for name in suite.searches}
    return settled(suite, {name: choice for name, choice in choices.items() if choice is not None})
