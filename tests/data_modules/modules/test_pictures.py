import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import write_mvtec
from PIL import Image

from data_modules.base.config import NiftiConfig, PictureConfig, SplitConfig
from data_modules.base.errors import DataError
from data_modules.base.names import chosen_categories, dataset_category, dataset_name, normalised
from data_modules.cases.patterns import compile_pattern
from data_modules.cases.picture_paths import spells_out, subject_name
from data_modules.modules.pictures import PictureDataModule


def config_of(root, **changes):
    config = PictureConfig(
        name="tiles",
        kind="pictures",
        domain="natural",
        root=str(root),
        category="tile",
        train_normal=["{category}/train/good/{stem}.png"],
        test_normal=["{category}/test/good/{stem}.png"],
        anomalous=["{category}/test/{defect}/{stem}.png"],
        mask="{category}/ground_truth/{defect}/{stem}_mask.png",
        size=[16, 16],
        split=SplitConfig(val=0.2, holdout=0.3),
    )
    return replace(config, **changes)


def module(root, cache, **changes):
    data = PictureDataModule(config_of(root, **changes), cache_dir=cache, batch_size=8)
    data.prepare_data()
    data.setup()
    return data


def test_every_picture_is_used_once_and_training_is_normal(mvtec_root, cache):
    data = module(mvtec_root, cache)
    parts = {name: set(indices.tolist()) for name, indices in data.indices.items()}
    assert sum(len(part) for part in parts.values()) == len(data.store) == 34
    assert not any(batch["mask"].any() for batch in data.train_dataloader())
    assert all("train/good" in data.store.subjects[s] for b in data.train_dataloader() for s in b["subject"])
    assert all(bool(mask.any()) for batch in data.val_dataloader()[1] for mask in batch["mask"])
    assert all(batch["foreground"].all() for batch in data.test_dataloader())


def test_shuffling_follows_the_seed(mvtec_root, cache):
    def order(seed):
        data = module(mvtec_root, cache)
        data.seed = seed
        return [int(s) for batch in data.train_dataloader() for s in batch["subject"]]

    assert order(1) == order(1) != order(2)


def test_all_categories_or_one(mvtec_root, cache):
    write_mvtec(mvtec_root / "other", train=6, seed=1)
    assert len(module(mvtec_root, cache).store) == 34
    assert len(module(mvtec_root, cache, category=None).store) == 50
    with pytest.raises(DataError, match=r"dataset\.category=til; did you mean tile\? \(there are other, tile\)"):
        module(mvtec_root, cache, category="til")


def cases(root, cache, problems=None, **changes):
    data = PictureDataModule(config_of(root, **changes), cache_dir=cache)
    return data.find_cases() if problems is None else data.find_cases(problems.append)


def test_several_categories_are_chosen_by_a_list(mvtec_root, cache):
    for seed, category in enumerate(("other", "third")):
        write_mvtec(mvtec_root / category, train=6, seed=seed + 1)
    found = cases(mvtec_root, cache, category=["tile", "third"])
    assert {case.attributes["category"] for case in found} == {"tile", "third"}
    assert len(found) == 34 + 16
    with pytest.raises(DataError, match=r"dataset\.category=forth, oter; .*there are other, third, tile"):
        cases(mvtec_root, cache, category=["oter", "tile", "forth"])


def test_a_category_without_a_pattern_for_it_is_an_error(mvtec_root, cache):
    with pytest.raises(
        DataError, match=r"dataset\.category=tile: no pattern of tiles has \{category\}; set it to null"
    ):
        cases(
            mvtec_root,
            cache,
            train_normal=["tile/train/good/*.png"],
            test_normal=[],
            anomalous=["tile/test/squ*/*.png"],
        )


@pytest.mark.parametrize("category", [[], "", True, ["a", ["b"]], {"a": 1}, 1.5, 1e5])
def test_a_category_that_is_no_name_is_an_error(category):
    with pytest.raises(DataError, match=r"dataset\.category=.*: expected a name, a list of names"):
        chosen_categories(PictureConfig(name="x", category=category))


@pytest.mark.parametrize(
    ("category", "name"),
    [
        (None, "mvtec_ad"),
        ("bottle", "mvtec_ad_bottle"),
        (["bottle"], "mvtec_ad_bottle"),
        (["cable", "bottle", "cable"], "mvtec_ad_bottle+cable"),
        (7, "mvtec_ad_7"),
    ],
)
def test_a_dataset_is_called_by_its_categories(category, name):
    config = PictureConfig(name="mvtec_ad", category=category)
    assert dataset_name(config) == name
    assert dataset_category(config) == (name.removeprefix("mvtec_ad_") if category else None)


