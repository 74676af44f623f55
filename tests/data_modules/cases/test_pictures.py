"""Every shipped picture dataset reads a small copy of its layout: the folder and file names as distributed."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomaly_bench.config.load import load_config
from data_modules.base.config import AboutConfig, PictureConfig
from data_modules.base.errors import DataError
from data_modules.base.options.folders import config_dir
from data_modules.cases.pictures import find_pictures
from data_modules.modules.build import build_module
from data_modules.modules.fashion_mnist import CLASSES, FILES, fashion_mnist_pictures, paste

pytestmark = pytest.mark.slow

SIDE = 16


@dataclass
class Copy:
    """A small dataset on disk: its root and, by subject, (pool, mask or None, attributes) as they should be found."""

    root: Path
    expected: dict[str, tuple[str, np.ndarray | None, dict[str, str]]] = field(default_factory=dict)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def save(self, name: str, pixels: np.ndarray) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    def picture(self, name: str, pool: str, grey: bool = False, subject: str | None = None, **attributes: str) -> None:
        self.save(name, self.rng.integers(0, 256, (SIDE, SIDE, 3)[: 2 if grey else 3]).astype(np.uint8))
        self.expected[subject or name] = (pool, None, attributes)

    def anomaly(self, name: str, mask: str, value: int = 255, subject: str | None = None, **attributes: str) -> None:
        self.picture(name, "test", subject=subject, **attributes)
        defect = np.zeros((SIDE, SIDE), bool)
        top, left = self.rng.integers(0, SIDE - 5, 2)
        defect[top : top + 4, left : left + 5] = True
        self.save(mask, defect * np.uint8(value))
        self.expected[subject or name] = ("test", defect, attributes)

    def note(self, name: str, text: str = "as distributed\n") -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)


def mvtec_ad(root: Path) -> Copy:
    copy = Copy(root)
    for category, defect in (("bottle", "broken_large"), ("cable", "bent_wire")):
        copy.note(f"{category}/license.txt")
        copy.note(f"{category}/readme.txt")
        for index in range(12):
            copy.picture(f"{category}/train/good/{index:03d}.png", "train", category=category)
        for index in range(3):
            copy.picture(f"{category}/test/good/{index:03d}.png", "test", category=category)
            name = f"{category}/test/{defect}/{index:03d}.png"
            mask = f"{category}/ground_truth/{defect}/{index:03d}_mask.png"
            copy.anomaly(name, mask, category=category, defect=defect)
    return copy


def mvtec_ad_2(root: Path) -> Copy:
    copy = Copy(root)
    copy.note("can/license.txt")
    for index in range(6):
        copy.picture(f"can/train/good/{index:03d}_regular.png", "train", category="can")
        copy.picture(f"can/validation/good/{index:03d}_regular.png", "val", category="can")
        copy.save(f"can/test_private/{index:03d}_regular.png", np.zeros((SIDE, SIDE, 3), np.uint8))
        copy.save(f"can/test_private_mixed/{index:03d}_mixed.png", np.zeros((SIDE, SIDE, 3), np.uint8))
    for index in range(2):
        for light in ("overexposed", "regular", "shift_1", "underexposed"):
            copy.picture(f"can/test_public/good/{index:03d}_{light}.png", "test", category="can")
            mask = f"can/test_public/ground_truth/bad/{index:03d}_{light}_mask.png"
            copy.anomaly(f"can/test_public/bad/{index:03d}_{light}.png", mask, category="can")
    return copy


def visa(root: Path) -> Copy:
    copy, rows = Copy(root), []
    for category in ("candle", "pcb1"):
        copy.note(f"{category}/image_anno.csv", "image,label,mask\n")
        for index in range(14):
            name = f"{category}/Data/Images/Normal/{index:04d}.JPG"
            part = "test" if index % 5 == 4 else "train"
            copy.picture(name, part, category=category)
            rows.append([category, part, "normal", name, ""])
        for index in range(3):
            name, mask = (f"{category}/Data/{kind}/Anomaly/{index:03d}" for kind in ("Images", "Masks"))
            copy.anomaly(f"{name}.JPG", f"{mask}.png", value=index + 1, category=category)
            rows.append([category, "test", "anomaly", f"{name}.JPG", f"{mask}.png"])
    (root / "split_csv").mkdir()
    with (root / "split_csv/1cls.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["object", "split", "label", "image", "mask"], *rows])
    copy.note("split_csv/2cls_fewshot.csv", "object,split,label,image,mask\n")
    return copy


def btad(root: Path) -> Copy:
    copy = Copy(root)
    for category, suffix, mask_suffix in (("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")):
        for index in range(10):
            subject = f"{category}/train/ok/{index:04d}.{suffix}"
            copy.picture(f"BTech_Dataset_transformed/{subject}", "train", subject=subject, category=category)
        for index in range(3):
            subject = f"{category}/test/ok/{index:04d}.{suffix}"
            copy.picture(f"BTech_Dataset_transformed/{subject}", "test", subject=subject, category=category)
            subject = f"{category}/test/ko/{index:04d}.{suffix}"
            mask = f"BTech_Dataset_transformed/{category}/ground_truth/ko/{index:04d}.{mask_suffix}"
            copy.anomaly(f"BTech_Dataset_transformed/{subject}", mask, subject=subject, category=category)
    return copy


def mpdd(root: Path) -> Copy:
    copy = Copy(root)
    for index in range(12):
        subject = f"bracket_black/train/good/{index:03d}.png"
        copy.picture(f"MPDD/{subject}", "train", subject=subject, category="bracket_black")
    for index in range(3):
        subject = f"bracket_black/test/good/{index:03d}.png"
        copy.picture(f"MPDD/{subject}", "test", subject=subject, category="bracket_black")
        subject = f"bracket_black/test/scratches/{index:03d}.png"
        mask = f"MPDD/bracket_black/ground_truth/scratches/{index:03d}_mask.png"
        copy.anomaly(f"MPDD/{subject}", mask, subject=subject, category="bracket_black", defect="scratches")
    return copy


def magnetic_tile(root: Path) -> Copy:
    copy = Copy(root)
    for index in range(20):
        stem = f"MT_Free/Imgs/exp{index % 6 + 1}_num_{1000 * index}"
        copy.picture(f"{stem}.jpg", "any", grey=True)
        copy.save(f"{stem}.png", np.zeros((SIDE, SIDE), np.uint8))
    for index, defect in enumerate(("Blowhole", "Break", "Crack", "Fray", "Uneven")):
        stem = f"MT_{defect}/Imgs/exp1_num_{1000 * (30 + index)}"
        copy.anomaly(f"{stem}.jpg", f"{stem}.png", defect=defect)
    return copy


def kolektor_sdd(root: Path) -> Copy:
    copy = Copy(root)
    for item in (f"kos{index:02d}" for index in range(1, 9)):
        for number in range(4):
            copy.picture(f"{item}/Part{number}.jpg", "any", grey=True, item=item)
            copy.save(f"{item}/Part{number}_label.bmp", np.zeros((SIDE, SIDE), np.uint8))
        copy.anomaly(f"{item}/Part5.jpg", f"{item}/Part5_label.bmp", item=item)
    return copy


def kolektor_sdd_sorted(root: Path) -> Copy:
    copy = Copy(root)
    for index in range(20):
        copy.picture(f"good/{index:03d}.jpg", "any", grey=True)
    for index in range(20, 26):
        copy.anomaly(f"defect/{index:03d}.jpg", f"defect_masks/{index:03d}.png")
    copy.note("groups.csv", "image,item,defect\n")
    return copy


def busi(root: Path) -> Copy:
    copy, top = Copy(root), "Dataset_BUSI_with_GT/"
    for index in range(1, 13):
        name = f"normal/normal ({index})"
        copy.picture(f"{top}{name}.png", "any", subject=f"{name}.png")
        copy.save(f"{top}{name}_mask.png", np.zeros((SIDE, SIDE), np.uint8))
    for index in range(1, 9):
        lesion = ("benign", "malignant")[index % 2]
        name = f"{lesion}/{lesion} ({index})"
        copy.anomaly(f"{top}{name}.png", f"{top}{name}_mask.png", subject=f"{name}.png", lesion=lesion)
        if index == 2:
            second = np.zeros((SIDE, SIDE), bool)
            second[:3, -3:] = True
            copy.save(f"{top}{name}_mask_1.png", second * np.uint8(255))
            pool, mask, attributes = copy.expected[f"{name}.png"]
            assert mask is not None
            copy.expected[f"{name}.png"] = pool, mask | second, attributes
    return copy


def bmad(root: Path) -> Copy:
    copy = Copy(root)
    layouts = {  # category, folder inside, pictures and masks of test/
        "Brain": ("BraTS2021_slice", "test/{}/img", "test/Ungood/label", "Ungood", "train/good", "valid/good/img"),
        "Liver": ("hist_DIY", "test/img/{}", "test/label/Ungood", "Ungood", "train/good", "valid/img/good"),
        "Retina_RESC": (
            "RESC",
            "Test/test/{}",
            "Test/test_label/Ungood",
            "Ungood",
            "Train/train/good",
            "Val/val/good",
        ),
    }
    for category, (inner, pictures, masks, bad, train, valid) in layouts.items():
        top = f"{category}_AD/{inner}"
        for index in range(40):
            copy.picture(f"{top}/{train}/{index:05d}_60.png", "train", category=category)
        copy.picture(f"{top}/{valid}/00100_60.png", "val", category=category)
        for index in range(6):
            copy.picture(f"{top}/{pictures.format('good')}/{index:05d}_61.png", "test", category=category)
            name = f"{index:05d}_62.png"
            copy.anomaly(f"{top}/{pictures.format(bad)}/{name}", f"{top}/{masks}/{name}", category=category)
    return copy


def medianomaly_brats2021(root: Path) -> Copy:
    copy, top = Copy(root), "BraTS2021/"
    for index in range(20):
        name = f"train/BraTS2021_{index:05d}_flair_70.png"
        copy.picture(top + name, "train", grey=True, subject=name)
    for index in range(6):
        name = f"test/normal/BraTS2021_{index:05d}_flair_20.png"
        copy.picture(top + name, "test", grey=True, subject=name)
        name = f"test/tumor/BraTS2021_{index:05d}_flair_80.png"
        mask = f"{top}test/annotation/BraTS2021_{index:05d}_seg_80.png"
        copy.anomaly(top + name, mask, subject=name, number="_80")
    return copy


def folder(root: Path) -> Copy:
    copy = Copy(root)
    for index in range(16):
        copy.picture(f"good/{index}.{('png', 'jpg', 'bmp')[index % 3]}", "any")
    for index in range(4):
        copy.anomaly(f"bad/{index}.{('png', 'jpg')[index % 2]}", f"masks/{index}{('', '_mask')[index % 2]}.png")
    for hidden in (".DS_Store", "._3.png"):  # what macOS leaves behind
        copy.note(f"good/{hidden}")
    return copy


WHOLE = "dataset.category=null"
LAYOUTS = {
    "mvtec_ad": (mvtec_ad, [WHOLE, "dataset.split.val=0.3"]),
    "mvtec_ad_2": (mvtec_ad_2, []),
    "visa": (visa, [WHOLE, "dataset.split.val=0.3"]),
    "btad": (btad, [WHOLE, "dataset.split.val=0.3"]),
    "mpdd": (mpdd, ["dataset.split.val=0.3"]),
    "magnetic_tile": (magnetic_tile, []),
    "kolektor_sdd": (kolektor_sdd, []),
    "kolektor_sdd sorted": (kolektor_sdd_sorted, []),
    "busi": (busi, ["dataset.split.val=0.4"]),
    "bmad": (bmad, [WHOLE]),
    "medianomaly_brats2021": (medianomaly_brats2021, []),
    "folder": (folder, ["dataset.split.salt=f"]),
}
NATIVE = f"dataset.size=[{SIDE},{SIDE}]"


def module(name, root, cache, *overrides):
    config = load_config([f"dataset={name.partition(' ')[0]}", f"dataset.root={root}", NATIVE, *overrides])
    return build_module(config.dataset, cache, Path("data"), batch_size=64)


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


def write_idx(path: Path, array: np.ndarray, packed: bool = True) -> None:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4) for size in array.shape)
    content = head + array.tobytes()
    path.write_bytes(gzip.compress(content) if packed else content)


def write_fashion_mnist(root: Path, packed: bool = True) -> dict[str, np.ndarray]:
    """Twelve training and eight test pictures of every class, shuffled; class c has blobs about grey 20 c."""
    rng, arrays = np.random.default_rng(0), {}
    root.mkdir(parents=True, exist_ok=True)
    for images, labels, count in ((*FILES[:2], 12), (*FILES[2:], 8)):
        label = rng.permutation(np.repeat(np.arange(10, dtype=np.uint8), count))
        image = (20 * label[:, None, None] + rng.integers(0, 40, (len(label), 28, 28))).astype(np.uint8)
        image[:, :4] = 0
        arrays |= {images: image, labels: label}
    for name, array in arrays.items():
        write_idx(root / (f"{name}.gz" if packed else name), array, packed)
    return arrays


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_becomes_one_class_with_pasted_patches(tmp_path, cache, packed):
    arrays = write_fashion_mnist(tmp_path / "raw", packed)
    overrides = ["dataset.category=bag", "dataset.size=[28,28]", "dataset.split.val=0.3", "dataset.split.holdout=0.0"]
    data = module("fashion_mnist", tmp_path / "raw", cache, *overrides)
    bag = CLASSES.index("bag")
    train, test = (arrays[images][arrays[labels] == bag] for images, labels in (FILES[:2], FILES[2:]))
    cases = {case.subject: case for case in data.find_cases()}
    assert {subject for subject, case in cases.items() if case.pool == "train"} == {
        f"bag/train/good/{index:05d}.png" for index in range(12)
    }
    for index in range(12):
        read = data.read_case(cases[f"bag/train/good/{index:05d}.png"]).image[0, 0]
        np.testing.assert_array_equal((read * 255).round(), train[index])
    donors = set()
    for subject, case in cases.items():
        if case.pool != "test":
            continue
        index = int(Path(subject).stem)
        slices = data.read_case(case)
        changed = (slices.image[0, 0] * 255).round().numpy() != test[index]
        np.testing.assert_array_equal(slices.mask[0, 0], changed)
        assert changed.any() == (index % 2 == 1) == ("defect" in case.attributes)
        assert case.attributes["category"] == "bag"
        donors.add(case.attributes.get("defect"))
    assert len(donors) > 2
    assert donors <= {*CLASSES, None} - {"bag"}
    data.prepare_data()
    data.setup()


def test_patches_are_pasted_from_other_classes_only(tmp_path, cache):
    write_fashion_mnist(tmp_path / "raw")
    found = module("fashion_mnist", tmp_path / "raw", cache, WHOLE).find_cases()
    pasted = [case.attributes for case in found if "defect" in case.attributes]
    assert len(pasted) == 10 * 4
    assert {attributes["category"] for attributes in pasted} == set(CLASSES)
    assert all(attributes["category"] != attributes["defect"] for attributes in pasted)


def test_a_pasted_patch_comes_from_one_place_of_one_donor():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 100, (28, 28)).astype(np.uint8)
    donors = [rng.integers(120, 256, (3, 28, 28)).astype(np.uint8) for _ in range(2)]
    pasted, changed, group = paste(np.random.default_rng(5), picture, donors)
    rows, columns = changed.any(1).nonzero()[0], changed.any(0).nonzero()[0]
    patch = pasted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert changed.sum() == patch.size  # a full rectangle: every donor is brighter than the picture
    windows = np.lib.stride_tricks.sliding_window_view(donors[group], patch.shape, axis=(1, 2))
    assert (windows == patch).all(axis=(-1, -2)).sum() == 1
    assert 6 <= min(patch.shape) <= max(patch.shape) <= 14


def test_fashion_mnist_is_the_same_bytes_each_time_and_made_once(tmp_path):
    write_fashion_mnist(tmp_path / "raw")
    folders = [fashion_mnist_pictures(tmp_path / "raw", tmp_path / cache, ["bag", "coat"]) for cache in "ab"]
    trees = [{path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")} for folder in folders]
    assert trees[0] == trees[1]
    assert len(trees[0]) == 2 * (12 + 8 + 4)
    times = {path: path.stat().st_mtime_ns for path in folders[0].rglob("*.png")}
    assert fashion_mnist_pictures(tmp_path / "raw", tmp_path / "a", ["bag"]) == folders[0]
    assert {path: path.stat().st_mtime_ns for path in folders[0].rglob("*.png")} == times
    assert sorted(path.name for path in (tmp_path / "a/converted").iterdir()) == [folders[0].name]


def test_other_files_make_another_folder(tmp_path):
    write_fashion_mnist(tmp_path / "raw")
    first = fashion_mnist_pictures(tmp_path / "raw", tmp_path, ["bag"])
    labels = np.repeat(np.arange(10, dtype=np.uint8), 8)
    write_idx(tmp_path / "raw" / f"{FILES[3]}.gz", labels)
    assert fashion_mnist_pictures(tmp_path / "raw", tmp_path, ["bag"]) != first


def test_equal_pictures_are_written_once(tmp_path):
    arrays = write_fashion_mnist(tmp_path / "raw")
    bags = np.flatnonzero(arrays[FILES[3]] == CLASSES.index("bag"))
    arrays[FILES[2]][bags[2]] = arrays[FILES[0]][arrays[FILES[1]] == CLASSES.index("bag")][0]
    write_idx(tmp_path / "raw" / f"{FILES[2]}.gz", arrays[FILES[2]])
    folder = fashion_mnist_pictures(tmp_path / "raw", tmp_path, ["bag"])
    assert sorted(path.stem for path in (folder / "bag/test/good").iterdir()) == ["00000", "00004", "00006"]


def test_equal_pictures_of_two_classes_are_written_once(tmp_path, cache):
    arrays = write_fashion_mnist(tmp_path / "raw")
    shirt = np.flatnonzero(arrays[FILES[3]] == CLASSES.index("shirt"))[2]
    arrays[FILES[2]][shirt] = arrays[FILES[0]][arrays[FILES[1]] == CLASSES.index("dress")][0]
    write_idx(tmp_path / "raw" / f"{FILES[2]}.gz", arrays[FILES[2]])
    folder = fashion_mnist_pictures(tmp_path / "raw", tmp_path, ["shirt"])
    assert sorted(path.stem for path in (folder / "shirt/test/good").iterdir()) == ["00000", "00004", "00006"]
    module("fashion_mnist", tmp_path / "raw", cache, WHOLE).prepare_data()


def test_a_converted_class_that_lacks_a_picture_is_made_again(tmp_path):
    write_fashion_mnist(tmp_path / "raw")
    folder = fashion_mnist_pictures(tmp_path / "raw", tmp_path, ["bag", "coat"])
    (folder / "bag/test/good/00002.png").unlink()
    kept = (folder / "coat").stat().st_ino
    assert fashion_mnist_pictures(tmp_path / "raw", tmp_path, ["bag", "coat"]) == folder
    assert (folder / "bag/test/good/00002.png").is_file()
    assert (folder / "coat").stat().st_ino == kept


def lose(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def cut_unpacked(path):
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes())[:-1])
    path.unlink()


def swap(path):
    write_idx(path, np.zeros(5, np.uint8))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose, r"t10k-images-idx3-ubyte\.gz is missing; set dataset\.root"),
        (cut, r"t10k-images-idx3-ubyte\.gz: cannot be read"),
        (flip, r"t10k-images-idx3-ubyte\.gz: (cannot be read|is no whole IDX file)"),
        (cut_unpacked, r"t10k-images-idx3-ubyte: is no whole IDX file of bytes \(shape \[80, 28, 28\], 62735 bytes\)"),
        (swap, r"t10k-images-idx3-ubyte\.gz: holds an array \(5,\) for labels \(80,\)"),
    ],
)
def test_damaged_files_of_fashion_mnist_are_named(tmp_path, damage, message):
    write_fashion_mnist(tmp_path / "raw")
    damage(tmp_path / "raw" / f"{FILES[2]}.gz")
    with pytest.raises(DataError, match=message):
        fashion_mnist_pictures(tmp_path / "raw", tmp_path, ["bag"])


def test_an_unknown_class_of_fashion_mnist_names_the_others(tmp_path, cache):
    write_fashion_mnist(tmp_path / "raw")
    with pytest.raises(
        DataError, match=r"dataset\.category=sock: no class of Fashion-MNIST; it has tshirt_top, trouser"
    ):
        module("fashion_mnist", tmp_path / "raw", cache, "dataset.category=sock").find_cases()
    with pytest.raises(DataError, match=r"dataset\.convert=cifar: expected fashion_mnist or null"):
        module("fashion_mnist", tmp_path / "raw", cache, "dataset.convert=cifar").find_cases()


def test_every_picture_dataset_says_what_it_is_and_is_tested_here():
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
