"""Folders that cannot be written to are told as what they are."""

import errno
import shutil

import pytest

from anomaly_bench.base.errors import OutputError
from anomaly_bench.base.files import check_writable, explained


def test_a_torch_save_on_a_full_disk_is_told_as_such(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(OutputError, match="the disk is full"), explained(tmp_path):
        raise RuntimeError("PytorchStreamWriter failed writing file data/7: file write failed")
    with pytest.raises(RuntimeError, match="something else"), explained(tmp_path):
        raise RuntimeError("something else")


def test_other_os_errors_are_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(ConnectionRefusedError), explained(tmp_path):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")


def test_a_folder_in_the_place_of_a_file_is_told_as_such(tmp_path):
    with pytest.raises(OutputError, match="it is a folder: give the name of a file in it"), explained(tmp_path.parent):
        tmp_path.write_text("")


def test_a_folder_is_tried_without_being_made(tmp_path):
    check_writable(tmp_path / "new/below")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for place, said in (("circle", "its links go round in a circle"), ("circle/below", "its links go round")):
        with pytest.raises(OutputError, match=said):
            check_writable(tmp_path / place)
