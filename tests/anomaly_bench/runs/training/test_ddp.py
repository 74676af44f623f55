"""One training over two processes: the ELBO and metrics that a single process comes to, also after a kill."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from checkout import ROOT
from small_runs import tiles
from torch.utils.data import DataLoader, RandomSampler

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.grid import load_grid
from anomaly_bench.config.load import load_config
from anomaly_bench.runs.run import run
from anomaly_bench.runs.training import ddp as devices
from anomaly_bench.runs.training.ddp import shared
from anomaly_bench.sweep import plan as sweep_plan
from data_modules.base.errors import DataError


def loader(images, size):
    order = RandomSampler(range(images), generator=torch.Generator().manual_seed(3))
    return DataLoader(range(images), size, sampler=order, drop_last=True, collate_fn=list)


def test_the_processes_share_the_batches_of_an_epoch_and_draw_the_same_order_in_the_next():
    whole, parts = loader(23, 4), [shared(loader(23, 4), rank, 2) for rank in range(2)]
    for _ in range(3):
        batches = list(whole)
        dealt = [list(part) for part in parts]
        assert dealt == [[batches[0], batches[2]], [batches[1], batches[3]]]
    assert [len(part) for part in parts] == [2, 2]


def test_too_few_batches_for_the_devices_are_refused():
    with pytest.raises(DataError, match=r"trainer.devices=2: an epoch has but 1 batches; lower trainer.batch_size"):
        shared(loader(5, 4), 0, 2)


def test_devices_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match=r"trainer.devices=0: expected a number no less than 1"):
        load_config(["trainer.devices=0"])
    with pytest.raises(ConfigError, match=r"engine.gpus=1: expected as many as trainer.devices=2, or 0"):
        load_config(["trainer.devices=2", "engine=slurm", "engine.gpus=1"])


def test_more_devices_than_there_are_batches_or_cpus_are_refused_before_anything_is_trained(tmp_path, monkeypatch):
    small = [*tiles(tmp_path), f"out={tmp_path / 'runs'}", "trainer.devices=3"]
    monkeypatch.setattr(sweep_plan, "usable_cpus", lambda: 2)
    with pytest.raises(ConfigError, match=r"trainer.devices=3: expected at most a process for each of 2 CPUs"):
        sweep_plan.plan(load_grid(small), Reporter())
    monkeypatch.setattr(sweep_plan, "usable_cpus", lambda: 64)
    with pytest.raises(DataError, match=r"trainer.devices=3: an epoch has but 2 batches"):
        sweep_plan.plan(load_grid(small), Reporter())


def test_of_the_processes_that_end_it_is_the_killed_one_that_is_named():
    ranks = [SimpleNamespace(returncode=code) for code in (1, None, -9)]
    with pytest.raises(RuntimeError, match=r"process 2 of 3 of the training ended with exit code -9"):
        devices._check(ranks)


@pytest.mark.slow
def test_two_processes_train_as_one_with_batches_twice_as_large_also_when_they_are_killed_on_the_way(
    tmp_path, monkeypatch
):
    """An autoencoder draws no random numbers, and the mean of two batches' gradients is that of their union."""
    traps = tmp_path / "traps"
    traps.mkdir()
    monkeypatch.setenv("TRAPS", str(traps))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests/helpers'}")
    common = [
        *(
            *tiles(tmp_path),
            "model=ae",
            "model.use=killing.TrappedAE",
            "predictors.only=[rec_l1]",
            "localization.pictures=1",
        ),
        *(
            "localization.resamples=0",
            "localization.monitor_every=0",
            "trainer.max_epochs=4",
            "trainer.checkpoint_share=1",
        ),
        f"out={tmp_path / 'runs'}",
    ]
    one = run(load_config([*common, "trainer.batch_size=4"]))
    two = load_config([*common, "trainer.batch_size=2", "trainer.devices=2"])
    (traps / "fitted").touch()
    with pytest.raises(RuntimeError, match=r"process 0 of 2 of the training ended with exit code -9"):
        run(two)
    (trained,) = (path.parent for path in (tmp_path / "runs").glob("*/checkpoint.json"))
    result = run(two)
    single = next(path.parent for path in (tmp_path / "runs").glob("*/result.json") if path.parent != trained)
    assert result.training["epochs"] == one.training["epochs"] == 4
    assert result.training["best_elbo"] == pytest.approx(one.training["best_elbo"], rel=1e-5)
    for metric, measure in one.predictors["rec_l1"].test.items():
        assert result.predictors["rec_l1"].test[metric].value == pytest.approx(measure.value, abs=2e-3), metric
    assert (trained / "metrics.csv").read_text().count("\n") == (single / "metrics.csv").read_text().count("\n")
