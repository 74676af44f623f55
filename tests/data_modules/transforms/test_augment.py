import pytest
import torch
from fakes import pictures_config, volumes_config

from data_modules.base.errors import DataError
from data_modules.modules.nifti import NiftiDataModule
from data_modules.modules.pictures import PictureDataModule
from data_modules.transforms.augment import build_augment

FLIP = {"use": "RandFlipd", "prob": 0.5, "spatial_axis": 1}
NOISE = {"use": "RandGaussianNoised", "prob": 1.0, "std": 0.1}
AFFINE = {"use": "RandAffined", "prob": 1.0, "rotate_range": 0.5, "translate_range": [3, 3], "padding_mode": "zeros"}


def batch(seed=0, count=6):
    generator = torch.Generator().manual_seed(seed)
    foreground = torch.zeros(count, 1, 20, 24, dtype=torch.bool)
    foreground[:, :, 4:17, 6:15] = True
    image = (torch.rand(count, 2, 20, 24, generator=generator) + 0.5) * foreground
    return {
        "image": image,
        "mask": torch.zeros_like(foreground),
        "foreground": foreground,
        "region_weight": torch.zeros(count, 1, 20, 24),
        "subject": torch.arange(count),
        "slice": torch.arange(count),
    }


def test_an_empty_mapping_is_no_augmentation():
    assert build_augment({}, 0) is None
    assert build_augment({"flip": None}, 0) is None


def test_an_image_and_its_foreground_are_flipped_together_each_in_its_own_way():
    before, after = batch(), build_augment({"flip": FLIP}, 0)(batch())
    flipped = []
    for index in range(6):
        image, mirrored = before["image"][index], before["image"][index].flip(2)
        flipped.append(torch.equal(after["image"][index], mirrored))
        assert flipped[-1] or torch.equal(after["image"][index], image)
        expected = before["foreground"][index].flip(2) if flipped[-1] else before["foreground"][index]
        assert torch.equal(after["foreground"][index], expected)
    assert True in flipped
    assert False in flipped


@pytest.mark.parametrize("entry", [NOISE, AFFINE, {"use": "RandAdjustContrastd", "prob": 1.0}])
def test_images_stay_zero_outside_a_foreground_that_stays_bool(entry):
    before, after = batch(), build_augment({"a": entry}, 0)(batch())
    assert not torch.equal(after["image"], before["image"])
    assert after["foreground"].dtype == torch.bool
    assert after["image"].dtype == torch.float32
    assert type(after["image"]) is type(after["foreground"]) is torch.Tensor
    assert not (after["image"] * ~after["foreground"]).any()
    moves = entry is AFFINE
    assert torch.equal(after["foreground"], before["foreground"]) != moves
    assert after["foreground"].any(-1).any(-1).all()
    for key in ("mask", "region_weight", "subject", "slice"):
        assert torch.equal(after[key], before[key])


def test_noise_has_the_given_strength_inside():
    before, after = batch(count=40), build_augment({"noise": {**NOISE, "sample_std": False}}, 0)(batch(count=40))
    inside = before["foreground"].expand_as(before["image"])
    assert (after["image"] - before["image"])[inside].std() == pytest.approx(0.1, rel=0.05)


def test_the_seed_decides_and_batches_differ():
    mapping = {"flip": FLIP, "noise": NOISE, "affine": AFFINE}
    first, same, other = (build_augment(mapping, seed) for seed in (3, 3, 4))
    one, again, different = (augment(batch())["image"] for augment in (first, same, other))
    assert torch.equal(one, again)
    assert not torch.equal(one, different)
    second = first(batch())["image"]
    assert not torch.equal(second, one)
    assert torch.equal(second, same(batch())["image"])


def test_the_given_batch_is_left_as_it_is():
    given = batch()
    build_augment({"flip": {**FLIP, "prob": 1.0}, "noise": NOISE}, 0)(given)
    for key, value in batch().items():
        assert torch.equal(given[key], value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"use": "RandFlip"}, r"dataset\.augment\.x\.use=RandFlip: no such.*did you mean RandFlipd\?"),
        ({"use": "RandFlipd", "probb": 1}, r"dataset\.augment\.x\.probb: .*did you mean prob\?"),
        ({"use": "Flipd"}, r"dataset\.augment\.x: Flipd is not random; put it in dataset\.preprocess"),
        ({"use": "RandFlipd", "keys": ["label"]}, r"dataset\.augment\.x\.keys: there is no label"),
    ],
)
def test_a_wrong_entry_is_named(entry, message):
    with pytest.raises(DataError, match=message):
        build_augment({"x": entry}, 0)


def test_another_size_is_refused():
    crop = {"use": "RandSpatialCropd", "roi_size": [8, 8], "random_size": False}
    with pytest.raises(DataError, match=r"dataset\.augment\.x: RandSpatialCropd makes \(2, 8, 8\) of the image's"):
        build_augment({"x": crop}, 0)(batch())


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"use": "RandFlipd", "prob": 0.5, "spatial_axis": 5}, r"dataset\.augment\.x \(RandFlipd\) failed"),
        ({"use": "RandFlipd", "prob": 1.5}, r"dataset\.augment\.x\.prob=1\.5: expected a probability from 0 to 1"),
        ({"use": "RandZoomd", "min_zoom": 1.2, "max_zoom": 0.9}, r"min_zoom=1\.2 is not below max_zoom=0\.9"),
        ({"use": "RandSpatialCropd", "roi_size": [8, 8], "random_size": False}, "training images must keep their size"),
    ],
)
def test_an_entry_that_fails_does_so_when_the_module_is_built(entry, message, tmp_path):
    for kind, config in ((NiftiDataModule, volumes_config), (PictureDataModule, pictures_config)):
        with pytest.raises(DataError, match=message):
            kind(config(tmp_path, augment={"x": entry}), cache_dir=tmp_path)
