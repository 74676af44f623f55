"""The values of a config that its types allow and that make no sense: ranges stand beside the keys in the schema."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import is_dataclass
from functools import cache
from typing import Any, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import TypeAdapter, ValidationError

from anomaly_bench.base.errors import ConfigError

from .schema import RunConfig, SlurmConfig

LOGGERS = ("csv", "wandb", "tensorboard", "mlflow")


def check_values(configs: Iterable[RunConfig]) -> None:
    """Raises ConfigError naming the key, its value and what was expected. What several configs share is checked once."""
    checked = set[int]()
    for config in configs:
        _check_ranges(config, "", checked)
        _check("logger", config.logger, config.logger in LOGGERS, f"one of {', '.join(LOGGERS)}")
        if isinstance(config.engine, SlurmConfig):
            _check_slurm(config, config.engine)


def _check_slurm(config: RunConfig, engine: SlurmConfig) -> None:
    devices = config.trainer.devices
    fits = engine.gpus in (0, devices)
    _check("engine.gpus", engine.gpus, fits, f"as many as trainer.devices={devices}, or 0")
    _check("jobs", config.jobs, config.jobs <= 1, f"engine.at_once={config.jobs} in its place with engine=slurm")
    _check("engine.notice", engine.notice, engine.notice < 60 * engine.time, "seconds, fewer than the time limit")


def _check(key: str, value: Any, fits: bool, expected: str) -> None:
    if not fits:
        raise ConfigError(f"{key}={value}: expected {expected}")


@cache
def _adapter(schema: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(schema)


def _allowed(schema: type[Any], key: str) -> str:
    """The whole range of a number, as its annotations say it; empty for what has none."""
    hint = get_type_hints(schema, include_extras=True)[key]
    bounds = {Gt: "greater than {0.gt}", Ge: "no less than {0.ge}", Lt: "less than {0.lt}", Le: "no more than {0.le}"}
    texts = [bounds[type(bound)].format(bound) for bound in getattr(hint, "__metadata__", ()) if type(bound) in bounds]
    return "expected a number " + " and ".join(texts).replace("less than inf", "finite") if texts else ""


def _check_ranges(config: Any, prefix: str, checked: set[int]) -> None:
    """Of a dataclass and of those in it whose ids are not among the checked ones."""
    schema: Any = type(config)
    for group, part in vars(config).items():
        if is_dataclass(part) and id(part) not in checked:
            checked.add(id(part))
            _check_ranges(part, f"{prefix}{group}.", checked)
    try:
        _adapter(schema).validate_python(vars(config))
    except ValidationError as error:
        problem = error.errors()[0]
        name, *inside = problem["loc"]
        said = re.sub("^(Input should be|List should have)", "expected", problem["msg"]).partition(" after valid")[0]
        expected = _allowed(schema, str(name)) or re.sub("^expected (?=greater|less)", "expected a number ", said)
        in_list = f" in a list, {prefix}{name}=[a,b]" if inside else ""
        raise ConfigError(f"{prefix}{name}={getattr(config, str(name))}: {expected}{in_list}") from error
