"""What a data module makes of files: when it decodes them again, what it refuses, what it hands on."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import RandomSampler

from data_modules.base.config import PictureConfig, SplitConfig
from data_modules.base.errors import DataError
from data_modules.modules import base as module_file
from data_modules.modules.pictures import PictureDataModule
from data_modules.store import pixel_code


class CountingModule(PictureDataModule):
    """Counts the cases that are decoded."""

    decoded = 0

    def read_case(self, case):
        self.decoded += 1
        return super().read_case(case)


def module(root, cache, batch_size=8, **changes):
    config = PictureConfig(
        name="tiles",
        kind="pictures",
        domain="natural",
        root=str(root),
        train_normal=["tile/train/good/{stem}.png"],
        test_normal=["tile/test/good/{stem}.png"],
        anomalous=["tile/test/{defect}/{stem}.png"],
        mask="tile/ground_truth/{defect}/{stem}_mask.png",
        size=[16, 16],
        split=SplitConfig(val=0.2, holdout=0.3),
    )
    for key, value in changes.items():
        setattr(config, key, value)
    data = CountingModule(config, cache_dir=cache, batch_size=batch_size)
    data.prepare_data()
    data.setup()
    return data


def stores(cache):
    return sorted(path.name for path in (cache / "stores").iterdir())


def test_a_moved_or_touched_root_is_not_decoded_again(mvtec_root, cache, tmp_path):
    first = module(mvtec_root, cache)
    assert first.decoded == 34
    os.utime(mvtec_root / "tile/train/good/003.png")
    touched = module(mvtec_root, cache)
    mvtec_root.rename(tmp_path / "elsewhere")
    moved = module(tmp_path / "elsewhere", cache)
    shutil.copytree(tmp_path / "elsewhere", tmp_path / "copy")
    copied = module(tmp_path / "copy", cache)
    assert [data.decoded for data in (touched, moved, copied)] == [0, 0, 0]
    assert len({data.fingerprint for data in (first, touched, moved, copied)}) == 1
    assert len(stores(cache)) == 1


def test_a_changed_file_is_decoded_and_changes_the_fingerprint(mvtec_root, cache):
    first = module(mvtec_root, cache)
    path, other = (mvtec_root / f"tile/train/good/00{index}.png" for index in (3, 4))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")  # in the checksum of the last chunk, so that the pixels stay
    changed = module(mvtec_root, cache)
    assert changed.decoded == 1
    assert changed.fingerprint != first.fingerprint
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)
    swapped = module(mvtec_root, cache)
    assert swapped.decoded == 2
    fresh = module(mvtec_root, cache.with_name("fresh"))
    assert fresh.decoded == 34
    rows = np.arange(len(fresh.store))
    assert torch.equal(fresh.store.batch(rows)["image"], swapped.store.batch(rows)["image"])
    assert swapped.fingerprint not in (first.fingerprint, changed.fingerprint)


def test_what_changes_pixels_changes_the_store_and_what_does_not_does_not(mvtec_root, cache):
    first = module(mvtec_root, cache)
    for changes in ({"size": [16, 8]}, {"storage": "uint8"}, {"color": False}):
        assert module(mvtec_root, cache, **changes).fingerprint != first.fingerprint
    for changes in ({"split": SplitConfig(val=0.4, holdout=0.4)}, {"domain": "medical"}, {"augment": {"a": None}}):
        same = module(mvtec_root, cache, **changes)
        assert (same.decoded, same.fingerprint) == (0, first.fingerprint)
    assert len(stores(cache)) == 4


@pytest.mark.parametrize("name", ["code_digest", "library_versions"])
def test_another_version_of_the_code_reads_no_older_store(mvtec_root, cache, monkeypatch, name):
    first = module(mvtec_root, cache)
    monkeypatch.setattr(module_file, name, lambda: "another")
    again = module(mvtec_root, cache)
    assert again.decoded == 34
    assert again.fingerprint == first.fingerprint
    assert len(stores(cache)) == 2


def test_a_file_that_changes_while_it_is_read_is_refused(mvtec_root, cache, monkeypatch):
    def read_case(self, case):
        slices = PictureDataModule.read_case(self, case)
        if case.subject.endswith("train/good/003.png"):
            case.files[0].write_bytes(b"half of something new")
        return slices

    monkeypatch.setattr(CountingModule, "read_case", read_case)
    with pytest.raises(DataError, match=r"003\.png: changed while it was being read"):
        module(mvtec_root, cache)
    assert [name for name in stores(cache) if not name.startswith(".")] == []


def test_a_run_says_in_one_line_how_many_files_it_leaves_out(mvtec_root, cache, caplog):
    for name in ("train/good/a\nb.png", "train/good/9.tif", "train/good/Thumbs.db", "test/.hidden/1.png"):
        (mvtec_root / "tile" / name).parent.mkdir(exist_ok=True)
        (mvtec_root / "tile" / name).touch()
    module(mvtec_root, cache).prepare_data()
    assert [record.getMessage() for record in caplog.records if "left out" in record.getMessage()] == [
        "tiles: 2 files belong to no picture and are left out: tile/train/good/9.tif, tile/train/good/a\\nb.png; "
        "`anomaly-bench data verify` names them all"
    ]


def test_a_run_says_how_many_names_the_pattern_of_groups_does_not_match(mvtec_root, cache, caplog):
    module(mvtec_root, cache, split=SplitConfig(val=0.2, holdout=0.3, group=r"(train/good/\d+)"))
    said = (
        r"tiles: dataset.split.group=(train/good/\d+) does not match 10 of 34 pictures, such as tile/test/good/000.png"
    )
    assert [text.startswith(said) for text in caplog.messages if "split.group" in text] == [True]


def test_a_run_says_that_groups_leave_little_to_train_on(mvtec_root, cache, caplog):
    normal, split = ["tile/*/good/{stem}.png"], SplitConfig(val=0.2, test=0.2, holdout=0.3, group=r"(\d)\.png")
    data = module(mvtec_root, cache, train_normal=[], test_normal=[], normal=normal, split=split)
    said = f"tiles: {len(data.split['train'])} of 34 pictures in train, less than half of the "
    assert [text.startswith(said) for text in caplog.messages if " in train" in text] == [True]


def test_the_same_image_in_two_splits_is_refused(mvtec_root, cache):
    data = module(mvtec_root, cache)
    trained, tested = (data.split[part][0] for part in ("train", "test"))
    (mvtec_root / tested).write_bytes((mvtec_root / trained).read_bytes())
    with pytest.raises(DataError, match=rf"{tested} \(test\) and \S*{trained} \(train\) hold the same image.*; remove"):
        module(mvtec_root, cache)


def test_the_same_image_in_one_split_is_taken(mvtec_root, cache):
    first, second = module(mvtec_root, cache).split["train"][:2]
    (mvtec_root / second).write_bytes((mvtec_root / first).read_bytes())
    data = module(mvtec_root, cache)
    assert {first, second} <= set(data.store.subjects)


def test_the_same_pixels_in_two_splits_are_refused(mvtec_root, cache):
    """The same picture packed in another way."""
    data = module(mvtec_root, cache)
    trained, tested = (data.split[part][0] for part in ("train", "test"))
    with Image.open(mvtec_root / trained) as picture:
        picture.save(mvtec_root / tested, compress_level=0)
    assert (mvtec_root / tested).read_bytes() != (mvtec_root / trained).read_bytes()
    for _ in range(2):  # when the store is built, and when it is opened
        with pytest.raises(DataError, match=rf"{tested} \(test\) and \S*{trained} \(train\) hold the same image"):
            module(mvtec_root, cache)


def with_a_twin(root):
    """The names of two pictures to train on, of which the second now is the first in other bytes, and of one of its own."""
    first, second, third = (f"tile/train/good/{number:03d}.png" for number in (3, 7, 11))
    with Image.open(root / first) as picture:
        picture.save(root / second, compress_level=0)
    return first, second, third


@pytest.mark.parametrize("where", ["train", "val"])
def test_twins_are_kept_together_where_the_first_is(mvtec_root, cache, where):
    splits = (SplitConfig(val=0.4, salt=str(number)) for number in range(100))
    before = (module(mvtec_root, cache, split=split) for split in splits)
    names = [f"tile/train/good/{number:03d}.png" for number in (3, 7)]
    apart = next(data for data in before if [part_of(data.split, name) == where for name in names] == [True, False])
    with_a_twin(mvtec_root)
    data = module(mvtec_root, cache, split=apart.config.split)
    assert [part_of(data.split, name) for name in names] == [where, where]
    assert data.describe().endswith("; 1 picture with the image of another: each in the split of its original")


def part_of(split, name):
    return next(part for part, names in split.items() if name in names)


def test_of_twins_all_but_the_first_are_left_out(mvtec_root, cache):
    before = module(mvtec_root, cache)
    first, second, third = with_a_twin(mvtec_root)
    (mvtec_root / third).write_bytes((mvtec_root / first).read_bytes())
    data = module(mvtec_root, cache, duplicates="drop")
    kept = {part: [name for name in names if name not in (second, third)] for part, names in before.split.items()}
    assert data.split == kept
    assert sum(map(len, data.indices.values())) == 34 - 2
    assert data.describe().endswith("; 2 pictures with the image of another: left out")


def test_a_given_split_may_name_what_is_left_out(mvtec_root, cache):
    given = SplitConfig(**{f"{part}_subjects": names for part, names in module(mvtec_root, cache).split.items()})
    _, second, _ = with_a_twin(mvtec_root)
    split = module(mvtec_root, cache, duplicates="drop", split=given).split
    assert second not in {name for names in split.values() for name in names}


def test_twins_are_refused_where_they_are_an_error_even_in_one_split(mvtec_root, cache):
    first, second, _ = with_a_twin(mvtec_root)
    with pytest.raises(DataError, match=rf"{first} and \S*{second}: hold the same image; remove .*duplicates=drop"):
        module(mvtec_root, cache, duplicates="error")


@pytest.mark.parametrize("duplicates", ["error", "together"])
def test_the_same_picture_with_another_mask_is_refused_unless_it_is_dropped(mvtec_root, cache, duplicates, caplog):
    (mvtec_root / "tile/test/square/004.png").write_bytes((mvtec_root / "tile/test/square/001.png").read_bytes())
    with pytest.raises(DataError, match=r"square/001\.png and \S*square/004\.png: the same image with another mask"):
        module(mvtec_root, cache, duplicates=duplicates)
    data = module(mvtec_root, cache, duplicates="drop")
    assert "with another mask than the one that is kept: tile/test/square/004.png" in caplog.text
    assert "tile/test/square/004.png" not in {name for names in data.split.values() for name in names}


@pytest.mark.parametrize("duplicates", ["error", "drop", "together"])
def test_a_normal_picture_that_is_an_anomalous_one_too_is_refused_whatever_is_set(mvtec_root, cache, duplicates):
    (mvtec_root / "tile/test/good/001.png").write_bytes((mvtec_root / "tile/test/square/001.png").read_bytes())
    with pytest.raises(DataError, match="the same image, once anomalous and once normal"):
        module(mvtec_root, cache, duplicates=duplicates)


def test_an_unknown_way_with_duplicates_names_its_key(mvtec_root, cache):
    with pytest.raises(DataError, match=r"dataset\.duplicates=keep: expected error, drop, together"):
        module(mvtec_root, cache, duplicates="keep")


def test_blank_pictures_are_no_leak(mvtec_root, cache):
    data = module(mvtec_root, cache)
    for level, part in enumerate(("train", "test")):
        Image.new("RGB", (32, 32), (7, 7, 7)).save(mvtec_root / data.split[part][0], compress_level=level)
    assert module(mvtec_root, cache).split == data.split


@pytest.mark.parametrize(
    ("room", "same"), [("readers", False), ("transforms", False), ("cases", True), ("inspect", True)]
)
def test_a_change_in_a_room_that_decides_pixels_is_another_version(tmp_path, monkeypatch, room, same):
    package = Path(pixel_code.__file__).parents[1]
    shutil.copytree(package, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(pixel_code, "__file__", str(tmp_path / "copy/store/pixel_code.py"))
    before = pixel_code.code_digest()
    (tmp_path / "copy" / room / "score.py").write_text("# new\n")
    assert (pixel_code.code_digest() == before) == same


def test_the_versions_of_libraries_are_those_installed():
    versions = pixel_code.library_versions()
    assert versions["numpy"] == np.__version__
    assert set(versions) >= {"torch", "monai", "nibabel", "scipy"}


@pytest.mark.parametrize("name", ["a/b", "../up", ".hidden", "", "a b", "ä"])
def test_a_name_that_is_no_file_name_is_refused(mvtec_root, cache, name):
    with pytest.raises(DataError, match=r"dataset\.name=.*expected letters, digits"):
        module(mvtec_root, cache, name=name)


def test_a_held_store_trains_on_the_same_batches(mvtec_root, cache):
    data, held = module(mvtec_root, cache), module(mvtec_root, cache)
    held.hold("cpu")
    loaders = [[module.train_dataloader(), module.test_dataloader()] for module in (data, held)]
    for one, other in zip(*loaders, strict=True):
        for batch, same in zip(one, other, strict=True):
            assert all(torch.equal(batch[key], same[key]) for key in batch)


def test_the_order_of_training_batches(mvtec_root, cache):
    """That of a RandomSampler of the seed, epoch after epoch, cut into batches; the last is dropped if it is not full."""
    data = module(mvtec_root, cache, batch_size=5)
    data.seed = 3
    loader, indices = data.train_dataloader(), data.indices["train"]
    sampler = RandomSampler(range(len(indices)), generator=torch.Generator().manual_seed(3))
    for _ in range(2):
        expected = indices[list(sampler)][: len(indices) // 5 * 5]
        assert np.concatenate([batch["subject"] for batch in loader]).tolist() == data.store.subject[expected].tolist()


def test_augmentation_changes_training_batches_only(mvtec_root, cache, monkeypatch):
    def build_augment(mapping, seed):
        return lambda batch: {**batch, "image": batch["image"] + mapping["add"] + seed}

    monkeypatch.setattr("data_modules.transforms.augment.build_augment", build_augment)
    monkeypatch.setattr("data_modules.modules.pictures.check_augment", lambda mapping, shape: None)
    plain, augmented = module(mvtec_root, cache), module(mvtec_root, cache, augment={"add": 5})
    for loader, other, difference in (
        (plain.train_dataloader(), augmented.train_dataloader(), 5),
        (plain.val_dataloader()[0], augmented.val_dataloader()[0], 0),
        (plain.test_dataloader(), augmented.test_dataloader(), 0),
    ):
        for batch, changed in zip(loader, other, strict=True):
            assert torch.equal(changed["image"], batch["image"] + difference)


def test_images_for_statistics_are_training_images_in_order_evenly_spread_and_not_augmented(mvtec_root, cache):
    noise = {"use": "RandGaussianNoised", "prob": 1.0, "std": 0.5}
    data = module(mvtec_root, cache, augment={"noise": noise})
    train = data.indices["train"]
    found = torch.cat([batch["image"] for batch in data.normal_dataloader(1000)])
    assert torch.equal(found, torch.cat([data.store.batch(train)["image"]]))
    assert not torch.equal(torch.cat([batch["image"] for batch in data.train_dataloader()]).sum(), found.sum())
    few = torch.cat([batch["image"] for batch in data.normal_dataloader(3)])
    assert torch.equal(few, found[[0, (len(train) - 1) // 2, len(train) - 1]])


def test_attributes_come_from_the_cases_and_their_file_at_each_start(mvtec_root, cache, tmp_path):
    names = module(mvtec_root, cache).store.subjects
    table = tmp_path / "subjects.csv"
    for age in ("40", "41"):
        table.write_text(f"subject,age\n{names[5]},{age}\n")
        data = module(mvtec_root, cache, subjects_file=str(table))
        assert data.decoded == 0
        assert [attributes.get("age") for attributes in data.store.attributes] == [None] * 5 + [age] + [None] * 28


@pytest.mark.parametrize("size", [0, -1, "a", 2.0, True])
@pytest.mark.parametrize("key", ["batch_size", "eval_batch_size"])
def test_a_batch_size_that_cannot_be_is_refused_at_construction(key, size, cache):
    with pytest.raises(DataError, match=f"^{key}={size!r}: expected a whole number of images, at least 1$"):
        PictureDataModule("tiny_texture", cache_dir=cache, **{key: size})


def test_batches_to_train_on_need_a_size():
    with pytest.raises(DataError, match=r"^batch_size=None: expected a whole number"):
        PictureDataModule("tiny_texture", batch_size=None)


def test_an_unknown_storage_names_its_key(mvtec_root, cache):
    with pytest.raises(DataError, match=r"dataset\.storage=float64: expected float16 or uint8"):
        module(mvtec_root, cache, storage="float64")


def test_an_unknown_polarity_names_its_key_and_a_known_one_changes_no_pixel(mvtec_root, cache):
    with pytest.raises(DataError, match=r"dataset\.polarity=light: expected bright or dark, or null"):
        module(mvtec_root, cache, polarity="light")
    bright, unknown = (module(mvtec_root, cache, polarity=polarity) for polarity in ("bright", None))
    assert bright._settings() == unknown._settings()


def test_a_root_for_embedded_data_is_refused(tmp_path):
    config = PictureConfig(name="tiny", kind="pictures", domain="natural", embedded="tiny_texture", root=str(tmp_path))
    with pytest.raises(DataError, match=r"dataset\.root=.*: tiny is embedded; leave dataset\.root out"):
        PictureDataModule(config, cache_dir=tmp_path).root()
