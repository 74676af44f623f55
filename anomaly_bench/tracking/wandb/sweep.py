"""A grid of runs as a W&B sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence

import yaml  # type: ignore[import-untyped]

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.compose import parse
from anomaly_bench.config.grid import load_grid
from anomaly_bench.config.schema import RunConfig
from anomaly_bench.tracking.names import goal
from leaderboard.record import METRICS


def sweep_yaml(overrides: Sequence[str], objective: str, config_dirs: Sequence[str] = ()) -> tuple[str, int]:
    """The YAML of the sweep, and how many runs it has: the lists among the overrides become its parameters.

    objective: val/elbo, or val/<predictor>/<metric>. Raises ConfigError for overrides or an objective that do not fit.
    """
    configs, varied, fixed = load_grid(overrides), {}, []
    for override in parse(overrides):
        if override.is_sweep_override():
            texts = override.sweep_string_iterator()
            varied[str(override.key_or_group)] = {"values": [yaml.safe_load(text) for text in texts]}
        else:
            fixed.append(str(override.input_line))
    runs = math.prod(len(one["values"]) for one in varied.values())
    if not varied or runs != len(configs):
        raise ConfigError(
            f"these overrides list {runs} runs and make {len(configs)}; give every list here, as in model.beta=1,4 "
            "'seed=range(3)', as an experiment's own lists are not the sweep's"
        )
    folders = [text for folder in config_dirs for text in ("--config-dir", folder)]
    document = {
        "name": ", ".join(varied),
        "method": "grid",
        "metric": {"name": objective, "goal": _goal(objective, configs[0])},
        "parameters": varied,
        "command": ["${env}", "anomaly-bench", "run", *folders, *fixed, "logger=wandb", "${args_no_hyphens}"],
    }
    return yaml.safe_dump(document, sort_keys=False), runs


def _goal(objective: str, config: RunConfig) -> str:
    part, _, rest = objective.partition("/")
    predictor, _, metric = rest.rpartition("/")
    if objective == "val/elbo":
        return "maximize"
    known = (*METRICS, *config.localization.metrics)
    if part == "val" and predictor in config.predictors.members and metric in known:
        return f"{goal(metric)}imize"
    raise ConfigError(f"--objective {objective}: expected val/elbo, or val/<predictor>/<metric> such as val/rec_l1/ap")