def test_a_dataset_of_volumes_has_no_category():
    config = NiftiConfig(name="brats")
    assert (dataset_name(config), dataset_category(config)) == ("brats", None)


def test_attributes_are_what_the_names_of_the_pattern_stand_for(mvtec_root, cache):
    known = {case.subject: case.attributes for case in cases(mvtec_root, cache)}
    assert known["tile/train/good/003.png"] == {"category": "tile"}
    assert known["tile/test/square/003.png"] == {"category": "tile", "defect": "square"}


def mask_of(case):
    """The single mask of a picture; None for a normal one."""
    (mask,) = case.masks.get("image", (None,))
    return mask


def test_pictures_without_a_mask_or_with_two_are_reported_and_left_out(mvtec_root, cache):
    truth = mvtec_root / "tile/ground_truth/square"
    (truth / "001_mask.png").unlink()
    (truth / "002_mask.png").with_suffix(".bmp").write_bytes((truth / "002_mask.png").read_bytes())
    (truth / "003_mask.png").rename(truth / "003_mask.bmp")
    mask = [f"{{category}}/ground_truth/{{defect}}/{{stem}}_mask.{suffix}" for suffix in ("png", "bmp")]
    problems: list[DataError] = []
    found = {
        case.subject: next(iter(case.masks.get("image", ())), None)
        for case in cases(mvtec_root, cache, problems, mask=mask)
    }
    assert "tile/test/square/001.png" not in found
    assert "tile/test/square/002.png" not in found
    assert found["tile/test/square/003.png"] == "tile/ground_truth/square/003_mask.bmp"
    missing, double = map(str, problems)
    assert f"001.png: its mask is missing, expected '{mask[0]}' or '{mask[1]}'; add it" in missing
    assert (
        "002.png: has the masks tile/ground_truth/square/002_mask.png and tile/ground_truth/square/002_mask.bmp"
        in double
    )
    one_pattern: list[DataError] = []
    assert "tile/test/square/002.png" not in {
        case.subject for case in cases(mvtec_root, cache, one_pattern, mask=mask[0].replace(".png", ".*"))
    }
    assert "both match" in str(one_pattern[-1])


@pytest.mark.parametrize(
    ("pattern", "path", "name"),
    [
        ("{category}/good/{stem}.png", "a/good/1.png", "a/good/1.png"),
        ("**/{category}/good/{stem}.png", "x/y/a/good/1.png", "a/good/1.png"),
        ("**/{stem}.png", "x/1.png", "1.png"),
        ("**/good/**/{stem}.png", "x/good/y/1.png", "x/good/y/1.png"),
    ],
)
def test_a_subject_is_called_by_the_path_that_its_pattern_fixes(pattern, path, name):
    assert compile_pattern(pattern).fullmatch(path)
    assert subject_name(pattern, path) == name


@pytest.mark.parametrize(
    ("normal", "anomalous", "wins"),
    [
        ("**/MT_Free/Imgs/{stem}.jpg", "**/MT_{defect}/Imgs/{stem}.jpg", True),
        ("{category}/test/good/{stem}.png", "{category}/test/{defect}/{stem}.png", True),
        ("good/{stem}.*", "{defect}/{stem}.png", True),
        ("good_{stem}.png", "{defect}_{stem}.png", True),
        ("*/{stem}.png", "bad/{stem}.png", False),
        ("**/{stem}.png", "bad/{defect}/{stem}.png", False),
        ("*/{stem}.png", "{defect}/{stem}.png", False),
        ("{kind}/{stem}.png", "{defect}/{stem}.png", False),
        ("**/ok_{stem}.png", "bad/{stem}.png", False),
        ("*/{stem}.png", "bad/{stem}.*", False),
    ],
)
def test_normal_patterns_win_where_they_spell_out_a_name_of_the_anomalous_ones(normal, anomalous, wins):
    assert spells_out(normal, anomalous) is wins


def flat(root, *names):
    """Pictures of 16 × 16 pixels, each of which would do as a mask too."""
    for index, name in enumerate(names):
        pixels = np.full((16, 16), index, np.uint8)
        pixels[4:8, 4:8] = 255
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name)


def flat_cases(root, cache, problems=None, **patterns):
    known = {"category": None, "train_normal": [], "test_normal": [], "mask": "{stem}_mask.png"} | patterns
    return {case.subject: case for case in cases(root, cache, problems, **known)}


def test_a_picture_that_is_normal_and_anomalous_is_told(tmp_path, cache):
    flat(tmp_path, "good/1.png", "bad/2.png", "masks/2.png")
    patterns = {"normal": ["good/{stem}.png"], "anomalous": ["bad/{stem}.png"], "mask": "masks/{stem}.png"}
    assert set(flat_cases(tmp_path, cache, **patterns)) == {"good/1.png", "bad/2.png"}
    with pytest.raises(
        DataError, match=r"bad/2\.png: is normal by '\*/{stem}\.png' and anomalous by 'bad/{stem}\.png'"
    ):
        flat_cases(tmp_path, cache, **patterns | {"normal": ["*/{stem}.png"]})


