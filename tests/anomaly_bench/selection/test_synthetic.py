"""Anomalies are pasted where they say, visibly, and the same whatever comes beside them."""

import numpy as np
import pytest
import torch
from small_vae import images

from anomaly_bench.localization.tallies.batches import completed
from anomaly_bench.metrics import region_weight
from anomaly_bench.selection.synthetic import CHANGED, FAMILIES, SHARES, smooth_noise, spread, with_anomalies


def normal(count=8, subjects=None):
    torch.manual_seed(0)
    foreground = torch.zeros(count, 1, 32, 32, dtype=torch.bool)
    foreground[:, :, 4:28, 4:28] = True
    numbers = torch.arange(count) if subjects is None else torch.tensor(subjects)
    return completed({"image": images(count), "foreground": foreground, "subject": numbers})


def test_what_is_outside_the_mask_is_as_it_was_but_for_faint_edges_and_the_mask_is_what_has_changed():
    batch = normal(16)
    pasted, families = with_anomalies(batch, seed=3)
    assert families == [*FAMILIES] * 4
    inside = batch["foreground"]
    pixels = batch["image"].movedim(1, -1)[inside[:, 0]]
    visible = CHANGED * pixels.std(0, correction=0)[:, None, None]
    change = (pasted["image"] - batch["image"]).abs()
    assert torch.equal((change > visible).any(1, keepdim=True), pasted["mask"])
    assert not (pasted["mask"] & ~inside).any()
    assert not (change * ~inside).any()
    sizes = pasted["mask"].flatten(1).sum(1)
    assert sizes.min() >= 4
    assert sizes.max() <= 2 * SHARES[1] * 32 * 32
    assert torch.equal(pasted["region_weight"], region_weight(pasted["mask"]))
    after = pasted["image"].movedim(1, -1)[inside[:, 0]]
    assert pixels.min() <= after.min()
    assert after.max() <= pixels.max()


def test_an_image_s_anomaly_depends_on_its_place_and_the_seed_alone():
    pasted, again, other = (with_anomalies(normal(), seed)[0] for seed in (1, 1, 2))
    assert all(torch.equal(pasted[key], again[key]) for key in pasted)
    assert not torch.equal(pasted["mask"], other["mask"])


@pytest.mark.parametrize(("polarity", "sign"), [("bright", 1), ("dark", -1)])
def test_all_that_is_pasted_has_the_sign_that_anomalies_are_known_to_have(polarity, sign):
    batch = normal(24)
    pasted, families = with_anomalies(batch, polarity=polarity)
    assert len(families) == 24
    assert set(families) == set(FAMILIES)
    assert (sign * (pasted["image"] - batch["image"]) >= 0).all()


def test_a_patch_comes_from_another_subject():
    batch = normal(4, subjects=[0, 0, 0, 1])
    batch["image"][:3], batch["image"][3] = 0.2, 0.9
    pasted, families = with_anomalies(batch)
    assert families[0] == "patch"
    assert pasted["image"][0].max() > 0.2 + 0.3 * 0.7 / 2


def test_images_of_one_value_are_left_out():
    batch = normal(3)
    batch["image"][:] = 0.5
    pasted, families = with_anomalies(batch)
    assert families == []
    assert pasted["image"].shape == (0, 2, 32, 32)


def test_images_are_spread_evenly_over_all_that_come():
    def batches(count):
        for first in range(0, count, 3):
            numbers = torch.arange(first, min(first + 3, count))
            yield completed({"image": numbers.view(-1, 1, 1, 1).float(), "subject": numbers})

    assert spread([], 4) is None
    assert spread(batches(3), 4)["subject"].tolist() == [0, 1, 2]
    for count in (8, 50, 101):
        picked = spread(batches(count), 5)["subject"].numpy()
        assert len(picked) == 5
        assert np.diff(picked).min() >= count / 10
        assert picked[0] == 0
        assert picked[-1] >= 0.8 * (count - 1)


def test_noise_is_as_smooth_as_it_says():
    random = np.random.default_rng(0)
    noise = {scale: [smooth_noise((64, 48), scale, random) for _ in range(8)] for scale in (4, 16)}
    fine, coarse = (np.abs(np.diff(fields)).mean() for fields in noise.values())
    assert fine / coarse == pytest.approx(4, rel=0.3)
    assert smooth_noise((64, 48), 100, random).shape == (64, 48)


def test_an_anomaly_goes_through_the_neighbours_and_its_mask_is_that_of_the_middle():
    alone = normal()
    beside = {**alone, "image": torch.cat([alone["image"] + 0.01, alone["image"], alone["image"]], dim=1)}
    pasted, families = with_anomalies(beside, channels=2)
    change = (pasted["image"] - beside["image"]).abs()
    pixels = beside["image"].movedim(1, -1)[beside["foreground"][:, 0]]
    sd = pixels.std(dim=0, correction=0).view(-1, 1, 1)
    assert set(families) == set(FAMILIES)
    for at, family in enumerate(families):
        expected = (change[at] > 0.999 * CHANGED * sd)[2:4].any(0)
        assert torch.equal(expected & pasted["mask"][at, 0], pasted["mask"][at, 0])
        if family == "blob":
            torch.testing.assert_close(change[at, 2:4], change[at, 4:], atol=1e-4, rtol=0)


def test_an_anomaly_goes_through_the_slices_of_a_volume_and_counts_in_all_of_them():
    slices = normal()
    beside = torch.stack([slices["image"], slices["image"].flip(3), slices["image"].flip(2)], dim=2)
    foreground = slices["foreground"][:, :, None].repeat(1, 1, 3, 1, 1)
    foreground[:, :, 1] = False
    pasted, families = with_anomalies(completed({"image": beside, "foreground": foreground}))
    assert set(families) == set(FAMILIES)
    change = (pasted["image"] - beside).abs()
    assert not (change * ~foreground).any()
    sd = beside.movedim(1, -1)[foreground[:, 0]].std(dim=0, correction=0).view(-1, 1, 1, 1)
    assert torch.equal((change > CHANGED * sd).any(1, keepdim=True), pasted["mask"])
    assert (pasted["mask"][:, :, 0] & pasted["mask"][:, :, 2]).flatten(1).any(1).all()
    assert torch.equal(pasted["region_weight"], region_weight(pasted["mask"]))
