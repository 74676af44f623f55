"""Building a store: in parallel and in order, going on after a kill, within the disk's space."""

import errno
import os
import shutil
import signal
import threading
import time
from collections import namedtuple
from contextlib import suppress
from dataclasses import asdict, replace

import pytest
import torch

from data_modules.base.checksummed_lines import encode_line
from data_modules.base.errors import DataError
from data_modules.store import build as store_build
from data_modules.store.build import build_store
from data_modules.store.folders import list_stores, partial_path
from data_modules.store.journal import Header
from data_modules.store.store import open_store
from tests.helpers.data.slices import logged, made_up, same, several, start, store_of

HEADER = Header("made", "f", {})


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache/stores/made-1"


def test_cases_are_decoded_by_all_cores_and_written_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(store_build, "usable_cpus", lambda: 3)
    together = threading.Barrier(3)
    delays = iter([0.05, 0.0, 0.02] * 3)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    seen, steps = set(), []

    def read(case):
        together.wait(timeout=10)  # passes only if three are read at once
        seen.add(torch.get_num_threads())
        time.sleep(next(delays))
        return case

    try:
        store = build_store(tmp_path / "a", HEADER, several(9), read, lambda *step: steps.append(step))
        assert (seen, torch.get_num_threads()) == ({1}, 2)
    finally:
        torch.set_num_threads(threads)
    assert store.subjects == [f"s{index}" for index in range(9)]
    assert same(store, store_of(tmp_path / "b", several(9)))
    assert steps == [(done, 9) for done in range(10)]


def test_few_cases_are_in_memory_at_once(folder, monkeypatch):
    """A first case that takes long lets no more than two per core be read beside it."""
    monkeypatch.setattr(store_build, "usable_cpus", lambda: 2)
    started, counts, released = [], [], threading.Event()

    def read(case):
        started.append(case.subject)
        if case.subject == "s0":
            released.wait(10)
        elif len(started) == 4:
            threading.Timer(0.2, released.set).start()
        return case

    build_store(folder, HEADER, several(12), read, lambda done, total: counts.append(len(started)))
    assert counts[1] == 4


def failing(error, subject):
    def read(case):
        if case.subject == subject:
            raise error
        return case

    return read


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("bug")])
def test_an_error_of_a_case_passes_through_and_leaves_nothing(folder, error):
    with pytest.raises(type(error)) as caught:
        build_store(folder, HEADER, several(5), failing(error, "s2"))
    assert caught.value is error
    assert list(folder.parent.iterdir()) == []


def test_a_case_that_cannot_be_used_leaves_those_before_it(folder, tmp_path):
    error, log = DataError("bad.nii: damaged"), tmp_path / "log"
    with pytest.raises(DataError) as caught:
        build_store(folder, HEADER, several(5), failing(error, "s0"))
    assert list(folder.parent.iterdir()) == []
    with pytest.raises(DataError) as caught:
        build_store(folder, HEADER, several(5), failing(error, "s2"))
    assert caught.value is error
    assert list(folder.parent.iterdir()) == [partial_path(folder)]
    store = build_store(folder, HEADER, several(5), logged(log))
    assert sorted(log.read_text().split()) == ["s2", "s3", "s4"]
    assert same(store, store_of(folder.with_name("made-2"), several(5)))


REUSED = Header("made", "f", {}, reuse="settings")


def contents(cases):
    return [f"content of {case.subject}" for case in cases]


@pytest.mark.parametrize("unfinished", [True, False])
@pytest.mark.parametrize("storage", ["float16", "uint8"])
def test_cases_of_another_store_of_the_same_settings_are_copied(folder, tmp_path, unfinished, storage):
    header, cases, log = replace(REUSED, storage=storage), several(5), tmp_path / "log"
    read = failing(DataError("bad"), "s3") if unfinished else lambda case: case
    with suppress(DataError):
        build_store(folder, header, cases, read, contents=contents(cases))
    wanted = [made_up("s00", 9), *cases]
    mended = [digest.replace("s3", "mended s3") for digest in contents(wanted)]
    other = folder.with_name("made-2")
    store = build_store(other, replace(header, fingerprint="g"), wanted, logged(log), contents=mended)
    assert sorted(log.read_text().split()) == (["s00", "s3", "s4"] if unfinished else ["s00", "s3"])
    assert same(store, store_of(folder.with_name("made-3"), wanted, storage=storage))
    assert not partial_path(folder).exists()
    assert folder.exists() != unfinished


@pytest.mark.parametrize("name", ["image.bin", "index.bin"])
def test_damaged_cases_of_another_store_are_not_copied(folder, tmp_path, name):
    cases, log = several(3), tmp_path / "log"
    path = build_store(folder, REUSED, cases, lambda case: case, contents=contents(cases)).folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    store = build_store(folder.with_name("made-2"), REUSED, cases, logged(log), contents=contents(cases))
    assert log.read_text().split() == ["s1"]
    assert same(store, store_of(folder.with_name("made-3"), cases))


