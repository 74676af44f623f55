"""From a finished run to its RunResult."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pytorch_lightning as pl
import torch
from msgspec.structs import replace

from anomaly_bench.base.identity import Identity
from anomaly_bench.base.revision import git_revision
from anomaly_bench.config.schema import RunConfig
from anomaly_bench.models import VAE, input_size
from anomaly_bench.selection.select import Selection
from data_modules.base.names import dataset_category, dataset_name
from data_modules.modules.base import AnomalyDataModule
from leaderboard.record import PIXELS, PredictorResult, Provenance, RunResult

from .code_digest import VERSIONED, source_digest
from .identity import own_code_of


def describe_training(trainer: pl.Trainer, model: VAE, best: float, best_epoch: int) -> dict[str, float | int | None]:
    """How the training went; ELBO, rec and KL are means over normal validation images; `best`: of the weights kept."""
    last = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
    return {
        "epochs": trainer.current_epoch,
        "best_epoch": best_epoch,
        "best_elbo": best,
        "last_elbo": last.get("val/elbo"),
        "last_rec": last.get("val/rec"),
        "last_kl": last.get("val/kl"),
        "last_active_units": last.get("val/active_units"),
        "sigma": model.likelihood.sigma,
    }


def make_result(
    config: RunConfig,
    definition: dict[str, Any],
    identity: Identity,
    data: AnomalyDataModule,
    model: VAE,
    training: dict[str, float | int | None],
    curve: dict[str, list[float | None]],
    predictors: dict[str, PredictorResult],
    left_out: dict[str, str],
    durations: dict[str, float],
) -> RunResult:
    """The record of a run. `beta` is the raw weight of the KL term, `beta_normalised` that times latent / input size."""
    return RunResult(
        run_id=identity.run_id,
        setting_id=identity.setting_id,
        dataset=dataset_name(config.dataset),
        family=config.dataset.name,
        category=dataset_category(config.dataset),
        model=config.model.name,
        beta=model.beta,
        beta_normalised=model.beta * model.latent / input_size(model.shape),
        seed=config.seed,
        config=definition,
        provenance=provenance_of(config, data, model, durations),
        training=training,
        curve=curve,
        pixels=PIXELS,
        predictors=predictors,
        left_out=left_out,
    )


def with_selection(results: dict[str, PredictorResult], selection: Selection) -> dict[str, PredictorResult]:
    """The results by row, with what can be chosen by where no anomaly is labelled."""
    return {
        name: replace(row, criteria=selection.criteria.get(name, {}), fingerprint=selection.fingerprints.get(name, []))
        for name, row in results.items()
    }


def described(
    definition: dict[str, Any], seed: int, identity: Identity, data: AnomalyDataModule, beta: float
) -> dict[str, Any]:
    """What a tracker is told of a run before it begins: all that decides its numbers, and no path."""
    code = {"version": version("anomaly-bench"), "git_revision": git_revision(), "source_digest": source_digest()}
    return {
        **definition,
        "seed": seed,
        "beta": beta,
        "run_id": identity.run_id,
        "setting_id": identity.setting_id,
        "code": code,
        "data": {"fingerprint": data.fingerprint, "split_digest": data.split_digest},
    }


def provenance_of(config: RunConfig, data: AnomalyDataModule, model: VAE, durations: dict[str, float]) -> Provenance:
    """Where the numbers that this process computes come from, as of now."""
    return Provenance(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"python": platform.python_version()}
        | {name: version(name) for name in ("anomaly-bench", *VERSIONED)},
        git_revision=git_revision(),
        source_digest=source_digest(),
        own_code=own_code_of(config),
        device=device_name(model),
        threads=torch.get_num_threads(),
        data_fingerprint=data.fingerprint,
        split_digest=data.split_digest,
        durations=durations,
    )


def device_name(model: VAE) -> str:
    """What the model is on: cpu, or the accelerator's name."""
    return torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else model.device.type
