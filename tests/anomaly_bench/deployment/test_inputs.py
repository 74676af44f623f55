"""What a user names, and what it stands for."""

import re
import unicodedata
from pathlib import Path

import pytest
from fakes import pictures_config, volumes_config, write_mvtec

from anomaly_bench.deployment.inputs import files_below, find_items, stem_of
from data_modules.base.config import LayoutConfig
from data_modules.base.errors import DataError
from tests.helpers.data.releases import RELEASES, write_release


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
    files.append(tmp_path / "c" / ".." / "b" / "2.png")
    found, problems = named([*files, files[-1]], pictures_config(None))
    assert not problems
    assert list(found) == ["a_x_1", "b_x_1", "2_png", "2_jpg", "3"]


def test_no_two_inputs_have_one_name(tmp_path):
    touched(*(tmp_path / name for name in ("q.nii.gz", "q-0.nii.gz", "x.img.gz", "x.nii.gz", "a/X.nii.gz", "x_2.nii")))
    inputs = [f"{tmp_path / 'q.nii.gz'}#0", *(tmp_path / name for name in ("q-0.nii.gz", "x.img.gz", "x.nii.gz"))]
    found, problems = named([*inputs, tmp_path / "a/X.nii.gz", tmp_path / "x_2.nii"], volumes_config(None))
    assert not problems
    assert list(found) == ["q-0_nii_gz", "q-0_nii_gz_2", "x_img_gz", "x_nii_gz", "X", "x_2"]
    touched(tmp_path / "c/a_b.png", tmp_path / "d/a_b.png", tmp_path / "c_a_b.png", tmp_path / "C_A_B.jpg")
    files = [tmp_path / name for name in ("c/a_b.png", "d/a_b.png", "c_a_b.png", "C_A_B.jpg")]
    names = list(named(files, pictures_config(None))[0])
    assert len({name.casefold() for name in names}) == 4


def test_a_file_that_two_paths_name_is_one_input_and_equal_files_of_two_roots_are_two(tmp_path):
    files = touched(*(tmp_path / root / "s/s_flair.nii.gz" for root in ("one", "two")))
    (tmp_path / "link").symlink_to(tmp_path / "one")
    inputs = [tmp_path / "one", tmp_path / "two", tmp_path / "link", tmp_path / "link/s/../s/s_flair.nii.gz", files[0]]
    found, problems = named(inputs, volumes_config(None))
    assert (list(found), problems) == (["one_s_s", "two_s_s"], [])


def test_a_hash_is_a_frame_of_volumes_alone_and_not_where_a_file_is_called_so(tmp_path):
    touched(tmp_path / "p#1.png", tmp_path / "p.png", tmp_path / "v#1.nii.gz", tmp_path / "w.nii.gz", tmp_path / "p")
    found, problems = named([tmp_path / "p#1.png", f"{tmp_path / 'p.png'}#0"], pictures_config(None))
    assert list(found) == ["p#1"]
    assert "p.png#0: no such file" in problems[0]
    items = find_items([str(tmp_path / "p#1.png")], pictures_config(None), None, [].append)
    assert items[0].first == tmp_path / "p#1.png"
    items = find_items(
        [str(tmp_path / "v#1.nii.gz"), f"{tmp_path / 'w.nii.gz'}#1"], volumes_config(None), None, [].append
    )
    assert [(item.name, item.first.name) for item in items] == [("v#1", "v#1.nii.gz"), ("w-1", "w.nii.gz")]


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


def test_masks_with_accents_are_found_however_these_are_composed_and_what_systems_leave_is_no_input(tmp_path):
    one, other = (unicodedata.normalize(form, "Büro") for form in ("NFC", "NFD"))
    pictures = touched(tmp_path / f"in/{one}/{one}.png", tmp_path / f"in/{other}2/{other}2.png")
    touched(*(tmp_path / f"in/{left}/x.png" for left in ("@eaDir", "__MACOSX", ".Trash-1000", "lost+found")))
    masks = touched(tmp_path / f"masks/{other}/{other}_mask.png", tmp_path / f"masks/{one}2/{one}2.png")
    touched(tmp_path / f"masks/@eaDir/{one}_mask.png")
    assert files_below(tmp_path / "in", (".png",)) == sorted(pictures)
    for mask in (tmp_path / "masks", tmp_path / "masks/{folder}/{stem}_mask.png"):
        found = list(named(pictures, pictures_config(None), str(mask))[0].values())
        assert found[0][1] == masks[0]


