"""What a run takes at the least is less than what it takes, and what there is is what the control group lets it have."""

import os
from dataclasses import replace

import pytest
import torch

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.load import load_config
from anomaly_bench.models import build_model
from anomaly_bench.runs.identity import name_run
from anomaly_bench.sweep import memory
from anomaly_bench.sweep.job import Job
from anomaly_bench.sweep.memory import KEPT, SHARE, Need, Weight, available, check_memory, limits, need_of, weigh
from anomaly_bench.sweep.plan import _at_once

GIB = 2**30
SHAPE = (1, 64, 64)


@pytest.mark.parametrize("option", ["vae", "ae", "gamma_vae", "zimmerer", "residual"])
def test_a_model_weighs_what_it_has_and_no_more_than_training_keeps(option):
    config = load_config([f"model={option}"]).model
    weight = weigh(config, SHAPE)
    model = build_model(config, SHAPE)
    assert weight.parameters == sum(one.numel() for one in model.parameters())
    own, kept = {one.data_ptr() for one in model.parameters()}, {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.training_terms(torch.rand(4, *SHAPE))["loss"].sum()
    really = sum(count for place, count in kept.items() if place not in own) / 4
    assert 0.6 * really < SHARE * weight.features < 1.05 * really


def test_a_network_of_ones_own_that_needs_numbers_is_not_weighed(monkeypatch):
    config = load_config([]).model
    monkeypatch.setattr(memory, "build_model", lambda *_: torch.zeros(3).tolist())
    assert weigh(config, SHAPE) is None


def test_what_the_machine_has_not_is_refused_with_the_key_that_takes_most(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda _: 8 * GIB)
    config = load_config(["trainer.batch_size=64", "trainer.hold_data=true"])

    def check(config, weight, images, slices=0):
        check_memory(config, need_of(config, weight, SHAPE, images, slices))

    check(config, Weight(GIB / 4 / KEPT, GIB / 64 / 4 / SHARE), images=100, slices=1000)  # 1 + 1 GiB
    for weight, slices, said in (
        (Weight(8 * GIB / 4 / KEPT, 0), 0, "model.latent=64, model.channels=[16, 32, 64, 64], dataset.size=[64, 64]: "),
        (Weight(0, 8 * GIB / 64 / 4 / SHARE), 0, "trainer.batch_size=64, dataset.size=[64, 64]: "),
        (Weight(0, 0), GIB // 1024 + 1, "trainer.hold_data=true, dataset.size=[64, 64]: "),
    ):
        with pytest.raises(
            ConfigError, match=r"a run takes at least 8\.0 GiB of memory .*, there is 8\.0 GiB"
        ) as caught:
            check(config, weight, 100, slices)
        assert str(caught.value).startswith(said)
    check(config, Weight(0, 8 * GIB / 64 / 4 / SHARE), images=7)  # a batch is no larger than the data
    half = load_config(["trainer.batch_size=64", "trainer.precision=bf16-mixed"])
    check(half, Weight(0, 8 * GIB / 64 / 4 / SHARE), images=100)


@pytest.mark.parametrize(
    ("settings", "done", "devices", "counted"),
    [
        (["jobs=3"], 0, 0, 3),
        (["jobs=9"], 2, 0, 4),  # no more than are still to do
        (["jobs=0"], 0, 0, 1),
        (["jobs=4"], 0, 2, 1),  # one on each GPU
        (["jobs=4", "engine.runs_per_device=3"], 0, 2, 2),
        (["engine=fused"], 0, 0, 6),
        (["engine=fused", "engine.together=4"], 0, 0, 4),
        (["engine=slurm", "engine.mem_gb=1"], 0, 0, 0),
    ],
)
def test_runs_at_once_are_added_up(monkeypatch, tmp_path, settings, done, devices, counted):
    monkeypatch.setattr(memory, "available", lambda _: 7 * GIB / 2)
    config = load_config([*settings, f"out={tmp_path}"])
    jobs = [Job(one := replace(config, seed=seed), name_run(one, "0" * 12), 1.0) for seed in range(6)]
    at_once = _at_once(jobs[done:], {"0" * 12: Need(model=GIB)}, devices)
    assert len(at_once) == counted
    if counted > 3:
        key = "engine.together=" if "engine=fused" in settings else "jobs=9: 4 runs at once take at least 4.0 GiB"
        with pytest.raises(ConfigError, match=rf"^{key}.* of memory, there is 3\.5 GiB; lower it, or what each"):
            check_memory(jobs[0].config, Need(), at_once)
    else:
        check_memory(jobs[0].config, Need(), at_once)


def test_what_there_is(monkeypatch, tmp_path):
    has = available(load_config([]))
    assert GIB // 8 < has <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert available(load_config(["engine=slurm", "engine.mem_gb=1.5"])) == 3 * GIB // 2
    assert available(load_config(["engine=slurm"])) is None
    monkeypatch.setattr(memory, "limits", lambda: [GIB // 16])
    assert available(load_config([])) == GIB // 16


@pytest.mark.parametrize(
    ("line", "folder", "name"),
    [("0::/a/b", "", "memory.max"), ("7:cpu,memory:/a/b", "memory", "memory.limit_in_bytes")],
)
def test_limits_of_all_control_groups_above_a_process_count(tmp_path, line, folder, name):
    groups, root = tmp_path / "cgroup", tmp_path / "sys" / folder
    groups.write_text(f"1:cpuset:/other\n{line}\n")
    (root / "a/b").mkdir(parents=True)
    (root / "a/b" / name).write_text("max\n")
    (root / "a" / name).write_text("1000\n")
    (root / name).write_text("2000\n")
    assert sorted(limits(groups, tmp_path / "sys")) == [1000, 2000]
    assert limits(tmp_path / "missing", tmp_path) == []
