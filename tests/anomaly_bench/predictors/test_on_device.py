"""Every shipped predictor on a device that the host does not wait for, in the deterministic mode that a run is in."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from anomaly_bench.predictors import Evidence, filters, frozen
from anomaly_bench.predictors.suite import suite_of
from tests.helpers.fake_device import OnDevice, fake_device, moved
from tests.helpers.small_vae import blobs, images, trained

# whose loops ask the device whether they are done, and which images are
WAITING = ("projection", "restoration", "intensity_equalised")
SAME = ("_negative", "_sum", "_level2", "_wide", "grad_kl_smoothgrad", "_l2")  # as another is for a device


@pytest.fixture(scope="module")
def suite():
    suite = suite_of("extended")
    fewer = {name: replace(rule, noise_samples=2) for name, rule in suite.single.items() if rule.noise_samples}
    return suite.finishing(fewer)


@pytest.fixture(scope="module")
def image():
    torch.manual_seed(0)
    return blobs(images(3))


def maps_of(suite, evidence, names):
    unfinished = suite.unfinished(evidence, names)
    signed = {name: unfinished[name] for name in names if suite.single[name].signed != "signed"}
    return {name: score for name, (score, _) in (unfinished | suite.finished(signed, evidence)).items()}


@pytest.mark.slow
def test_maps_are_those_of_the_cpu_and_nobody_waits_for_those_of_one_pass(suite, image, monkeypatch):
    monkeypatch.setattr(filters, "smoothed", filters.weighted_window)  # as a device does
    foreground = torch.ones_like(image[:, :1], dtype=torch.bool)
    names = [name for name in suite.single if not name.startswith(WAITING) and not name.endswith(SAME)]
    assert len(names) > 15
    with frozen(trained()):
        expected = maps_of(suite, Evidence(trained(), image, foreground), names)
    with fake_device() as device:
        model = moved(copy.deepcopy(trained()))
        with frozen(model):
            found = maps_of(suite, Evidence(model, OnDevice(image), OnDevice(foreground)), names)
        assert not device.waits
    for name in names:
        torch.testing.assert_close(found[name].inner, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["projection", "restoration", "intensity_equalised"])
def test_iterative_ones_give_the_maps_of_the_cpu(suite, image, name):
    rule = suite.single[name]
    rule = replace(rule, iterations=3) if rule.iterative else rule
    foreground = torch.ones_like(image[:, :1], dtype=torch.bool)
    with frozen(trained()):
        expected = rule.unfinished(Evidence(trained(), image, foreground))
    with fake_device():
        model = moved(copy.deepcopy(trained()))
        with frozen(model):
            found = rule.unfinished(Evidence(model, OnDevice(image), OnDevice(foreground)))
    assert torch.equal(found.inner, expected)
