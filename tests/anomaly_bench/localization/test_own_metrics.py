"""A tally counts the metrics of a user's own beside ours, and adds them up over processes."""

import pickle

import pytest
import torch

from anomaly_bench.config.schema import LocalizationConfig
from anomaly_bench.localization.passes import count, fresh
from anomaly_bench.metrics import region_weight
from leaderboard.record import METRICS


def batch(at):
    generator = torch.Generator().manual_seed(at)
    mask = torch.rand(2, 1, 8, 8, generator=generator) > 0.8
    return {
        "image": torch.rand(2, 1, 8, 8, generator=generator) + 0.4 * mask,
        "mask": mask,
        "foreground": torch.rand(2, 1, 8, 8, generator=generator) > 0.2,
        "region_weight": region_weight(mask),
        "subject": torch.tensor([0, 1]),
        "slice": torch.arange(2),
    }


def tally(batches):
    own = {
        "half_fpr": lambda curve: curve.fpr_at_tpr(0.5),
        "again": "torchmetrics.classification.BinaryAveragePrecision",
    }
    (found,) = fresh({"mine": 0.5}, LocalizationConfig(bits=16, metrics=own), {"mine": 9}).values()
    for at in batches:
        images = batch(at)
        count({"mine": found}, {"mine": (images["image"] / 2, 0.1)}, images)
    return found


def test_own_metrics_come_after_ours_in_every_record():
    found = tally(range(3))
    measures = found.measures()
    assert set(list(measures)[:-2]) == set(METRICS)
    assert list(measures)[-2:] == ["half_fpr", "again"]
    assert measures["half_fpr"].value == found.curve.fpr_at_tpr(0.5).value
    assert measures["half_fpr"].low <= measures["half_fpr"].value <= measures["half_fpr"].high
    assert measures["again"].value == pytest.approx(measures["ap"].value, abs=0.01)
    result = found.result(measures, ["a", "b"], [{"sex": "f"}, {"sex": "m"}], 20)
    assert result.own_metrics == ["half_fpr", "again"]
    assert set(result.test) == {*METRICS, "half_fpr", "again"}
    assert set(result.groups["sex"]["f"]) <= set(METRICS)
    assert result.test["again"].ci_low is None


def test_what_several_processes_counted_adds_up(monkeypatch):
    parts = [tally(range(2)), tally(range(2, 5))]

    def gather(found, own):
        found[:] = pickle.loads(pickle.dumps(parts))

    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    monkeypatch.setattr("torch.distributed.all_gather_object", gather)
    whole = tally(range(5)).measures()
    for process in parts:
        found = process.gathered().measures()
        assert found["half_fpr"] == whole["half_fpr"]
        assert found["again"].value == pytest.approx(whole["again"].value)
