"""Fashion-MNIST becomes pictures of one class with patches of others pasted in."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from data_modules.base.errors import DataError
from data_modules.modules.fashion_mnist import CLASSES, FILES, fashion_mnist_pictures, paste
from tests.helpers.data.picture_layouts import WHOLE, module

pytestmark = pytest.mark.slow


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
