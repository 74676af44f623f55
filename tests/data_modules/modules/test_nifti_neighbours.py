"""Slices with those beside them in the volume, and volumes of several slices."""

import re

import numpy as np
import pytest
import torch

from data_modules.base.errors import DataError
from tests.helpers.data.nifti_slices import module


@pytest.mark.parametrize("storage", ["float16", "uint8"])
def test_slices_come_with_their_neighbours_in_the_volume_whatever_step_and_brain(brats_root, cache, storage):
    plain = module(brats_root, cache, slice_step=2, storage=storage)
    data = module(brats_root, cache, slice_step=2, context=1, storage=storage)
    every = module(brats_root, cache, min_foreground=1e-9)  # all slices, each an image of its own
    assert data.fingerprint == plain.fingerprint
    assert data.image_shape == plain.image_shape == (1, 16, 16)
    whole = every.store.batch(np.arange(len(every.store)))
    places = zip(whole["subject"].tolist(), whole["slice"].tolist(), strict=True)
    images = dict(zip(places, whole["image"][:, 0], strict=True))
    for got, flat in zip(data.test_dataloader(), plain.test_dataloader(), strict=True):
        for key in flat:
            expected = got[key][:, 1:2] if key == "image" else got[key]
            assert torch.equal(flat[key], expected), key
        for s, n, image in zip(got["subject"].tolist(), got["slice"].tolist(), got["image"], strict=True):
            for side, place in ((-1, 0), (1, 2)):
                beside = images.get((s, n + side), images[s, n])
                assert storage == "uint8" or torch.equal(
                    image[place], beside
                )  # 8 bits are spread over the images alone


def test_no_normal_image_has_an_anomaly_beside_it_but_in_the_test(brats_root, cache):
    data = module(brats_root, cache, context=1)
    slices = zip(data.store.subject.tolist(), data.store.slice.tolist(), strict=True)
    labelled = {place for place, normal in zip(slices, data.store.normal, strict=True) if not normal}
    beside = 0
    for loader, hidden in ((data.train_dataloader(), True), (data.test_dataloader(), False)):
        for batch in loader:
            for s, n, image in zip(batch["subject"].tolist(), batch["slice"].tolist(), batch["image"], strict=True):
                if (s, n + 1) in labelled and (s, n) not in labelled:
                    beside += 1
                    assert torch.equal(image[2], image[1]) == hidden
    assert beside > 1


def test_neighbours_are_augmented_as_the_slice_in_the_middle_is(brats_root, cache):
    flip = {"flip": {"use": "RandFlipd", "prob": 1.0, "spatial_axis": 1}}
    plain, flipped = (module(brats_root, cache, context=1, augment=augment) for augment in ({}, flip))
    before, after = (next(iter(data.train_dataloader())) for data in (plain, flipped))
    assert torch.equal(after["image"], before["image"].flip(3))
    assert torch.equal(after["foreground"], before["foreground"].flip(3))


@pytest.mark.parametrize("step", [1, 2])
def test_volumes_are_of_the_same_slices_each_of_which_counts_once(brats_root, cache, step):
    plain, data = (module(brats_root, cache, slice_step=step, **depth) for depth in ({}, {"depth": 3}))
    assert data.fingerprint == plain.fingerprint
    assert data.image_shape == (1, 3, 16, 16)
    assert re.search(
        r"; as volumes of 3 slices: \d+ train, \d+ normal and \d+ anomalous val, \d+ test", data.describe()
    )
    every = plain.store.batch(np.arange(len(plain.store)))
    images = dict(
        zip(zip(every["subject"].tolist(), every["slice"].tolist(), strict=True), every["image"], strict=True)
    )
    pairs = [
        (plain.test_dataloader(), data.test_dataloader()),
        *zip(plain.val_dataloader(), data.val_dataloader(), strict=True),
        (plain.normal_dataloader(10**6), data.normal_dataloader(10**6)),
    ]
    shared = 0
    for slices, volumes in pairs:
        flat = {key: torch.cat([batch[key] for batch in slices]) for key in every}
        found = {key: torch.cat([batch[key] for batch in volumes]) for key in every}
        counting = found["foreground"].flatten(3).any(3)[:, 0]
        shared += int((~counting).sum())
        assert not found["mask"][:, 0][~counting].any()
        for key in ("image", "mask", "foreground", "region_weight"):
            assert torch.equal(found[key].transpose(1, 2)[counting], flat[key]), key
        assert torch.equal(found["slice"][counting], flat["slice"])
        assert torch.equal(found["subject"][:, None].expand(-1, 3)[counting], flat["subject"])
        for subject, numbers, volume in zip(found["subject"].tolist(), found["slice"], found["image"], strict=True):
            assert {*numbers.diff().tolist()} <= {step, 0}
            for place, number in enumerate(numbers.tolist()):
                assert torch.equal(volume[:, place], images[subject, number])
    assert shared > 3


def test_no_volume_to_train_on_has_an_anomalous_slice_and_each_is_augmented_as_one(brats_root, cache):
    flip = {"flip": {"use": "RandFlipd", "prob": 1.0, "spatial_axis": 1}}
    plain, flipped = (module(brats_root, cache, depth=3, augment=augment) for augment in ({}, flip))
    store = plain.store
    slices = zip(store.subject.tolist(), store.slice.tolist(), store.normal.tolist(), strict=True)
    normal = {(subject, number) for subject, number, fine in slices if fine}
    for before, after in zip(plain.train_dataloader(), flipped.train_dataloader(), strict=True):
        places = zip(before["subject"].tolist(), before["slice"].tolist(), strict=True)
        assert {(subject, number) for subject, numbers in places for number in numbers} <= normal
        assert torch.equal(after["image"], before["image"].flip(4))
        assert torch.equal(after["foreground"], before["foreground"].flip(4))


def test_volumes_have_no_other_neighbours(brats_root, cache):
    with pytest.raises(
        DataError, match=r"dataset\.depth=3, dataset\.context=1: .*; set dataset\.context=0, or dataset"
    ):
        module(brats_root, cache, depth=3, context=1)
