"""Whatever happens to a store on disk: it is built again, or what is there is still right; never read wrong."""

import errno
import os

import numpy as np
import pytest
import torch

from data_modules.base.checksummed_lines import decode_line, encode_line, read_lines
from data_modules.store.folders import list_stores
from data_modules.store.store import open_store
from tests.helpers.data.slices import several, store_of

FILES = ["image.bin", "foreground.bin", "mask.bin", "region.bin", "index.bin", "journal.jsonl"]


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)


DAMAGE = {
    "shorter": lambda path: path.write_bytes(path.read_bytes()[:-5]),
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"12345678"),
    "gone": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "first byte": lambda path: flip(path, 0),
    "middle byte": lambda path: flip(path, path.stat().st_size // 2),
    "last byte": lambda path: flip(path, -1),
}


@pytest.fixture
def store(tmp_path):
    return store_of(tmp_path / "stores" / "made-1", several())


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_store_is_not_read_and_is_built_again(store, name, damage):
    before = {key: value.clone() for key, value in store.batch(np.arange(12)).items()}
    damage(store.folder / name)
    assert open_store(store.folder) is None
    again = store_of(store.folder, several())
    assert all(torch.equal(value, before[key]) for key, value in again.batch(np.arange(12)).items())
    assert open_store(store.folder) is not None
    assert [path.name for path in store.folder.parent.iterdir()] == ["made-1"]


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO, errno.EACCES])
def test_an_error_that_may_pass_removes_nothing(store, monkeypatch, code):
    def fail(path):
        raise OSError(code, os.strerror(code), str(path))

    with monkeypatch.context() as patch:
        patch.setattr("data_modules.store.store.map_bytes", fail)
        for read in (lambda: open_store(store.folder), lambda: store_of(store.folder, several())):
            with pytest.raises(OSError, match=os.strerror(code)):
                read()
    assert open_store(store.folder) is not None


def test_no_byte_of_the_journal_can_change_unseen(store):
    journal = store.folder / "journal.jsonl"
    content = journal.read_bytes()
    for position in range(0, len(content), 7):
        flip(journal, position)
        assert open_store(store.folder) is None, position
        journal.write_bytes(content)
    assert open_store(store.folder) is not None


def test_a_flip_under_the_same_time_stamp_is_seen(store):
    path = store.folder / "image.bin"
    stat = path.stat()
    flip(path, 100)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert open_store(store.folder) is None


def test_checksums_are_computed_once_per_state(store, monkeypatch):
    checked = []
    monkeypatch.setattr("data_modules.store.store.intact", lambda *arguments: checked.append(1) or [True])
    assert open_store(store.folder)
    assert checked == []
    (store.folder / "mask.bin").touch()
    assert open_store(store.folder)
    assert open_store(store.folder)
    assert checked == [1]


@pytest.mark.parametrize("change", [{"format": 2}, {"format": 99}])
def test_a_store_of_another_format_is_not_read(store, change):
    journal = store.folder / "journal.jsonl"
    (header, *lines), _ = read_lines(journal)
    journal.write_bytes(b"".join(map(encode_line, [header | change, *lines])))
    assert open_store(store.folder) is None
    journal.write_bytes(b"".join(map(encode_line, [header, *lines])))
    assert open_store(store.folder) is not None


def test_a_store_that_lacks_a_case_is_not_read(store):
    journal = store.folder / "journal.jsonl"
    (header, *cases, last), _ = read_lines(journal)
    for lines in ([header, *cases], [header, *cases[:-1], last], [header, last], [header, *cases[1:], last]):
        journal.write_bytes(b"".join(map(encode_line, lines)))
        assert open_store(store.folder) is None


def test_damaged_stores_are_listed_as_such(store, tmp_path):
    assert [info.whole for info in list_stores(tmp_path)] == [True]
    (store.folder / "mask.bin").unlink()
    assert [(info.name, info.whole) for info in list_stores(tmp_path)] == [("made", False)]
    (store.folder / "journal.jsonl").unlink()
    assert [(info.name, info.whole, info.subjects) for info in list_stores(tmp_path)] == [("made", False, 0)]


def test_a_line_says_what_was_written_or_nothing():
    line = encode_line({"name": "Ä\n \udc80", "values": [1, 0.1, None]})
    assert line.count(b"\n") == 1
    assert decode_line(line) == {"name": "Ä\n \udc80", "values": [1, 0.1, None]}
    for position in range(len(line)):
        for bit in range(8):
            changed = bytearray(line)
            changed[position] ^= 1 << bit
            with pytest.raises(ValueError, match=r".*"):
                decode_line(bytes(changed))
