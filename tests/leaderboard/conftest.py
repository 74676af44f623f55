"""Runs to feed the leaderboard with."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from small_results import result

from leaderboard.results.run_arrays import RunArrays, run_of


@pytest.fixture(scope="session")
def make_run() -> Callable[..., RunArrays]:
    """`make_result`, as the leaderboard keeps it."""
    return lambda *arguments, **changes: run_of(result(*arguments, **changes))


@pytest.fixture(scope="session")
def make_sweep(make_run) -> Callable[..., list[RunArrays]]:
    """A function from the level of each predictor and the datasets' names, medical and natural in turn, to runs at two betas.

    A value is the predictor's level, higher on later datasets and lower for the higher beta, with normal noise that subjects
    and seeds have as well. `fields` are those of every predictor.
    """

    def sweep(
        levels: dict[str, float],
        datasets: list[str],
        seeds: int = 3,
        noise: float = 0.005,
        model: str = "vae",
        **fields: Any,
    ) -> list[RunArrays]:
        runs = []
        for (at, dataset), beta, seed in product(enumerate(datasets), (1.0, 4.0), range(seeds)):
            random = np.random.default_rng([at, int(beta), seed])
            predictors = {}
            for name, level in levels.items():
                value, validation, *subjects = (level + at / 100 - beta / 100 + noise * random.normal(size=9)).tolist()
                predictors[name] = {"value": value, "validation": validation, "subjects": subjects} | fields
            config = {"seed": seed, "dataset": {"domain": ("medical", "natural")[at % 2]}, "model": {"beta": beta}}
            identity = {"dataset": dataset, "family": dataset, "setting_id": f"setting{at}-{beta}", "model": model}
            runs.append(make_run(seed, predictors, beta=beta, config=config, **identity))
        return runs

    return sweep
