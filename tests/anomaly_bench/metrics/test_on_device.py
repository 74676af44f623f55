"""Counting on a device that the host does not wait for: the same bits as on the CPU, in the deterministic mode of a run."""

from __future__ import annotations

import pytest
import torch

from anomaly_bench.metrics import LocalizationCurve, region_weight, top_k_mean
from anomaly_bench.metrics.bins import Histograms, any_order, score_codes, score_keys
from anomaly_bench.metrics.images import at_most, highest, mean_of_highest
from tests.helpers.fake_device import DEVICE, OnDevice, fake_device

PARTS = ("normal", "anomalous", "region", "tie")


def maps(images: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores with ties, ±0 and ±inf, masks, foregrounds (the last is empty) with NaN outside, and region weights."""
    generator = torch.Generator().manual_seed(seed)
    scores = (torch.randn(images, 1, 16, 12, generator=generator) * 8).round() / 8 + 0.3 * seed
    scores[0, 0, 0, :4] = torch.tensor([0.0, -0.0, float("inf"), float("-inf")])
    foreground = torch.rand(scores.shape, generator=generator) < 0.8
    foreground[-1] = False
    mask = torch.rand(scores.shape, generator=generator) < 0.2
    scores[~foreground & mask] = float("nan")
    return scores, mask, foreground, region_weight(mask)


@pytest.mark.parametrize("pivot", [None, 0.25])
@pytest.mark.parametrize("bits", [12, 20])
def test_histograms_are_those_of_the_cpu_and_nobody_waits_for_them(bits, pivot):
    batches = [maps(seed=seed) for seed in (0, 1)]
    home = LocalizationCurve(bits, pivot)
    for batch in batches:
        home.update(*batch)
    with fake_device() as device:
        curve = LocalizationCurve(bits, pivot).to(DEVICE)
        curve.update(*map(OnDevice, batches[0]))
        assert pivot is None or not device.waits  # where scores crowd, the first batch says
        device.waits.clear()
        for batch in batches[1:]:
            curve.update(*map(OnDevice, batch))
        assert not device.waits
        brought = curve.brought()
    assert float(brought.pivot) == float(home.pivot)
    for name in PARTS:
        assert torch.equal(getattr(brought, name), getattr(home, name)), name
    assert brought.compute() == home.compute()


def test_a_nan_is_told_of_when_the_curve_is_read():
    scores, mask, foreground, weight = maps()
    scores[foreground.nonzero()[:3].unbind(1)] = float("nan")
    with fake_device():
        curve = LocalizationCurve(12, 0.0).to(DEVICE)
        curve.update(*map(OnDevice, (scores, mask, foreground, weight)))
        with pytest.raises(ValueError, match="got 3 NaN in the foreground"):
            curve.brought()
        with pytest.raises(ValueError, match="got 3 NaN in the foreground"):
            curve.descending()


def test_pixels_count_the_same_in_any_order_and_with_torch_told_to_be_deterministic_afterwards():
    scores, mask, foreground, weight = (part.flatten() for part in maps(images=64))
    scores = scores.nan_to_num(0.0)
    found = []
    for order in (torch.arange(len(scores)), torch.randperm(len(scores), generator=torch.Generator().manual_seed(1))):
        histograms = Histograms.empty(2**8)
        for some in order.split(1000):
            bins, codes = score_keys(scores[some], 0.0, 8), score_codes(scores[some])
            inside = foreground[some]
            histograms.add(bins, codes, inside & ~mask[some], inside & mask[some], weight[some])
        found.append(histograms)
    for first, other in zip(*found, strict=True):
        assert torch.equal(first, other)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with any_order():
            assert not torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.125, 1.0])
def test_the_highest_scores_of_images_come_over_without_a_wait_and_give_the_same_means(share):
    scores, _, foreground, _ = maps(images=5)
    scores = scores.clamp(-2, 2).nan_to_num(0.0)
    seen = foreground.flatten(1).any(1)
    with fake_device() as device:
        top = highest(OnDevice(scores), OnDevice(foreground), at_most(scores[0].numel(), share))
        assert not device.waits
        top = top.cpu()[seen]
    means = mean_of_highest(top, foreground.flatten(1).sum(1)[seen], share)
    assert torch.equal(means, top_k_mean(scores[seen], foreground[seen], share))
