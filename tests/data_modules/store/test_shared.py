"""Stores that several processes want: one builds, the others wait; and stores that are listed and removed."""

import logging
import os
import threading
import time

import pytest
from filelock import FileLock

from data_modules.base.errors import DataError
from data_modules.base.locks import lock_path
from data_modules.store import folders as store_folders
from data_modules.store.build import build_store
from data_modules.store.folders import list_stores, partial_path, remove_store
from data_modules.store.journal import Header
from data_modules.store.store import open_store
from tests.helpers.data.slices import fork, logged, same, several, start, store_of

HEADER = Header("made", "f", {})


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache/stores/made-1"


def test_two_processes_decode_each_case_once(folder, tmp_path):
    log = tmp_path / "log"
    processes = [start(build_store, folder, HEADER, several(6), logged(log, 0.03)) for _ in range(3)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted(log.read_text().split()) == [f"s{index}" for index in range(6)]
    assert same(store_of(folder, []), store_of(folder.with_name("made-2"), several(6)))


def test_of_four_preparations_at_once_one_is_killed(folder, tmp_path):
    """The others go on after its last whole case, one of them, and all have the same store."""
    log = tmp_path / "log"
    first = start(build_store, folder, HEADER, several(6), logged(log, 0.03))
    journal = partial_path(folder) / "journal.jsonl"
    end = time.monotonic() + 20
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 2) and time.monotonic() < end:
        time.sleep(0.005)
    others = [start(build_store, folder, HEADER, several(6), logged(log, 0.03)) for _ in range(3)]
    first.kill()
    for process in (first, *others):
        process.join()
    assert [process.exitcode for process in others] == [0, 0, 0]
    read = log.read_text().split()
    assert (set(read), read.count("s0")) == ({f"s{index}" for index in range(6)}, 1)
    assert len(read) < 12
    assert same(store_of(folder, []), store_of(folder.with_name("made-2"), several(6)))
    assert not partial_path(folder).exists()


def test_who_waits_says_so_and_does_not_wait_for_the_dead(folder, caplog):
    lock_path(folder).parent.mkdir(parents=True)
    held = fork.Event()

    def hold():
        with FileLock(lock_path(folder)):
            held.set()
            time.sleep(60)

    process = start(hold)
    held.wait(10)
    threading.Timer(0.3, process.kill).start()
    with caplog.at_level(logging.WARNING):
        assert len(store_of(folder, several(2)).subjects) == 2
    assert "waiting for another process that prepares the same data" in caplog.text
    process.join()


def test_a_store_that_goes_while_they_are_listed_is_left_out(folder, tmp_path, monkeypatch):
    store_of(folder, several(1))
    store_of(folder.with_name("made-2"), several(1))
    really = store_folders.read_whole

    def rename(path):
        if path == folder:
            folder.rename(tmp_path / "gone")
        return really(path)

    monkeypatch.setattr(store_folders, "read_whole", rename)
    (made,) = list_stores(tmp_path / "cache")
    assert made.folder.name == "made-2"
    made.folder.rename(tmp_path / "gone too")
    remove_store(made)


def test_stores_are_listed_and_removed_but_not_while_they_are_written(folder, tmp_path):
    cache = tmp_path / "cache"
    assert list_stores(cache) == []
    store_of(folder, several(3))
    build_store(folder.with_name("another_set-2"), Header("another_set", "f", {}), several(1), lambda case: case)
    os.utime(folder, (0, 1000))
    another, made = list_stores(cache)
    assert (another.name, another.subjects, another.slices) == ("another_set", 1, 4)
    assert (made.name, made.folder, made.subjects, made.slices, made.whole) == ("made", folder, 3, 12, True)
    assert made.last_used == 1000
    assert made.bytes == sum(path.stat().st_size for path in folder.iterdir())
    open_store(folder)
    assert time.time() - list_stores(cache)[-1].last_used < 60
    with (
        FileLock(lock_path(folder)),
        pytest.raises(DataError, match="made-1: a process is preparing it; wait until it is done, or stop it"),
    ):
        remove_store(made)
    assert folder.exists()
    remove_store(made)
    assert [info.folder.name for info in list_stores(cache)] == ["another_set-2"]
