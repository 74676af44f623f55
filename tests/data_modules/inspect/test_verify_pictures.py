"""Pictures and masks that are damaged, twice there or may mean something else are told."""

import shutil

import numpy as np
import pytest
from fakes import pictures_config
from PIL import Image

from data_modules.base.config import SplitConfig
from data_modules.inspect.findings import ERROR, NOTE, WARNING
from data_modules.inspect.verify import verify
from data_modules.modules.pictures import PictureDataModule
from tests.helpers.data.problems import only

pytestmark = pytest.mark.usefixtures("small_splits_are_fine")


def pictures(root, cache, **changes):
    return PictureDataModule(pictures_config(root, **changes), cache_dir=cache)


def shrink_mask(root):
    Image.fromarray(np.eye(12, dtype=np.uint8) * np.uint8(255)).save(root / "tile/ground_truth/square/002_mask.png")


def empty_mask(root):
    Image.new("L", (24, 24), 0).save(root / "tile/ground_truth/square/002_mask.png")


PICTURE_DAMAGES = {
    "missing": (lambda root: (root / "tile/ground_truth/square/002_mask.png").unlink(), "its mask is missing"),
    "shrunk": (shrink_mask, "the mask has (12, 12) pixels"),
    "empty": (empty_mask, "the mask of an anomalous picture is empty"),
    "damaged": (
        lambda root: (root / "tile/test/square/002.png").write_bytes(
            (root / "tile/test/square/002.png").read_bytes()[:60]
        ),
        "cannot be read as a picture",
    ),
}


@pytest.mark.parametrize("damage", PICTURE_DAMAGES)
def test_each_damaged_picture_is_one_error(mvtec_root, cache, damage):
    spoil, what = PICTURE_DAMAGES[damage]
    spoil(mvtec_root)
    problem = only(verify(pictures(mvtec_root, cache)))
    assert what in problem.what
    assert "square/002" in problem.file
    assert problem.remedy


def test_a_picture_and_its_mask_may_both_be_damaged(mvtec_root, cache):
    for path in (mvtec_root / "tile/test/square/002.png", mvtec_root / "tile/ground_truth/square/002_mask.png"):
        path.write_bytes(b"no picture")
    findings = verify(pictures(mvtec_root, cache))
    assert {problem.file.rpartition("/")[2] for problem in findings.problems if problem.level == ERROR} == {
        "002.png",
        "002_mask.png",
    }


def test_a_picture_to_train_on_and_to_test_on_is_an_error_and_a_plain_one_a_warning(mvtec_root, cache):
    shutil.copy(mvtec_root / "tile/test/good/001.png", mvtec_root / "tile/train/good/001.png")
    Image.new("RGB", (24, 24), (9, 9, 9)).save(mvtec_root / "tile/train/good/005.png")
    findings = verify(pictures(mvtec_root, cache))
    assert "the same image as tile/test/good/001.png" in only(findings).what
    assert "every pixel has the one value" in only(findings, WARNING).what


def test_masks_and_pictures_that_may_not_mean_what_is_read_are_told(mvtec_root, cache):
    masks, good = mvtec_root / "tile/ground_truth/square", mvtec_root / "tile/train/good"
    pages = [
        Image.fromarray(np.full((24, 24, 3), 9 * page, np.uint8) + np.eye(24, dtype=np.uint8)[..., None])
        for page in (1, 2)
    ]
    pages[0].save(good / "000.png", "TIFF", save_all=True, append_images=pages[1:])
    Image.open(masks / "001_mask.png").save(masks / "001_mask.png", "JPEG", quality=90)
    findings = verify(pictures(mvtec_root, cache))
    assert "has 2 pages, of which the first alone is read" in only(findings, WARNING).what
    assert [p.file for p in findings.problems if "soft edges" in p.what] == [str(masks / "001_mask.png")]
    Image.fromarray(255 - np.asarray(Image.open(masks / "002_mask.png"))).save(masks / "002_mask.png")
    error = only(verify(pictures(mvtec_root, cache)))
    assert "as if it were inverted" in error.what
    assert "dataset.mask_threshold" in error.remedy
    warnings = [p for p in verify(pictures(mvtec_root, cache, mask_threshold=0.5)).problems if p.level == WARNING]
    assert [p.file for p in warnings if "most of the mask is above dataset.mask_threshold=0.5" in p.what]


