"""The predictors of a run: those of its config that its model and its data can have."""

from __future__ import annotations

from anomaly_bench.config.schema import RunConfig
from anomaly_bench.models import VAE
from anomaly_bench.predictors import Suite, build_suite
from anomaly_bench.predictors.possible import possible
from data_modules.modules.base import AnomalyDataModule


def suite_of_run(config: RunConfig, model: VAE, data: AnomalyDataModule) -> tuple[Suite, dict[str, str]]:
    """The suite of a run, and by name why rows are left out.

    Raises ConfigError for a row that the config names and that cannot be had.
    """
    sign_known = data.polarity is not None or len(data.indices["val_anomalous"]) > 0
    suite, left_out = possible(build_suite(config.predictors), model, config.predictors.only or (), sign_known)
    return suite, left_out


def told(left_out: dict[str, str]) -> str:
    """A line on what is left out."""
    return f"left out: {'; '.join(f'{name} ({why})' for name, why in left_out.items())}"
