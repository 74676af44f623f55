"""How many images are localized at once, and where a run's images come from."""

from __future__ import annotations

import pytest
import torch

from anomaly_bench.config.load import load_config
from anomaly_bench.runs import data as module
from anomaly_bench.runs.data import evaluation_batch, place_data


@pytest.mark.parametrize(
    ("device", "given", "shape", "expected"),
    [
        ("cpu", [], (1, 64, 64), 16),
        ("cpu", ["localization.batch_size=5"], (1, 64, 64), 5),
        ("cuda", [], (1, 64, 64), 1024),
        ("cuda", [], (3, 1024, 1024), 16),
        ("cuda", ["localization.batch_size=7"], (1, 64, 64), 7),
    ],
)
def test_as_many_images_are_localized_at_once_as_pay(monkeypatch, device, given, shape, expected):
    monkeypatch.setattr(module, "device_of", lambda config: device)
    assert evaluation_batch(load_config(given), shape) == expected


@pytest.mark.parametrize(("given", "asked"), [("true", "hold"), ("null", "place"), ("false", None)])
def test_the_store_is_held_as_the_config_says(given, asked):
    class Data:
        seen = None

        def hold(self, device) -> None:
            self.seen = "hold"

        def place(self, device) -> None:
            self.seen = "place"

    data = Data()
    place_data(load_config([f"trainer.hold_data={given}"]), data, torch.device("cpu"))
    assert data.seen == asked
