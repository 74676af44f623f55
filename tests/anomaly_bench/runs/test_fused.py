"""Runs trained at once: the numbers that they have alone, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.grid import load_grid
from anomaly_bench.models import BetaVAE
from anomaly_bench.runs.fused import check_fusable, train_together
from anomaly_bench.runs.run import run
from anomaly_bench.sweep.job import Job
from anomaly_bench.sweep.plan import plan

FAST = [
    "predictors.only=[rec_l1]",
    "localization.monitor_every=0",
    "selection.criteria=[]",
    "trainer.checkpoint_share=1",
]


class Stopping(Reporter):
    """Ends the training after its second epoch; checkpoints are written as an epoch begins."""

    def note(self, text: str) -> None:
        if text.startswith("epoch 2,"):
            raise KeyboardInterrupt


def jobs_of(run_keys: list[str], out: Path, *keys: str) -> list[Job]:
    return plan(load_grid([*run_keys, *FAST, *keys, f"out={out}"]), Reporter()).jobs


def planned(jobs: list[Job]) -> list[Any]:
    return [(job.config, job.identity) for job in jobs]


def test_runs_trained_at_once_have_the_numbers_that_they_have_alone(pictures_run: list[str], tmp_path: Path) -> None:
    keys = [
        "model.beta=1,4",
        "trainer.max_epochs=3",
        "model.masks=2",
        "dataset.augment.flip={use: RandFlipd, prob: 0.5}",
    ]
    alone, together = (jobs_of(pictures_run, tmp_path / name, *keys) for name in ("alone", "together"))
    together[1] = replace(together[1], config=replace(together[1].config, seed=0))
    with pytest.raises(KeyboardInterrupt):
        train_together(planned(together), Stopping())
    assert list((together[0].folder).glob("epoch_*.ckpt"))  # from which it goes on
    assert train_together(planned(together), Reporter()) == {}
    random = [torch.load(job.folder / "fitted.ckpt", weights_only=True)["random"] for job in together]
    assert torch.equal(random[0]["torch"], random[1]["torch"])  # of the same seed
    elbos = []
    for one, other in zip(alone, together, strict=True):
        expected, found = run(one.config), run(other.config)
        assert found.run_id == expected.run_id
        assert list(found.curve) == list(expected.curve)
        for name in ("train/loss", "train/kl", "train/beta", "val/elbo", "val/kl", "train/lr"):
            assert found.curve[name] == pytest.approx(expected.curve[name], rel=1e-3), name
        auroc, own = (result.predictors["rec_l1"].test["auroc"].value for result in (expected, found))
        assert own == pytest.approx(auroc, abs=0.005)
        elbos.append(found.training["best_elbo"])
    assert elbos[0] != pytest.approx(elbos[1], rel=1e-3)  # each has its own beta


def test_each_run_ends_by_itself_and_what_is_trained_is_left_alone(pictures_run: list[str], tmp_path: Path) -> None:
    jobs = jobs_of(pictures_run, tmp_path / "out", "trainer.max_epochs=1,2", "seed=0,1")
    assert train_together(planned(jobs), Reporter()) == {}
    fitted = [job.folder / "fitted.ckpt" for job in jobs]
    assert sorted(torch.load(path, weights_only=True)["training"]["epochs"] for path in fitted) == [1, 1, 2, 2]
    before = [path.stat().st_mtime_ns for path in fitted]
    train_together(planned(jobs), Reporter())
    assert [path.stat().st_mtime_ns for path in fitted] == before


class OwnStep(BetaVAE):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("trainer.devices=2", "trainer.devices=2"),
        ("trainer.precision=16-mixed", "trainer.precision=16-mixed"),
        ("model.use=mine.OwnStep", "model.use=mine.OwnStep: OwnStep has a training_step of its own"),
        ("model.network=mine.dropping", "model.network=mine.dropping: engine=fused cannot train several"),
    ],
)
def test_what_cannot_be_trained_at_once_is_refused(key: str, named: str) -> None:
    (config,) = load_grid(["engine=fused", key])
    model = (OwnStep if "use" in key else BetaVAE)((1, 16, 16), channels=(4, 8), latent=4)
    if "network" in key:
        model.encoder = nn.Sequential(nn.Dropout(0.5), model.encoder)
    with pytest.raises(ConfigError) as raised:
        check_fusable(config, model)
    assert str(raised.value).startswith(named)
    assert "engine=local" in str(raised.value)


@pytest.mark.parametrize("network", ["conv", "vit", "graph", "hierarchical", "convnext", "residual", "conv3d"])
def test_the_networks_can_be_trained_at_once(network: str) -> None:
    (config,) = load_grid(["engine=fused"])
    shape = (1, 2, 32, 32) if network == "conv3d" else (1, 32, 32)
    check_fusable(config, BetaVAE(shape, channels=(8, 8), latent=4, network=network, attention=2))
