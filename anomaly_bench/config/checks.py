"""The values of a config that its types allow and that make no sense: ranges stand beside the keys in the schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from textwrap import shorten
from typing import Any
from unicodedata import category

from anomaly_bench.base.errors import ConfigError
from data_modules.base.options.ranges import check_ranges
from leaderboard.record import CRITERIA

from .schema import KINDS, PredictorsConfig, RunConfig, SlurmConfig

DIFFERENT = (  # lists whose values say something once
    "localization.smoothing",
    "predictors.only",
    "dataset.category",
    "dataset.modality",
    "dataset.anomalous_labels",
    "dataset.split.train_subjects",
    "dataset.split.val_subjects",
    "dataset.split.test_subjects",
)
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
FILTERS = ("smooth", "median", "min_pool", "erode")  # a predictor's arguments in pixels
NAME = 100  # letters of a name, which is part of a folder's
LOGGERS = ("csv", "wandb", "tensorboard", "mlflow")


def check_values(configs: Iterable[RunConfig]) -> None:
    """Raises ConfigError naming the key, its value and what was expected. What several configs share is checked once."""
    checked = set[int]()
    for config in configs:
        for group, schemas in KINDS.items():
            _check_kind(group, getattr(config, group), schemas)
        if id(config.predictors) not in checked:
            _check_members(config.predictors)
        check_ranges(config, "", checked)
        for key in DIFFERENT:
            values = _at(config, key)
            repeated = isinstance(values, list) and len(set(map(repr, values))) < len(values)
            _check(key, values, not repeated, "values that differ; name each once")
        for key, name in (("dataset.name", config.dataset.name), ("model.name", config.model.name)):
            fits = len(name) <= NAME and not any(category(letter) == "Cc" for letter in name)
            _check(
                key,
                shorten(repr(name), NAME),
                fits,
                f"a name of up to {NAME} letters, none of them a control character",
            )
        accelerator = config.trainer.accelerator
        _check("trainer.accelerator", accelerator, accelerator in ACCELERATORS, f"one of {', '.join(ACCELERATORS)}")
        criteria = config.selection.criteria
        known = len(set(criteria)) == len(criteria) and set(criteria) <= set(CRITERIA)
        _check("selection.criteria", criteria, known, f"some of {', '.join(CRITERIA)}, each once, or []")
        _check("logger", config.logger, config.logger in LOGGERS, f"one of {', '.join(LOGGERS)}")
        if isinstance(config.engine, SlurmConfig):
            _check_slurm(config, config.engine)


def check_part(part: Any, name: str) -> None:
    """The same of one group, such as a LocalizationConfig made in Python; name: of its key."""
    if not is_dataclass(part):
        raise ConfigError(f"{name}: expected a {name.capitalize()}Config, got {type(part).__name__}")
    check_ranges(part, f"{name}.", set())


def _at(config: Any, key: str) -> Any:
    """The value of a key; None where the config has no such key."""
    for name in key.split("."):
        config = getattr(config, name, None)
    return config


def _check_kind(group: str, part: Any, schemas: Mapping[str, type[Any]]) -> None:
    """An option decides its kind, and with it the keys: an override of the kind alone would have those of another."""
    own = next((kind for kind, schema in schemas.items() if type(part) is schema), part.kind)
    remedy = (
        f"choose it by an option of the group, {group}=NAME"
        if part.kind in schemas
        else f"there are {', '.join(schemas)}"
    )
    _check(f"{group}.kind", part.kind, part.kind == own, f"{own}, as the chosen {group} has it; {remedy}")


def _check_members(predictors: PredictorsConfig) -> None:
    """Numbers that no map can be made with; those of a user's own predictors are left to them."""
    for name, member in predictors.members.items():
        for argument, value in member.items() if "." not in str(member.get("use")) else ():
            most = 1000 if argument in FILTERS else 10**9
            fits = not isinstance(value, int | float) or abs(value) <= most
            _check(f"predictors.members.{name}.{argument}", value, fits, f"a number of at most {most}")


def _check_slurm(config: RunConfig, engine: SlurmConfig) -> None:
    devices = config.trainer.devices
    fits = engine.gpus in (0, devices)
    _check("engine.gpus", engine.gpus, fits, f"as many as trainer.devices={devices}, or 0")
    _check("jobs", config.jobs, config.jobs <= 1, f"engine.at_once={config.jobs} in its place with engine=slurm")
    _check("engine.notice", engine.notice, engine.notice < 60 * engine.time, "seconds, fewer than the time limit")


def _check(key: str, value: Any, fits: bool, expected: str) -> None:
    if not fits:
        raise ConfigError(f"{key}={value}: expected {expected}")
