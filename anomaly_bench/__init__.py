"""Unsupervised anomaly localization with VAEs and beta-VAEs: models, predictors, metrics, and the benchmark that compares them.

from anomaly_bench import BetaVAE, LocalizationCallback, Localizer

What is imported here is loaded when it is asked for: `import anomaly_bench` alone loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anomaly_bench.config.schema import LocalizationConfig
    from anomaly_bench.localization import LocalizationCallback, Localizer
    from anomaly_bench.metrics import LocalizationCurve
    from anomaly_bench.models import AE, CEVAE, VAE, BetaVAE
    from anomaly_bench.predictors import Ensemble, Evidence, Predictor, SubsetSearch

HOMES = {
    "AE": "models",
    "CEVAE": "models",
    "VAE": "models",
    "BetaVAE": "models",
    "Ensemble": "predictors",
    "Evidence": "predictors",
    "LocalizationCallback": "localization",
    "LocalizationConfig": "config.schema",
    "LocalizationCurve": "metrics",
    "Localizer": "localization",
    "Predictor": "predictors",
    "SubsetSearch": "predictors",
}
__all__ = [
    "AE",
    "CEVAE",
    "VAE",
    "BetaVAE",
    "Ensemble",
    "Evidence",
    "LocalizationCallback",
    "LocalizationConfig",
    "LocalizationCurve",
    "Localizer",
    "Predictor",
    "SubsetSearch",
]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(HOMES)
