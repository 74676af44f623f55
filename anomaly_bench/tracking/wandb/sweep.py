"""A grid of runs as a W&B sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import yaml  # type: ignore[import-untyped]

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.compose import parse
from anomaly_bench.config.grid import load_grid
from anomaly_bench.config.schema import RunConfig
from anomaly_bench.tracking.names import goal
from leaderboard.record import METRICS

Space = dict[str, dict[str, Any]]


def sweep_yaml(
    overrides: Sequence[str], objective: str, config_dirs: Sequence[str] = (), space: Space | None = None
) -> tuple[str, int]:
    """The YAML of the sweep, and how many runs it has: the lists among the overrides become its parameters.

    objective: val/elbo, or val/<predictor>/<metric or criterion>. space: of `read_space`, which Bayesian search draws from
    then, without an end: 0 runs. Raises ConfigError for overrides or an objective that do not fit.
    """
    configs, varied, fixed = load_grid(overrides), {}, []
    for override in parse(overrides):
        if override.is_sweep_override():
            texts = override.sweep_string_iterator()
            varied[str(override.key_or_group)] = {"values": [yaml.safe_load(text) for text in texts]}
        elif override.key_or_group != "logger":  # which is W&B's below
            fixed.append(str(override.input_line))
    if space is not None:
        if varied:
            raise ConfigError(f"{min(varied)}: a list beside --space; put it into the space")
        varied = {key: _parameter(axis) for key, axis in space.items()}
    runs = 0 if space is not None else math.prod(len(one["values"]) for one in varied.values())
    if space is None and (not varied or runs != len(configs)):
        raise ConfigError(
            f"these overrides list {runs} runs and make {len(configs)}; give every list here, as in model.beta=1,4 "
            "'seed=range(3)', as an experiment's own lists are not the sweep's"
        )
    folders = [text for folder in config_dirs for text in ("--config-dir", folder)]
    document = {
        "name": ", ".join(varied),
        "method": "grid" if space is None else "bayes",
        "metric": {"name": objective, "goal": _goal(objective, configs[0])},
        "parameters": varied,
        "command": ["${env}", "anomaly-bench", "run", *folders, *fixed, "logger=wandb", "${args_no_hyphens}"],
    }
    return yaml.safe_dump(document, sort_keys=False), runs


def _parameter(axis: dict[str, Any]) -> dict[str, Any]:
    """An axis of a space as W&B has it."""
    if "values" in axis:
        return {"values": axis["values"]}
    ends = {"min": axis["low"], "max": axis["high"]}
    if axis["step"]:
        return ends | {"distribution": "q_uniform", "q": axis["step"]}
    if axis["log"]:
        return ends | {"distribution": "log_uniform_values"}
    return ends | {"distribution": "int_uniform" if isinstance(axis["low"], int) else "uniform"}


def _goal(objective: str, config: RunConfig) -> str:
    part, _, rest = objective.partition("/")
    predictor, _, metric = rest.rpartition("/")
    if objective == "val/elbo":
        return "maximize"
    if part == "val" and predictor in config.predictors.members and metric in config.selection.criteria:
        return "maximize"
    known = (*METRICS, *config.localization.metrics)
    if part == "val" and predictor in config.predictors.members and metric in known:
        return f"{goal(metric)}imize"
    raise ConfigError(
        f"--objective {objective}: expected val/elbo, or val/<predictor>/<metric or criterion> such as val/rec_l1/ap, "
        "val/rec_l1/synthetic_ap"
    )
