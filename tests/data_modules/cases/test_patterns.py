import re
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