def test_groups_that_leave_little_to_train_on_are_a_warning(mvtec_root, cache):
    normal, split = (
        ["{category}/*/good/{stem}.png"],
        SplitConfig(val=0.2, test=0.2, holdout=0.3, group=r"(\d)\.png"),
    )
    grouped = {"train_normal": [], "test_normal": [], "normal": normal, "split": split}
    warning = only(verify(pictures(mvtec_root, cache, **grouped)), WARNING)
    assert "are in a group (dataset.split.group) with one that is never trained on" in warning.what
    assert "put {subject} into the patterns of pictures" in warning.remedy


def test_a_name_of_masks_that_anomalous_pictures_lack_is_one_error(mvtec_root, cache):
    changes = {"anomalous": ["tile/test/square/{name}.png"], "mask": "tile/ground_truth/square/{stem}_mask.png"}
    problem = only(verify(pictures(mvtec_root, cache, **changes)))
    assert (problem.what, problem.file) == (
        "{stem} of dataset.mask is not in dataset.anomalous, which names {name}",
        "",
    )
    assert problem.remedy.startswith("use the same names in ")


def test_a_mask_of_several_pictures_and_12_bits_in_16_are_told(tmp_path, cache):
    rng = np.random.default_rng(0)
    for folder, count in (("good", 12), ("bad", 3)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            Image.fromarray(rng.integers(0, 4096, (9, 9)).astype(np.uint16)).save(tmp_path / folder / f"{number}.png")
    Image.fromarray(np.pad(np.uint8([[1]]), 4)).save(tmp_path / "mask.png")
    data = PictureDataModule("folder", root=tmp_path, mask="mask.png", size=[9, 9], color=False, cache_dir=cache)
    deep, shared = sorted(p.what for p in verify(data).problems if p.level == WARNING)
    assert deep == "15 pictures have 16 bits, of which 12 are used: they are read as nearly black"
    assert shared == "is the mask of 3: bad/0.png, bad/1.png, bad/2.png"


@pytest.mark.parametrize(
    ("duplicates", "level", "said"),
    [("error", ERROR, ""), ("drop", NOTE, ": left out"), ("together", NOTE, "; both in ")],
)
def test_twins_are_named_with_what_becomes_of_them(mvtec_root, cache, duplicates, level, said):
    shutil.copy(mvtec_root / "tile/train/good/003.png", mvtec_root / "tile/train/good/007.png")
    found = verify(pictures(mvtec_root, cache, duplicates=duplicates))
    (problem,) = [problem for problem in found.problems if "same image" in problem.what]
    assert found.left_out == (duplicates == "drop")
    assert problem.subject == "tile/train/good/007.png"
    assert problem.what.startswith(f"the same image as tile/train/good/003.png{said}")
    assert problem.level == level


@pytest.mark.parametrize(("duplicates", "level"), [("drop", WARNING), ("together", ERROR)])
def test_twins_with_different_masks_are_an_error_unless_one_is_dropped(mvtec_root, cache, duplicates, level):
    shutil.copy(mvtec_root / "tile/test/square/001.png", mvtec_root / "tile/test/square/004.png")
    assert "with another mask" in only(verify(pictures(mvtec_root, cache, duplicates=duplicates)), level).what


def test_what_lies_beside_the_pictures_and_belongs_to_none_is_named(mvtec_root, cache):
    for name in ("test/square/9.bmp", "ground_truth/square/002_gt.png", "ground_truth/square/99_mask.png"):
        (mvtec_root / "tile" / name).touch()
    named = [problem for problem in verify(pictures(mvtec_root, cache)).problems if problem.level == WARNING]
    assert [problem.what for problem in named] == [
        "1 file beside those of '{category}/ground_truth/{defect}/{stem}_mask.png' fit no pattern: "
        "tile/ground_truth/square/002_gt.png",
        "1 file beside those of '{category}/test/{defect}/{stem}.png' fit no pattern: tile/test/square/9.bmp",
        "1 file of masks without a picture: tile/ground_truth/square/99_mask.png",
    ]
