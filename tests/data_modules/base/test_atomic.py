"""Files that are there whole or not at all."""

import pytest

from data_modules.base.atomic import write_atomic


def test_a_file_that_cannot_be_written_leaves_the_one_before_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "note.json"
    write_atomic(path, b"first")
    with monkeypatch.context() as broken:
        broken.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("no rename")))
        with pytest.raises(OSError, match="no rename"):
            write_atomic(path, b"second")
    assert path.read_bytes() == b"first"
    assert [file.name for file in tmp_path.iterdir()] == ["note.json"]
    write_atomic(path, b"second")
    assert path.read_bytes() == b"second"
