"""The passes of localization on a device that nobody waits for: the numbers of the CPU, with few waits."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from msgspec.structs import replace

from anomaly_bench.config.schema import LocalizationConfig
from anomaly_bench.localization.localizer import Localizer
from anomaly_bench.localization.passes import count, fresh, prepare, settle
from anomaly_bench.localization.tallies.surroundings import Surroundings
from anomaly_bench.localization.tallies.tally import NotANumberError
from anomaly_bench.metrics import region_weight
from anomaly_bench.metrics.transfers import Fetch, together
from anomaly_bench.predictors import Ensemble, Suite, filters
from anomaly_bench.predictors.suite import suite_of
from data_modules.base.batch import AnomalyBatch
from tests.helpers.fake_device import DEVICE, OnDevice, fake_device, moved
from tests.helpers.small_vae import blobs, images, trained

CONFIG = LocalizationConfig(bits=12, smoothing=[0.0, 2.0], fpr=0.05)


@cache
def suite() -> Suite:
    return suite_of({"rec_l1": "rec_l1", "grad_kl": "grad_kl", "both": Ensemble(["rec_l1", "grad_kl"], "probit")})


def batches(count: int, anomalous: bool, first: int = 0) -> list[AnomalyBatch]:
    """Batches of four images, two of a subject; of anomalous ones, half. The foreground lacks a corner, or all of one image."""
    made = []
    for number in range(first, first + count):
        image = images(4)
        mask = torch.zeros_like(image[:, :1], dtype=torch.bool)
        if anomalous:
            image[::2] = blobs(image[::2])
            mask[::2, :, 12:18, 12:18] = True
            mask[0, 0, 30, 3] = mask[0, 0, 2, 29] = True
        foreground = torch.ones_like(mask)
        foreground[:, :, :5, :7] = False
        foreground[3] = number % 2 == 0
        subject = torch.tensor([0, 0, 1, 1]) + 2 * number
        numbers = torch.tensor([0, 1, 0, 1])
        made.append(
            AnomalyBatch(
                image=image,
                mask=mask,
                foreground=foreground,
                region_weight=region_weight(mask),
                subject=subject,
                slice=numbers,
            )
        )
    return made


@pytest.fixture(scope="module")
def data():
    torch.manual_seed(3)
    return batches(1, anomalous=False), batches(1, anomalous=True, first=2), batches(2, anomalous=True, first=4)


def there(some):
    return [{key: OnDevice(value) for key, value in batch.items()} for batch in some]


def passes(model, normal, anomalous, test):
    """What all passes give: the validation, and the tallies of the test with how much was waited for while it went on."""
    localizer = Localizer(model, suite())
    validation = prepare(localizer, normal, anomalous, CONFIG)
    tallies = fresh(localizer.pivots, CONFIG, validation.thresholds, device=localizer.counting)
    for batch in test:
        count(tallies, localizer.maps_there(batch), batch)
    return validation, tallies


def test_a_device_gives_the_numbers_of_the_cpu(data, monkeypatch):
    monkeypatch.setattr(filters, "smoothed", filters.weighted_window)  # as a device does
    normal, anomalous, test = data
    expected_validation, expected = passes(copy.deepcopy(trained()), normal, anomalous, test)
    with fake_device() as device:
        given = [there(part) for part in data]
        validation, tallies = passes(moved(copy.deepcopy(trained())), *given)
        device.waits.clear()
        settle(tallies)
    assert validation.thresholds == expected_validation.thresholds
    assert validation.measures == expected_validation.measures
    names = {number: str(number) for number in range(20)}
    attributes = {number: {} for number in names}
    for name, tally in tallies.items():
        assert tally.curve.device.type == "cpu"
        for part in ("normal", "anomalous", "region", "tie"):
            assert torch.equal(getattr(tally.curve, part), getattr(expected[name].curve, part)), (name, part)
        assert tally.scores == expected[name].scores
        made, known = (one.result({}, names, attributes, resamples=20) for one in (tally, expected[name]))
        assert replace(made, seconds_per_image=known.seconds_per_image) == known, name


def test_nobody_waits_for_the_maps_of_a_test(data):
    normal, anomalous, _ = data
    with fake_device() as device:
        localizer = Localizer(moved(copy.deepcopy(trained())), suite())
        validation = prepare(localizer, there(normal), there(anomalous), CONFIG)
        tallies = fresh(localizer.pivots, CONFIG, validation.thresholds, device=localizer.counting)
        test = there(batches(2, anomalous=True))
        device.waits.clear()
        seen = Surroundings()
        for batch in test:
            with localizer.evidence(batch) as evidence:
                maps = localizer.all_maps(evidence)
                count(tallies, maps, batch)
                seen.update(evidence.error.mean(1, keepdim=True), batch["mask"], batch["foreground"])
        assert not device.waits
        settle(tallies)
        in_all = device.waits.total()
        more = fresh(localizer.pivots, CONFIG, validation.thresholds, device=localizer.counting)
        for batch in [*test, *test]:
            count(more, localizer.maps_there(batch), batch)
        device.waits.clear()
        settle(more)
        assert device.waits.total() == in_all  # twice the images, the same waits


def test_a_nan_is_told_of_with_its_subject_when_the_pass_ends(data):
    *_, test = data
    score = torch.rand(4, 1, 32, 32)
    score[2, 0, 8, 8] = float("nan")
    with fake_device():
        tallies = fresh({"mine": 0.0}, CONFIG, {"mine": 5}, device=DEVICE)
        count(tallies, {"mine": (OnDevice(score), 0.0)}, there(test)[0])
        with pytest.raises(NotANumberError, match="mine: its map of subject 9, slice 0 holds NaN"):
            settle(tallies)


def test_tensors_come_over_in_one_copy_as_they_were():
    parts = [
        torch.rand(3, 2),
        torch.tensor([True, False, True]),
        torch.arange(5),
        torch.rand(2, dtype=torch.float64),
        torch.zeros(0),
    ]
    parts.append(torch.tensor(7))
    with fake_device() as device:
        there = [OnDevice(part) for part in parts]
        came = together(there)
        assert device.waits == {"to host": 1}
        later = Fetch(there)
        assert device.waits == {"to host": 1}
        for given, *found in zip(parts, came, later.get(), strict=True):
            for one in found:
                assert type(one) is torch.Tensor
                assert one.dtype == given.dtype
                assert torch.equal(one, given)
    assert all(one is given for one, given in zip(together(parts), parts, strict=True))