def test_a_mask_whose_name_comes_again_is_that_of_the_same_folder(tmp_path):
    images = [f"test/{defect}/{stem}.png" for defect in ("cut", "good", "hole") for stem in ("000", "001")]
    masks = ["ground_truth/cut/000_mask.png", "ground_truth/hole/000_mask.png", "ground_truth/cut/001_mask.png"]
    touched(*(tmp_path / name for name in (*images, *masks, "train/good/000.png")))
    inputs, config = [tmp_path / name for name in images], pictures_config(None)
    for folder in ("ground_truth", ""):
        found, _ = named(inputs, config, str(tmp_path / folder))
        got = [mask and str(mask.relative_to(tmp_path)) for _, mask in found.values()]
        assert got == [masks[0], masks[2], None, None, masks[1], None]
    (picture,) = touched(tmp_path / "new/000.png")
    with pytest.raises(DataError, match=r"2 masks are called 000_mask.*pattern with \{folder\} and \{stem\}"):
        named([picture], config, str(tmp_path / "ground_truth"))
    with pytest.raises(DataError, match="no mask of any input"):
        named([tmp_path / "test/good/001.png"], config, str(tmp_path / "ground_truth"))


def test_two_inputs_of_one_name_do_not_share_a_mask(tmp_path):
    a, b, mask, other = touched(*(tmp_path / name for name in ("a/1.png", "b/1.png", "m/1_mask.png", "m/2.png")))
    (c,) = touched(tmp_path / "c/2.png")
    found, _ = named([a, b, c], pictures_config(None), str(tmp_path / "m"))
    assert [mask for _, mask in found.values()] == [None, None, other]
    assert named([a], pictures_config(None), str(tmp_path / "m"))[0]["1"][1] == mask


def test_an_image_is_never_its_own_mask_and_a_scan_has_the_mask_of_its_subject(tmp_path):
    names = (
        "x/x_flair.nii.gz",
        "x/x_seg.nii.gz",
        "y/y_flair.nii.gz",
        "y/y-seg.nii",
        "z/scan.nii.gz",
        "z/z_mask.nii.gz",
    )
    files = touched(*(tmp_path / name for name in names))
    found, _ = named([files[0], files[2], files[4]], volumes_config(None), str(tmp_path))
    assert [mask for _, mask in found.values()] == [files[1], files[3], files[5]]
    found, _ = named([tmp_path], volumes_config(None), str(tmp_path))
    assert [mask for _, mask in found.values()] == [files[1], files[3]]
    both = touched(
        tmp_path / "f/p_flair.nii.gz", tmp_path / "f/q_t1.nii.gz", tmp_path / "g/f_seg.nii", tmp_path / "g/p_seg.nii"
    )
    found, _ = named(both[:2], volumes_config(None), str(tmp_path / "g"))
    assert [mask for _, mask in found.values()] == [both[3], None]


def test_a_folder_within_a_dataset_of_pictures_is_read_in_its_patterns_too(tmp_path):
    write_mvtec(tmp_path / "mvtec/tile", train=2, good=1, bad=2)
    write_mvtec(tmp_path / "mvtec/wood", train=1, good=1, bad=1)
    for name, count in (("tile", 5), ("wood", 3), ("tile/test", 3), ("tile/ground_truth", 2)):
        found, problems = named([tmp_path / "mvtec" / name], pictures_config(None, category="tile"))
        assert (len(found), problems) == (count, [])
        assert all(str(tmp_path / "mvtec" / name) in images["image"] for images, _ in found.values())


def test_a_mask_of_a_picture_in_a_folder_within_is_of_no_picture_of_another_folder(tmp_path):
    files = touched(*(tmp_path / name for name in ("cut/0.png", "good/1.png", "m/cut/0_mask.png", "m/cut/1_mask.png")))
    found, _ = named(files[:2], pictures_config(None), str(tmp_path / "m"))
    assert [mask for _, mask in found.values()] == [files[2], None]


def test_of_defects_that_two_categories_have_the_mask_is_of_the_own_category(tmp_path):
    names = [
        f"{category}/{kind}" for category in ("a", "b") for kind in ("test/cut/0.png", "ground_truth/cut/0_mask.png")
    ]
    files = touched(*(tmp_path / name for name in names))
    found, _ = named([files[0], files[2]], pictures_config(None), str(tmp_path))
    assert [mask for _, mask in found.values()] == [files[1], files[3]]
    (picture,) = touched(tmp_path / "c/cut/0.png")
    with pytest.raises(DataError, match="2 masks are called 0_mask"):
        named([picture], pictures_config(None), str(tmp_path))
