"""What defines a run, and the names that follow from it."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import torch

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.identity import Identity
from anomaly_bench.config.schema import AEConfig, BetaVAEConfig, RunConfig, SlurmConfig
from anomaly_bench.predictors import Suite
from data_modules.base.config import deciding
from data_modules.base.digests import hash_of
from data_modules.base.names import chosen_categories, dataset_name
from data_modules.modules.base import AnomalyDataModule

from .code_digest import LIBRARIES, own_code_digests, source_digest


def setting_of(config: RunConfig, definition: dict[str, Any], data: AnomalyDataModule) -> str:
    """The hash of all that decides the numbers but the seed; definition: of the config, data: prepared already."""
    decides = {
        "config": definition,
        "data": data.fingerprint,
        "split": data.split_digest,
        "attributes": hash_of(data.store.attributes),
        "source": source_digest(),
        "own_code": own_code_of(config),
        "libraries": {name: version(name) for name in LIBRARIES},
        "device": device_of(config),
    }
    return hash_of(decides)


def name_run(config: RunConfig, setting_id: str) -> Identity:
    """The identity of the run of this setting with the config's seed."""
    run_id = hash_of([setting_id, config.seed])
    given = config.model.beta if isinstance(config.model, BetaVAEConfig) else 1.0
    beta = 0.0 if isinstance(config.model, AEConfig) else given
    folder = f"{dataset_name(config.dataset)}-{config.model.name}-beta{beta:g}-seed{config.seed}-{run_id[:8]}".replace(
        "/", "_"
    )
    return Identity(setting_id, run_id, folder)


def definition_of(config: RunConfig, suite: Suite) -> dict[str, Any]:
    """The part of the config that decides the numbers: no paths, no logger, no seed; only the predictors of its suite.

    Raises ConfigError for a metric of a user's own that is not named by its import path.
    """
    plain: dict[str, Any] = deciding(config)
    del plain["seed"]  # decides numbers, but no setting
    metrics = plain["localization"]["metrics"]
    if not metrics:
        del plain["localization"]["metrics"]
    for name, what in metrics.items():
        if not isinstance(what, str):
            raise ConfigError(f"localization.metrics.{name}={what}: a run names its metrics as package.module.Name")
    if "category" in plain["dataset"]:
        plain["dataset"]["category"] = chosen_categories(config.dataset)
    members = plain["predictors"]["members"]
    used = {name: members[name] for name in members if name in (*suite.single, *suite.ensembles, *suite.searches)}
    plain["predictors"] = {"shown": sorted(suite.shown), "members": used}
    return plain


def device_of(config: RunConfig) -> str:
    """Where the run is done: cpu, cuda or mps. A cluster's jobs are not where they are planned."""
    if isinstance(config.engine, SlurmConfig) and config.jobs:
        return "cuda" if config.engine.gpus and config.trainer.accelerator in ("auto", "gpu", "cuda") else "cpu"
    return device_kind(config.trainer.accelerator)


def device_kind(accelerator: str) -> str:
    """What `trainer.accelerator` comes to on this machine: cpu, cuda or mps."""
    if accelerator in ("auto", "gpu") and torch.cuda.is_available():
        return "cuda"
    return "mps" if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available() else "cpu"


def own_code_of(config: RunConfig) -> dict[str, str]:
    """By package, the digests of a user's own code that the config names by import path: when it changes, so does the run."""
    model = config.model
    members = [member.get("use") for member in config.predictors.members.values()]
    named = [model.use, model.network, model.likelihood, *members, *config.localization.metrics.values()]
    named += [model.schedule] if isinstance(model, BetaVAEConfig) else []
    return own_code_digests(name for name in named if name and "." in name)
