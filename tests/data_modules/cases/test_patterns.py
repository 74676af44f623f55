import re
import unicodedata
from pathlib import Path

import pytest

from data_modules.base.errors import DataError
from data_modules.cases.patterns import Tree, compile_pattern


@pytest.mark.parametrize(
    ("pattern", "path", "names"),
    [
        ("{subject}/{subject}_flair.nii.gz", "a1/a1_flair.nii.gz", {"subject": "a1"}),
        ("**/{subject}/{subject}_flair.nii.gz", "HGG/x/a1/a1_flair.nii.gz", {"subject": "a1"}),
        ("**/{subject}/T1_*.nii.gz", "p1/T1_brain.nii.gz", {"subject": "p1"}),
    ],
)
def test_pattern_finds_its_names(pattern, path, names):
    match = compile_pattern(pattern).fullmatch(path)
    assert match is not None
    assert match.groupdict() == names


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("{subject}/{subject}_flair.nii.gz", "a1/a2_flair.nii.gz"),
        ("{subject}/*.nii", "a/b/c.nii"),
        ("T1_*.nii", "T1POST_x.nii"),
        ("a.b", "aXb"),
    ],
)
def test_pattern_refuses_what_does_not_fit(pattern, path):
    assert compile_pattern(pattern).fullmatch(path) is None


def test_tree_lists_every_file_and_names_a_missing_or_empty_root(tmp_path: Path):
    with pytest.raises(DataError, match=r"gone: no such folder; set dataset\.root"):
        _ = Tree(tmp_path / "gone").files
    with pytest.raises(DataError, match="is empty"):
        _ = Tree(tmp_path).files
    (tmp_path / "b").mkdir()
    (tmp_path / "b/x.png").touch()
    (tmp_path / "a.png").touch()
    assert Tree(tmp_path).files == ["a.png", "b/x.png"]


def test_two_files_for_one_case_are_refused(tmp_path: Path):
    for name in ("m1.png", "m2.png"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"m1\.png and m2\.png both match"):
        Tree(tmp_path).one("m*.png", {})


def test_links_are_followed_but_not_round_and_round(tmp_path: Path):
    (tmp_path / "root/a").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    for name in ("root/a/x.nii", "other/y.nii"):
        (tmp_path / name).touch()
    (tmp_path / "root/a/up").symlink_to(tmp_path / "root")
    (tmp_path / "root/b").symlink_to(tmp_path / "other")
    (tmp_path / "other/back").symlink_to(tmp_path / "other")
    assert Tree(tmp_path / "root").files == ["a/x.nii", "b/y.nii"]


@pytest.mark.parametrize("name", ["2", "2nd"])
def test_a_name_that_is_none_is_refused(name: str):
    message = f"pattern 'a/{{{name}}}.nii': {{{name}}} is no name; begin it with a letter"
    with pytest.raises(DataError, match=re.escape(message)):
        compile_pattern(f"a/{{{name}}}.nii")


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("{stem}.png", "a.PNG"),
        ("{stem}.JPG", "a.jpg"),
        ("{stem}_mask.png", "a_mask.Png"),
        ("{s}/{s}_t1.nii.gz", "a/a_t1.NII.GZ"),
        ("{s}/*_t1.nii*", "a/b_t1.Nii.gz"),
        ("{s}.tif", "a.b.TIF"),
    ],
)
def test_endings_match_in_capitals_or_not(pattern, path):
    assert compile_pattern(pattern).fullmatch(path)


@pytest.mark.parametrize(("pattern", "path"), [("{s}_mask.png", "a_MASK.png"), ("A/{s}.png", "a/x.png")])
def test_names_before_the_ending_match_as_they_are(pattern, path):
    assert compile_pattern(pattern).fullmatch(path) is None


@pytest.mark.parametrize("pattern", ["{stem}.*", "{stem}", "*", "{stem}*"])
def test_an_ending_that_is_not_spelled_out_is_one_of_images(tmp_path: Path, pattern):
    names = ["1.PNG", "2.tif", "3.nii.gz"]
    for name in (*names, "Thumbs.db", "desktop.ini", "1.json", "1.png.sha256", "notes.txt", "1.npy", "1.png.bak"):
        (tmp_path / name).touch()
    assert [path for path, _ in Tree(tmp_path).find(pattern)] == names


@pytest.mark.parametrize(("on_disk", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_are_the_same_however_they_are_composed(tmp_path: Path, on_disk, written):
    path = unicodedata.normalize(on_disk, "gr\u00fcn/\u00e9.png")
    (tmp_path / path).parent.mkdir()
    (tmp_path / path).touch()
    tree, pattern = Tree(tmp_path), unicodedata.normalize(written, "gr\u00fcn/{stem}.png")
    assert tree.find(pattern) == [(path, {"stem": "\u00e9"})]
    assert tree.one(pattern, {"stem": "\u00e9"}) == path
