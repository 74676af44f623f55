"""The test images of the pictures are the same where they are looked at a batch late."""

from __future__ import annotations

import torch

from anomaly_bench.localization.cases import LateCases
from data_modules.base.batch import AnomalyBatch
from tests.helpers.fake_device import OnDevice, fake_device


def test_a_device_shows_the_cases_of_the_cpu_and_nobody_waits_for_a_map():
    generator = torch.Generator().manual_seed(0)
    home, late = (LateCases(3, {number: f"s{number}" for number in range(9)}) for _ in range(2))
    with fake_device() as device:
        for first in range(0, 24, 4):
            image, score = (torch.rand(4, 1, 8, 8, generator=generator) for _ in range(2))
            mask = torch.rand(image.shape, generator=generator) < 0.1
            subject = torch.arange(4) + first // 8
            batch = AnomalyBatch(
                image=image,
                mask=mask,
                foreground=torch.ones_like(mask),
                region_weight=mask.float(),
                subject=subject,
                slice=torch.arange(4),
            )
            home.take(batch, first, image, {"mine": score}, "mine")
            there = {name: OnDevice(part) for name, part in batch.items()}
            device.waits.clear()
            late.take(there, first, OnDevice(image), {"mine": OnDevice(score)}, "mine")
            assert first or not device.waits
        found = late.samples()
    expected = home.samples()
    assert len(expected) == 3
    for one, other in zip(found, expected, strict=True):
        assert (one.caption, one.rank, one.ap) == (other.caption, other.rank, other.ap)
        assert torch.equal(one.maps["mine"], other.maps["mine"])
        assert torch.equal(one.mask, other.mask)