def test_a_mask_that_would_be_trained_on_is_told(tmp_path, cache):
    flat(tmp_path, "good/1.png", "bad/2.png", "good/2.png")
    patterns = {"normal": ["good/{stem}.png"], "anomalous": ["bad/{stem}.png"], "mask": "good/{stem}.png"}
    with pytest.raises(DataError, match=r"good/2\.png: is the mask of bad/2\.png and a normal picture as well; make"):
        flat_cases(tmp_path, cache, **patterns)
    flat_cases(tmp_path, cache, problems := [], **patterns)
    assert len(problems) == 1


def test_masks_may_lie_beside_their_pictures(tmp_path, cache):
    flat(tmp_path, "good/1.png", "good/1_mask.png", "bad/2.png", "bad/2_mask.png", "bad/3.png", "bad/3_mask.png")
    patterns = {"normal": ["good/{stem}.png"], "anomalous": ["bad/{stem}.png"], "mask": "**/{stem}_mask.png"}
    found = {
        name: next(iter(case.masks.get("image", ())), None)
        for name, case in flat_cases(tmp_path, cache, **patterns).items()
    }
    assert found == {"good/1.png": None, "bad/2.png": "bad/2_mask.png", "bad/3.png": "bad/3_mask.png"}


def test_a_file_name_that_is_not_utf_8_works(mvtec_root, cache):
    train = mvtec_root / "tile/train/good"
    (train / "003.png").rename(train / os.fsdecode(b"caf\xe9.png"))
    data = module(mvtec_root, cache)
    assert len(data.store) == 34
    assert os.fsdecode(b"tile/train/good/caf\xe9.png") in data.store.subjects


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"category": ["b", "a", "b"]}, {"category": ["a", "b"]}),
        ({"category": ["a"]}, {"category": "a"}),
        ({"anomalous_labels": [4, 1]}, {"anomalous_labels": [1, 4]}),
    ],
)
def test_settings_are_the_same_however_they_are_written(one, other):
    assert normalised(one) == normalised(other) == other
    assert normalised({"category": None, "anomalous_labels": None}) == {"category": None, "anomalous_labels": None}


def save_turned(path, pixels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


def test_a_picture_and_its_mask_are_turned_alike(mvtec_root, cache):
    rng = np.random.default_rng(3)
    pixels, mask = rng.integers(0, 256, (10, 16, 3)).astype(np.uint8), np.zeros((10, 16), np.uint8)
    mask[2:4, 9:15] = 255
    picture, truth = mvtec_root / "tile/test/square/002.png", mvtec_root / "tile/ground_truth/square/002_mask.png"
    data = PictureDataModule(config_of(mvtec_root, size=[16, 10]), cache_dir=cache)
    (case,) = (case for case in data.find_cases() if case.subject == "tile/test/square/002.png")
    for stored in (6, 1):  # a mask may be stored turned as its picture is, or as the picture is shown
        save_turned(picture, pixels, 6)
        save_turned(truth, mask if stored == 6 else np.rot90(mask, -1), stored)
        slices = data.read_case(case)
        np.testing.assert_array_equal(slices.mask[0, 0], np.rot90(mask, -1) > 0)
        np.testing.assert_allclose(slices.image[0].permute(1, 2, 0), np.rot90(pixels, -1) / 255, rtol=3e-7)
        assert slices.geometry == {"shape": [16, 10], "resized": [16, 10]}
    save_turned(truth, mask, 1)
    with pytest.raises(DataError, match=r"the mask has \(10, 16\) pixels.*has \(16, 10\), both turned as their EXIF"):
        data.read_case(case)


def test_a_picture_is_scaled_whatever_its_aspect_and_remembers_its_size(mvtec_root, cache):
    Image.fromarray(np.full((10, 30, 3), 51, np.uint8)).save(mvtec_root / "tile/train/good/000.png")
    slices = (data := PictureDataModule(config_of(mvtec_root), cache_dir=cache)).read_case(data.find_cases()[0])
    assert slices.subject == "tile/train/good/000.png"
    assert slices.geometry == {"shape": [10, 30], "resized": [16, 16]}
    torch.testing.assert_close(slices.image, torch.full((1, 3, 16, 16), 0.2))


def test_reading_in_many_threads_gives_what_reading_in_one_does(mvtec_root, cache):
    data = PictureDataModule(config_of(mvtec_root), cache_dir=cache)
    found = data.find_cases()
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(data.read_case, found * 4))
    for case, slices in zip(found * 4, together, strict=True):
        alone = data.read_case(case)
        assert torch.equal(alone.image, slices.image)
        assert torch.equal(alone.mask, slices.mask)


