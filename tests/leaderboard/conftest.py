"""Small results to feed the leaderboard with."""

from collections.abc import Callable
from typing import Any

import pytest

from leaderboard.record import METRICS, PIXELS, RunResult


def _predictor(value: float | None) -> dict[str, Any]:
    measure = {"value": value, "low": value, "high": value}
    subject = {"subject": "p1", "images": 3, "pixels": 100, "anomalous_pixels": 7, "dice": 0.5, "ap": None}
    test = dict.fromkeys(METRICS, measure)
    return {"test": test, "validation": {"dice": measure}, "subjects": [subject], "seconds_per_image": 0.25}


def _result(seed: int = 0, predictors: dict[str, float | None] | None = None, **changes: Any) -> RunResult:
    setting = changes.get("setting_id", "aaaa0000")
    provenance = {
        "created": "2026-01-02T03:04:05+00:00",
        "versions": {"torch": "2.8"},
        "git_revision": None,
        "source_digest": "s",
        "device": "cpu",
        "threads": 2,
        "data_fingerprint": "d",
        "split_digest": "p",
        "durations": {"fit": 1.5},
    }
    document = {
        "run_id": f"{setting}-{seed}",
        "setting_id": setting,
        "dataset": "tiny",
        "model": "vae",
        "beta": 1.0,
        "beta_normalised": 0.1,
        "seed": seed,
        "config": {"seed": seed, "model": {"latent": 16}},
        "provenance": provenance | changes.pop("provenance", {}),
        "training": {"epochs": 3, "best_epoch": 2, "elbo": -12.5, "stopped": None},
        "pixels": PIXELS,
        "predictors": {name: _predictor(value) for name, value in (predictors or {"grad_kl": 0.9}).items()},
    }
    return RunResult.model_validate(document | changes)


@pytest.fixture(scope="session")
def make_result() -> Callable[..., RunResult]:
    """A function from seed, {predictor: value of all its metrics} and changed fields to a valid result."""
    return _result
