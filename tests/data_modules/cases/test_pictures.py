"""Every shipped picture dataset reads a small copy of its layout."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from anomaly_bench.config.load import load_config
from data_modules.base.config import AboutConfig, PictureConfig
from data_modules.base.errors import DataError
from data_modules.base.options.folders import config_dir
from data_modules.cases.pictures import find_pictures
from tests.helpers.data.picture_layouts import (
    LAYOUTS,
    SIDE,
    Copy,
    kolektor_sdd,
    kolektor_sdd_sorted,
    module,
    mpdd,
    mvtec_ad_2,
    visa,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_layout_is_found_and_read_exactly(tmp_path, cache, name):
    write, overrides = LAYOUTS[name]
    copy = write(tmp_path / name)
    data = module(name, copy.root, cache, *overrides)
    cases = {case.subject: case for case in data.find_cases()}
    assert {subject: (case.pool, case.attributes) for subject, case in cases.items()} == {
        subject: (pool, attributes) for subject, (pool, _, attributes) in copy.expected.items()
    }
    for subject, (_, mask, _) in copy.expected.items():
        slices = data.read_case(cases[subject])
        with Image.open(copy.root / cases[subject].images["image"]) as stored:
            pixels = np.asarray(stored.convert("RGB" if data.config.color else "L"), np.float32) / 255
        np.testing.assert_array_equal(slices.image[0].permute(1, 2, 0), pixels.reshape(SIDE, SIDE, -1))
        np.testing.assert_array_equal(slices.mask[0, 0], np.zeros((SIDE, SIDE), bool) if mask is None else mask)
        assert slices.geometry == {"shape": [SIDE, SIDE], "resized": [SIDE, SIDE]}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_layout_is_divided_as_its_pools_say(tmp_path, cache, name):
    write, overrides = LAYOUTS[name]
    copy = write(tmp_path / name)
    data = module(name, copy.root, cache, *overrides)
    data.prepare_data()
    data.setup()
    allowed = {"any": {"train", "val", "test"}, "train": {"train", "val"}, "val": {"val"}, "test": {"val", "test"}}
    for part, subjects in data.split.items():
        for subject in subjects:
            pool, mask, _ = copy.expected[subject]
            assert part in allowed[pool]
            assert mask is None or part != "train"
    test = list(data.test_dataloader())
    assert sum(int(batch["mask"].sum()) for batch in test) == sum(
        int(mask.sum()) for subject in data.split["test"] if (mask := copy.expected[subject][1]) is not None
    )


@pytest.mark.parametrize("name", ["btad", "mpdd"])
def test_the_split_does_not_depend_on_which_folder_is_the_root(tmp_path, cache, name):
    write, overrides = LAYOUTS[name]
    write(tmp_path / name)
    (inner,) = (tmp_path / name).iterdir()
    split = []
    for root in (tmp_path / name, inner, tmp_path):
        data = module(name, root, cache, *overrides)
        data.prepare_data()
        split.append((data.split_digest, data.fingerprint))
    assert split[0] == split[1] == split[2]


def test_two_copies_under_one_root_are_reported(tmp_path, cache):
    for copy in ("a", "b"):
        mpdd(tmp_path / copy)
    with pytest.raises(DataError, match=r"a/MPDD/bracket_black/.*000\.png and b/MPDD/.* are both bracket_black/"):
        module("mpdd", tmp_path, cache).find_cases()


@pytest.mark.parametrize("override", ["salt=a", "salt=b", "salt=c", "folds=2"])
def test_the_validation_of_mvtec_ad_2_is_the_official_one(tmp_path, cache, override):
    copy = mvtec_ad_2(tmp_path)
    data = module("mvtec_ad_2", copy.root, cache, f"dataset.split.{override}")
    data.prepare_data()
    official = {subject for subject in copy.expected if "validation/good" in subject}
    assert official <= set(data.split["val"])
    assert override == "folds=2" or official == set(data.split["val"])
    assert set(data.split["train"]) == {subject for subject in copy.expected if "train/good" in subject}


def test_the_lights_of_one_object_stay_together(tmp_path, cache):
    data = module("mvtec_ad_2", mvtec_ad_2(tmp_path).root, cache, "dataset.split.holdout=0.5", "dataset.split.salt=b")
    data.prepare_data()
    assert any("test_public" in subject for subject in data.split["val"])
    objects = {part: {s[: s.index("_", s.rindex("/"))] for s in data.split[part]} for part in data.split}
    assert not objects["val"] & objects["test"]


def test_visa_without_its_official_split(tmp_path, cache):
    root = visa(tmp_path).root
    (root / "split_csv/1cls.csv").unlink()
    with pytest.raises(
        DataError, match=r"no file fits dataset\.official_split=\*\*/split_csv/1cls\.csv.*set it to null"
    ):
        module("visa", root, cache).find_cases()
    cases = module("visa", root, cache, "dataset.official_split=null").find_cases()
    assert [case.pool for case in cases] == ["any"] * 14 + ["test"] * 3


def test_pictures_that_the_official_split_does_not_name_are_reported(tmp_path, cache):
    copy = visa(tmp_path)
    copy.picture("candle/Data/Images/Normal/0099.JPG", "any")
    problems: list[DataError] = []
    cases = module("visa", copy.root, cache).find_cases(problems.append)
    assert len(cases) == 17
    (problem,) = problems
    assert "0099.JPG: dataset.official_split=**/split_csv/1cls.csv says nothing about it" in str(problem)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("candle,valid,normal,a.JPG,", r"1cls\.csv, line 2: image is a\.JPG, split valid"),
        ("x", "line 2: image is None"),
    ],
)
def test_an_official_split_that_says_something_else_is_an_error(tmp_path, cache, line, message):
    root = visa(tmp_path).root
    (root / "split_csv/1cls.csv").write_text(f"object,split,label,image,mask\n{line}\n")
    with pytest.raises(DataError, match=message):
        module("visa", root, cache).find_cases()


def test_the_masks_of_kolektor_sdd_decide_what_is_normal(tmp_path, cache):
    root = kolektor_sdd(tmp_path).root
    (root / "kos03/Part1_label.bmp").write_bytes(b"BM")
    (root / "kos04/Part5_label.bmp").unlink()
    problems: list[DataError] = []
    cases = module("kolektor_sdd", root, cache).find_cases(problems.append)
    assert sorted(case.pool for case in cases) == ["any"] * 31 + ["test"] * 7
    damaged, missing = sorted(map(str, problems))
    assert "kos03/Part1_label.bmp: cannot be read" in damaged
    assert "kos04/Part5.jpg: its mask is missing, expected '**/{item}/Part{stem}_label.bmp'" in missing


def test_any_patterns_may_be_given_on_the_command_line(tmp_path, cache):
    copy = Copy(tmp_path)
    for index in range(8):
        copy.picture(f"a/ok/{index}.png", "any", part="a")
    copy.anomaly("a/ko/hole/1.png", "m/a/hole/1_gt.png", part="a", kind="hole")
    patterns = ['dataset.normal=["{part}/ok/{stem}.png"]', 'dataset.anomalous=["{part}/ko/{kind}/{stem}.png"]']
    data = module("folder", tmp_path, cache, *patterns, 'dataset.mask="m/{part}/{kind}/{stem}_gt.png"')
    found = {case.subject: (case.pool, case.attributes) for case in data.find_cases()}
    assert found == {subject: (pool, attributes) for subject, (pool, _, attributes) in copy.expected.items()}


def test_every_picture_dataset_says_what_it_is_and_is_tested():
    tested = {*LAYOUTS, "fashion_mnist", "tiny_texture", "rsdds", "bmad_image_level"}
    for path in (config_dir() / "dataset").glob("*.yaml"):
        if "kind: pictures" not in path.read_text():
            continue
        config = load_config([f"dataset={path.stem}"]).dataset
        assert isinstance(config, PictureConfig)
        assert config.name == path.stem in tested
        if path.stem == "folder":
            continue
        about = config.about
        assert isinstance(about, AboutConfig)
        assert all((about.title, about.homepage, about.citation, about.licence))
        assert about.access in ("embedded", "free", "licence", "registration")
        assert about.access == "embedded" or about.steps or about.downloads
        for download in about.downloads:
            assert download.url.startswith("http")
            assert len(download.sha256 or "") == 64 or len(download.md5 or "") == 32


def test_the_squares_of_a_rail_stay_together_and_its_defects_are_not_trained_on(tmp_path, cache):
    rng, top = np.random.default_rng(0), tmp_path / "Type-I RSDDs dataset"
    for name in ("Rail surface images", "GroundTruth"):
        (top / name).mkdir(parents=True)
    for rail in range(1, 13):
        pixels, mask = rng.integers(0, 256, (100, 16)).astype(np.uint8), np.zeros((100, 16), np.uint8)
        mask[50:56, 4:9] = 255
        Image.fromarray(pixels).save(top / f"Rail surface images/rail_{rail}.jpg")
        Image.fromarray(mask).save(top / f"GroundTruth/rail_{rail}.jpg")
    data = module("rsdds", tmp_path, cache)
    data.setup()
    slices = data.read_case(data.cases[0])
    assert slices.image.shape == (7, 1, SIDE, SIDE)  # 6 squares of 16 rows, and the last 16 rows once more
    assert slices.mask.flatten(1).any(1).tolist() == [False, False, False, True, False, False, False]
    with Image.open(data.cases[0].files[0]) as stored:
        np.testing.assert_array_equal(slices.image[6, 0], np.asarray(stored, np.float32)[84:] / 255)
    assert len(data.indices["train"]) == 6 * len(data.split["train"])
    assert len(data.indices["val_anomalous"]) == len(data.split["val"])
    assert len(data.indices["test"]) == 7 * len(data.split["test"])


def test_the_pictures_of_a_subject_go_to_one_split(tmp_path, cache):
    copy = Copy(tmp_path)
    for rail in range(12):
        for row in range(3):
            copy.picture(f"good/t1_rail{rail:03d}_row{row:02d}.png", "any", grey=True)
        copy.anomaly(f"defect/t1_rail{rail:03d}_row10.png", f"defect_masks/t1_rail{rail:03d}_row10.png")
    data = module("rsdds", tmp_path, cache)
    data.setup()
    assert [case.subject for case in data.cases] == [f"rail{rail:03d}" for rail in range(12)]
    assert list(data.cases[0].images.values())[-1] == "good/t1_rail000_row02.png"
    assert all(len(case.images) == 4 and len(case.masks) == 1 for case in data.cases)
    assert len(data.indices["train"]) == 3 * len(data.split["train"])
    assert len(data.indices["test"]) == 4 * len(data.split["test"])


def test_a_set_that_does_not_say_where_anomalies_are_is_refused(tmp_path, cache):
    for name in ("train/good/1.png", "test/good/1.png", "test/Ungood/1.png"):
        Copy(tmp_path).save(f"Chest_AD/Chest-RSNA/{name}", np.zeros((SIDE, SIDE), np.uint8))
    with pytest.raises(DataError, match=r"bmad_image_level says which pictures are anomalous, not where"):
        module("bmad_image_level", tmp_path, cache).find_cases()


def test_a_root_of_another_layout_says_what_is_there(tmp_path, cache):
    copy = kolektor_sdd_sorted(tmp_path)
    with pytest.raises(
        DataError, match=r"no normal picture fits .*; there are defect/, defect_masks/, good/, groups\.csv"
    ):
        module("bmad", copy.root, cache).find_cases()


def test_tiles_of_one_type_of_rail_are_not_taken_for_the_other(tmp_path, cache):
    copy = Copy(tmp_path)
    for rail in range(3):
        copy.picture(f"good/t1_rail{rail:03d}_row00.png", "any", grey=True)
        copy.anomaly(f"defect/t1_rail{rail:03d}_row10.png", f"defect_masks/t1_rail{rail:03d}_row10.png")
    with pytest.raises(DataError, match=r"no picture for dataset\.category=Type-II; .*Type-I"):
        module("rsdds", tmp_path, cache, "dataset.category=Type-II").find_cases()
    cases = module("rsdds", tmp_path, cache).find_cases()
    assert [(case.attributes, len(case.masks)) for case in cases] == [({"category": "Type-I"}, 1)] * 3


@pytest.mark.parametrize("category", ["Chest", "Histopathology", "Retina_OCT2017"])
def test_a_category_with_image_labels_alone_is_named(tmp_path, cache, category):
    with pytest.raises(DataError, match=f"{category}: this set has image labels alone.*bmad_image_level"):
        module("bmad", tmp_path, cache, f"dataset.category={category}").find_cases()


def test_a_wrong_root_of_busi_is_all_that_is_said(tmp_path, cache):
    copy = kolektor_sdd_sorted(tmp_path)
    said: list[DataError] = []
    with pytest.raises(DataError, match=r"no normal picture fits .*is dataset\.root right"):
        find_pictures(module("busi", copy.root, cache).config, copy.root, said.append)
    assert said == []
