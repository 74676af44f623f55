"""What a user names, and what it stands for."""

import re
from pathlib import Path

import pytest
from fakes import pictures_config, volumes_config, write_mvtec
from releases import RELEASES, write_release

from anomaly_bench.deployment.inputs import find_items, stem_of
from data_modules.base.config import LayoutConfig
from data_modules.base.errors import DataError


def named(inputs, config, mask=None):
    """Names, files and masks of the inputs, and what was reported."""
    problems = []
    items = find_items([str(one) for one in inputs], config, mask, problems.append)
    return {item.name: (item.case.images, item.mask) for item in items}, [str(problem) for problem in problems]


def touched(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return list(paths)


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.nii.gz", "a"), ("a.b.nii", "a.b"), ("a.PNG", "a"), ("a.nii.gz#2", "a-2"), ("a", "a"), ("x.NII.GZ", "x")],
)
def test_the_stem_of_a_file(name, stem):
    assert stem_of(Path("folder") / name) == stem


def test_equal_names_are_told_apart_by_their_folders_and_then_by_their_endings(tmp_path):
    files = touched(*(tmp_path / name for name in ("a/x/1.png", "b/x/1.png", "b/2.png", "b/2.jpg", "c/3.png")))
    found, problems = named([*files, files[-1]], pictures_config(None))
    assert not problems
    assert list(found) == ["a_x_1", "b_x_1", f"{_all(tmp_path / 'b')}_2_png", f"{_all(tmp_path / 'b')}_2_jpg", "3"]


def _all(folder):
    return "_".join(folder.parts[1:])


def test_files_globs_and_folders_of_volumes(tmp_path):
    touched(
        tmp_path / "s/one.nii.gz", tmp_path / "s/deep/two.nii", tmp_path / "s/.hidden.nii", tmp_path / "s/notes.txt"
    )
    config = volumes_config(None)
    assert list(named([tmp_path / "s"], config)[0]) == ["two", "one"]
    assert list(named([tmp_path / "s" / "*.nii.gz"], config)[0]) == ["one"]
    assert list(named([tmp_path / "**/*.nii*"], config)[0]) == ["two", "one"]
    found, problems = named([tmp_path / "gone.nii", tmp_path / "s/one.nii.gz", tmp_path / "x*.nii"], config)
    assert list(found) == ["one"]
    assert ["no such file or folder" in problem for problem in problems] == [True, True]


def test_a_file_per_modality_makes_one_scan_and_a_modality_again_the_next_one(tmp_path):
    a, b, c, d, brain = touched(*(tmp_path / f"{name}.nii.gz" for name in ("a", "b", "c", "d", "brain")))
    config = volumes_config(None, image={"flair": "{subject}/f", "t1": "{subject}/t"}, modality=["t1", "flair"])
    found, problems = named([f"flair={a}", f"t1={b}", f"brain={brain}", f"flair={c}", f"t1={d}"], config)
    assert not problems
    assert found == {"b": ({"t1": str(b), "flair": str(a)}, None), "d": ({"t1": str(d), "flair": str(c)}, None)}
    for inputs, reason in (
        ([f"flair={a}"], "its modality t1 is missing; the run takes t1=FILE flair=FILE"),
        ([a], "its modality flair is missing"),
        ([f"flair={a}", f"t2={b}"], "t2=.*: the run has no such modality; it takes t1=FILE flair=FILE"),
        ([f"flair={a}", f"t1={tmp_path / 'gone.nii'}"], "no such file"),
        ([tmp_path], "no file fits a layout"),
    ):
        found, (problem,) = named(inputs, config)
        assert not found
        assert re.search(reason, problem)


def test_a_run_that_was_given_brain_masks_asks_for_one(tmp_path):
    (scan,) = touched(tmp_path / "a.nii.gz")
    config = volumes_config(None, brain_mask="{subject}/brain.nii.gz")
    found, (problem,) = named([scan], config)
    assert not found
    assert "its brain mask is missing; the run takes flair=FILE brain=FILE" in problem


def test_a_dataset_a_subject_or_a_folder_between_are_read_in_the_datasets_layout(tmp_path):
    write_release(tmp_path, RELEASES["brats2018"])
    layout = LayoutConfig(
        {"flair": "{grade}/{subject}/{subject}_flair.nii.gz", "t1": "{grade}/{subject}/{subject}_t1.nii.gz"},
        "{grade}/{subject}/{subject}_seg.nii.gz",
    )
    config = volumes_config(None, image=None, label=None, layouts={"a": layout}, modality=["flair", "t1"])
    every = ["Brats18_2013_2_1", "Brats18_CBICA_AAB_1", "Brats18_TCIA09_141_1"]
    for folder, names in (("", every), ("HGG", every[:2]), (f"HGG/{every[1]}", every[1:2])):
        pattern = str(tmp_path / "*" / "{folder}" / "{folder}_seg.nii.gz").replace("*", "HGG")
        found, problems = named([tmp_path / folder], config, pattern)
        assert (sorted(found), problems) == (names, [])
        assert all(set(images) == {"flair", "t1"} for images, _ in found.values())
        assert [mask is not None for _, mask in found.values()] == ["TCIA" not in name for name in found]
    (tmp_path / "HGG" / every[1] / f"{every[1]}_t1.nii.gz").unlink()
    found, (problem,) = named([tmp_path], config)
    assert sorted(found) == [every[0], every[2]]
    assert f"subject {every[1]} has no image 't1'" in problem


def test_a_folder_of_pictures_is_read_in_the_datasets_patterns_without_masks_else_whole(tmp_path):
    write_mvtec(tmp_path / "mvtec/tile", train=2, good=1, bad=2)
    write_mvtec(tmp_path / "mvtec/wood", train=1, good=1, bad=1)
    found, problems = named([tmp_path / "mvtec"], pictures_config(None, category="tile"))
    assert (len(found), problems) == (5, [])
    assert not any("ground_truth" in images["image"] for images, _ in found.values())
    found, _ = named([tmp_path / "mvtec/tile/test"], pictures_config(None))
    assert len(found) == 3
    assert len(named([tmp_path / "mvtec/tile/test/square"], pictures_config(None))[0]) == 2


def test_masks_are_one_file_or_found_by_name(tmp_path):
    pictures = touched(tmp_path / "in/1.png", tmp_path / "in/2.png")
    masks = touched(tmp_path / "masks/1_mask.png", tmp_path / "masks/2.png", tmp_path / "m_1.png")
    config = pictures_config(None)
    assert [mask for _, mask in named(pictures, config, str(tmp_path / "masks"))[0].values()] == masks[:2]
    assert [mask for _, mask in named(pictures, config, str(tmp_path / "m_{stem}.png"))[0].values()] == [masks[2], None]
    assert [mask for _, mask in named(pictures[:1], config, str(masks[2]))[0].values()] == [masks[2]]
    with pytest.raises(DataError, match="one file for 2 inputs"):
        named(pictures, config, str(masks[2]))
    with pytest.raises(DataError, match="no mask of any input"):
        named(pictures, config, str(tmp_path / "gone_{stem}.png"))
