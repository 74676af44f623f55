"""The engine that trains runs at once: which it takes together, and its sweep from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from anomaly_bench.base.identity import Identity
from anomaly_bench.config.grid import load_grid
from anomaly_bench.sweep.engines.fused import groups
from anomaly_bench.sweep.job import Job


@pytest.mark.parametrize(
    ("keys", "sizes"),
    [
        (["seed=0,1", "model.beta=1,4", "model.lr=1e-3,1e-4"], [8]),
        (["seed=range(5)", "engine.together=2"], [2, 2, 1]),
        (["seed=0,1", "model.latent=4,8"], [2, 2]),
        (["trainer.patience=1,2", "trainer.batch_size=8,16"], [2, 2]),
    ],
)
def test_what_differs_in_numbers_of_its_own_is_trained_together(keys: list[str], sizes: list[int]) -> None:
    configs = load_grid(["engine=fused", *keys])
    jobs = [Job(config, Identity("", str(index), ""), 1.0) for index, config in enumerate(configs)]
    assert [len(group) for group in groups(jobs, configs[0].engine.together)] == sizes  # type: ignore[attr-defined]


def test_a_sweep_trains_its_runs_at_once_and_fails_alone(
    pictures_run: list[str], tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    keys = [
        *pictures_run,
        "engine=fused",
        "jobs=0",
        "predictors.only=[rec_l1]",
        "model.lr=1e-3,1e9",
        "model.variance=fixed",
    ]
    code, _, _ = cli("bench", *keys)
    runs = [folder for folder in (tmp_path / "runs").iterdir() if (folder / "config.yaml").exists()]
    assert code == 1
    assert sum((run / "result.json").exists() for run in runs) == 1
    (failure,) = (tmp_path / "runs").glob("*/failure.txt")
    assert "training diverged" in failure.read_text()
    assert all("trained together with 1 others" in (run / "run.log").read_text() for run in runs)