def lose_mask(root):
    (root / "tile/ground_truth/square/002_mask.png").unlink()


def shrink_mask(root):
    Image.fromarray(np.eye(12, dtype=np.uint8) * np.uint8(255)).save(root / "tile/ground_truth/square/002_mask.png")


def empty_mask(root):
    Image.new("L", (24, 24), 0).save(root / "tile/ground_truth/square/002_mask.png")


def truncate(root):
    path = root / "tile/train/good/003.png"
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose_mask, r"test/square/002\.png: its mask is missing"),
        (shrink_mask, r"002_mask\.png: the mask has \(12, 12\) pixels"),
        (empty_mask, r"002_mask\.png: the mask of an anomalous picture is empty"),
        (truncate, r"good/003\.png: cannot be read as a picture"),
    ],
)
def test_bad_pictures_are_named(mvtec_root, cache, damage, message):
    damage(mvtec_root)
    with pytest.raises(DataError, match=message):
        module(mvtec_root, cache)


def test_a_root_without_normal_or_anomalous_pictures_says_so(mvtec_root, cache):
    with pytest.raises(DataError, match="no normal picture fits"):
        module(mvtec_root / "tile", cache)
    with pytest.raises(DataError, match="no anomalous picture fits"):
        module(mvtec_root, cache, anomalous=["{category}/bad/{stem}.png"])
    (mvtec_root / "tile/ground_truth").rename(mvtec_root / "tile/elsewhere")
    reported = []
    data = PictureDataModule(config_of(mvtec_root), cache_dir=cache)
    with pytest.raises(DataError, match=r"none of 6 anomalous pictures has a mask .*; is dataset\.mask right\?"):
        data.find_cases(reported.append)
    assert len(reported) == 6


def test_masks_that_are_all_empty_are_no_matter_of_the_root(mvtec_root, cache):
    with pytest.raises(DataError, match=r"masks of all 6 .* are empty; lower dataset\.mask_threshold=1, or correct"):
        module(mvtec_root, cache, empty_mask_is_normal=True, mask_threshold=1.0)
    with pytest.raises(DataError, match=r"no picture .* anomalous pixel; lower dataset\.mask_threshold=1, or correct"):
        module(mvtec_root, cache, empty_mask_is_normal=True, mask_threshold=1.0, squares=True)


@pytest.mark.parametrize(
    ("anomalous", "mask", "message"),
    [
        (
            ["tile/test/square/{name}.png"],
            "tile/ground_truth/square/{stem}_mask.png",
            "{stem} of dataset.mask is not in dataset.anomalous, which names {name}; "
            "use the same names in 'tile/ground_truth/square/{stem}_mask.png' as in 'tile/test/square/{name}.png'",
        ),
        (
            ["tile/test/squ*/*.png", "nowhere/{stem}.png"],
            ["tile/{kind=a}{stem}_{defect}.png", "tile/{defect}/{stem}.png"],
            "{defect}, {stem} of dataset.mask are not in dataset.anomalous, which names nothing; "
            "use the same names in 'tile/{defect}/{stem}.png' as in 'tile/test/squ*/*.png'",
        ),
    ],
)
def test_a_name_of_masks_that_anomalous_pictures_lack_is_said_in_one_line(mvtec_root, cache, anomalous, mask, message):
    data = PictureDataModule(config_of(mvtec_root, anomalous=anomalous, mask=mask), cache_dir=cache)
    reported = []
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        data.find_cases(reported.append)
    assert reported == []


def test_a_pattern_that_lacks_the_names_of_masks_may_fit_no_picture(mvtec_root, cache):
    data = module(mvtec_root, cache, anomalous=["old/{name}.png", "{category}/test/{defect}/{stem}.png"])
    assert len(data.cases) == 34


@pytest.mark.parametrize("size", [[16], [4, 4], [16, 16, 3]])
def test_bad_sizes_are_refused(mvtec_root, cache, size):
    with pytest.raises(DataError, match=r"dataset\.size="):
        module(mvtec_root, cache, size=size)


@pytest.mark.parametrize(("key", "value", "none"), [("context", 1, "0"), ("depth", 4, "null")])
def test_pictures_have_no_neighbours(mvtec_root, cache, key, value, none):
    with pytest.raises(
        DataError, match=rf"dataset\.{key}={value}: .* holds pictures, which have no neighbouring slices; set {none}"
    ):
        module(mvtec_root, cache, **{key: value})