@pytest.mark.parametrize(
    ("header", "same_files"), [(replace(REUSED, reuse="others"), True), (HEADER, True), (REUSED, False)]
)
def test_cases_of_other_settings_or_files_are_not_copied(folder, tmp_path, header, same_files):
    cases, log = several(2), tmp_path / "log"
    build_store(folder, REUSED if not same_files else header, cases, lambda case: case, contents=contents(cases))
    digests = contents(cases) if same_files else ["x", "y"]
    wanted = REUSED if header != HEADER else HEADER
    build_store(folder.with_name("made-2"), wanted, cases, logged(log), contents=digests)
    assert sorted(log.read_text().split()) == ["s0", "s1"]


def test_the_size_is_said_before_the_store_is_built(folder, caplog):
    cases = [made_up(f"s{index}", 4 * index, size=(256, 512)) for index in range(6)]
    store = store_of(folder, cases)
    size = sum(path.stat().st_size for path in store.folder.glob("*.bin")) / 2**20
    assert caplog.messages == [f"preparing made: 6 cases, about {size:.1f} MiB in {folder.parent}"]


@pytest.mark.parametrize("file", ["image.bin", "region.bin", "index.bin", "journal.jsonl"])
def test_a_disk_that_fills_up_while_writing_is_said_and_leaves_nothing(folder, file):
    """/dev/full stands in for the disk: it takes no byte."""
    partial = partial_path(folder)

    def read(case):
        if case.subject == "s0":
            time.sleep(0.05)
        return case

    def full(path, *arguments, **options):
        name = "/dev/full" if (path, *arguments) == (partial / file, "ab") else path
        return opened(name, *arguments, **options)

    opened = open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pathlib.Path.open", full)
        with pytest.raises(OSError, match="No space left") as caught:
            build_store(folder, HEADER, several(3), read)
    assert caught.value.errno == errno.ENOSPC
    assert list(folder.parent.iterdir()) == []
    assert same(build_store(folder, HEADER, several(3), read), store_of(folder, []))


def test_a_disk_that_would_not_hold_the_store_is_said_before(folder, monkeypatch):
    usage = namedtuple("usage", "total used free")
    bytes_of_one = sum(
        path.stat().st_size for path in store_of(folder.with_name("one-0"), several(1)).folder.glob("*.bin")
    )
    for cases, free, fits in ((20, 19 * bytes_of_one, False), (20, 21 * bytes_of_one, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: usage(1 << 40, 0, free))
        same_size = [made_up(f"s{index}", 4 * index) for index in range(cases)]
        if fits:
            assert len(store_of(folder, same_size).subjects) == cases
        else:
            with pytest.raises(
                DataError,
                match=rf"{folder.parent}: preparing made takes about .* more, and 0\.0 MiB are free.*cache_dir",
            ):
                store_of(folder, same_size)
            assert not folder.exists()
            assert not partial_path(folder).exists()


def wait_for(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited too long")


@pytest.mark.parametrize("torn", [b"", b'{"subject": "s', b"garbage\n"])
def test_a_killed_process_leaves_its_whole_cases_to_the_next(folder, tmp_path, torn):
    first, second = tmp_path / "first", tmp_path / "second"
    process = start(build_store, folder, HEADER, several(12), logged(first, 0.05))
    journal = partial_path(folder) / "journal.jsonl"
    wait_for(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 4)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    done = journal.read_bytes().count(b"\n") - 1
    with journal.open("ab") as stream:
        stream.write(torn)
    with (partial_path(folder) / "image.bin").open("ab") as stream:
        stream.write(b"half a case")
    assert open_store(folder) is None
    assert [(info.name, info.whole, info.subjects) for info in list_stores(tmp_path / "cache")] == [
        ("made", False, done)
    ]
    store = build_store(folder, HEADER, several(12), logged(second))
    assert sorted(second.read_text().split()) == sorted(f"s{index}" for index in range(done, 12))
    assert same(store, store_of(folder.with_name("made-2"), several(12)))
    assert not partial_path(folder).exists()


@pytest.mark.parametrize("name", ["image.bin", "index.bin", "journal.jsonl"])
def test_a_damaged_unfinished_store_is_kept_up_to_the_damage(folder, tmp_path, name):
    whole = store_of(folder, several(4))
    whole.folder.replace(partial_path(folder))
    path = partial_path(folder) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    log = tmp_path / "log"
    store = build_store(folder, HEADER, several(4), logged(log))
    assert set(log.read_text().split()) < {"s0", "s1", "s2", "s3"}
    assert same(store, store_of(folder.with_name("made-2"), several(4)))


def write_unfinished(folder, header):
    """An unfinished store of as many cases as the sought one has, with the same names."""
    images = [made_up(f"s{index}", 10 + index) for index in range(4)]
    build_store(folder.with_name("other"), Header("made", "f", {}), images, lambda case: case)
    folder.with_name("other").replace(partial_path(folder))
    journal = partial_path(folder) / "journal.jsonl"
    _, *lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(encode_line(asdict(header)) + b"".join(lines))


@pytest.mark.parametrize("other", [Header("made", "another content", {}), Header("made", "f", {}, format=1)])
def test_an_unfinished_store_of_something_else_is_discarded(folder, tmp_path, other):
    write_unfinished(folder, other)
    log = tmp_path / "log"
    store = build_store(folder, HEADER, several(4), logged(log))
    assert sorted(log.read_text().split()) == ["s0", "s1", "s2", "s3"]
    assert same(store, store_of(folder.with_name("made-2"), several(4)))
