import os
from pathlib import Path

import pytest

from data_modules.base.errors import DataError
from data_modules.cases.files import is_clutter, is_image, list_files


def lay(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


SYSTEM = (
    *(".ipynb_checkpoints", ".Trash-1000", ".git", "@eaDir", "@Recycle", "__MACOSX", "lost+found", "$RECYCLE.BIN"),
    *("$Recycle.Bin", "RECYCLER", "#recycle", "System Volume Information", "FOUND.000", "Temporary Items"),
)


@pytest.mark.parametrize("folder", SYSTEM)
def test_hidden_folders_and_those_of_systems_are_passed_over(tmp_path, folder):
    lay(tmp_path, "a.png", f"{folder}/b.png", f"x/{folder}/y/c.png", f"x/{folder}.png", "x/.d.png")
    kept = [] if folder.startswith(".") else [f"x/{folder}.png"]
    assert list_files(tmp_path)[0] == ["a.png", *kept]


@pytest.mark.parametrize("name", ["a\nb.png", "a\x1b[31m.png", "c\r/d.png", "\x7f.png"])
def test_names_with_control_characters_are_kept_apart(tmp_path, name):
    assert list_files(lay(tmp_path, "é ü#1.png", name)) == (["é ü#1.png"], [name])


def test_what_a_reader_would_wait_for_is_kept_apart(tmp_path):
    os.mkfifo(lay(tmp_path, "a.png") / "pipe.png")
    (tmp_path / "to_pipe.png").symlink_to("pipe.png")
    assert list_files(tmp_path) == (["a.png"], ["pipe.png", "to_pipe.png"])


def test_links_to_nothing_and_to_themselves_are_left_to_a_reader_to_name(tmp_path):
    for name, target in (("gone.png", "nowhere"), ("loop.png", "loop.png"), ("again", ".")):
        (lay(tmp_path, "a.png") / name).symlink_to(target)
    (tmp_path / "folder.png").mkdir()
    assert list_files(tmp_path) == (["a.png", "gone.png", "loop.png"], [])


def test_a_folder_that_vanishes_is_passed_over_and_one_that_is_closed_is_named(tmp_path, monkeypatch):
    lay(tmp_path, "a.png", "b/c.png")
    real = os.scandir

    def failing(error):
        def scandir(folder):
            if Path(folder).name == "b":
                raise error
            return real(folder)

        monkeypatch.setattr(os, "scandir", scandir)

    failing(FileNotFoundError())
    assert list_files(tmp_path)[0] == ["a.png"]
    failing(PermissionError(13, "Permission denied"))
    with pytest.raises(DataError, match=r"b: the folder cannot be listed \(Permission denied\); let this user read it"):
        list_files(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "x/a.Tif", "a.b.NII.GZ", "a.nii", "a.mha", "VSD.Brain.1"])
def test_pictures_and_volumes_are_told_by_their_names(name):
    assert is_image(name) == (name != "VSD.Brain.1")
    assert not is_clutter(name)


@pytest.mark.parametrize(
    "name",
    ["Thumbs.db", "desktop.ini", "a.json", "a.png.md5", "a.txt", "x/README", "LICENSE.md", "SHA256SUMS.txt", "a.png~"],
)
def test_clutter_is_told_by_its_names(name):
    assert is_clutter(name)
    assert not is_image(name)
