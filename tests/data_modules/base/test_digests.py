"""Content digests: right, computed once for a file that does not change, and never wrong for one that does."""

import hashlib
import os
import time

import pytest

from data_modules.base import digests
from data_modules.base.digests import DigestCache, digest_of, digest_of_code, hash_of, hash_of_bytes
from data_modules.base.errors import DataError
from data_modules.cases.case import Case
from data_modules.cases.duplicates import twins
from data_modules.store.contents import read_contents, with_companion


@pytest.fixture
def reads(monkeypatch):
    """The files that are read for their digest."""
    seen = []
    really = digests._digest
    monkeypatch.setattr(digests, "_digest", lambda file: seen.append(file.name) or really(file))
    return seen


@pytest.fixture
def files(tmp_path):
    (tmp_path / "data").mkdir()
    paths = [tmp_path / "data" / f"file {index} é" for index in range(5)]
    for index, path in enumerate(paths):
        path.write_bytes(bytes([index]) * 1000)
    time.sleep(digests.SETTLED + 0.02)
    return paths


def right(files):
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_an_unchanged_file_is_read_once(tmp_path, files, reads):
    steps = []
    cache = DigestCache(tmp_path / "cache/digests.jsonl")
    assert cache.digests(files[:3], lambda *step: steps.append(step)) == right(files[:3])
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert sorted(reads) == [file.name for file in files[:3]]
    assert cache.digests([*files, *files]) == right(files)
    assert DigestCache(tmp_path / "cache/digests.jsonl").digests(files) == right(files)
    assert sorted(reads) == [file.name for file in files]


def test_hashes_of_files_values_and_code_are_the_published_ones(tmp_path):
    """SHA-256 of "abc" from FIPS 180-2, BLAKE2b of "abc" from RFC 7693; the short ones from Python's hashlib."""
    (tmp_path / "abc").write_bytes(b"abc")
    assert digest_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_of_bytes(b"a", memoryview(b"bc"), size=64).startswith(
        "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b7"
    )
    assert hash_of({"b": 1, "a": [2]}) == hash_of({"a": [2], "b": 1})
    assert hash_of({"b": 1, "a": [2]}, 8) == hashlib.blake2b(b'{"a": [2], "b": 1}', digest_size=8).hexdigest()
    room = tmp_path / "room"
    (room / "inner").mkdir(parents=True)
    (room / "inner/rule.py").write_text("x = 1")
    assert digest_of_code([room]) == hash_of_bytes(b"room/inner/rule.pyx = 1")


def rewrite(file):
    file.write_bytes(b"x" * 1000)


def rewrite_and_turn_back_the_clock(file):
    stat = file.stat()
    file.write_bytes(b"y" * 1000)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replace_by_another(file):
    other = file.with_name("other")
    other.write_bytes(b"z" * 1000)
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.replace(file)


@pytest.mark.parametrize("change", [rewrite, rewrite_and_turn_back_the_clock, replace_by_another])
def test_a_changed_file_is_read_again(tmp_path, files, reads, change):
    cache = DigestCache(tmp_path / "digests.jsonl")
    before = cache.digests(files)
    change(files[2])
    after = DigestCache(tmp_path / "digests.jsonl").digests(files)
    assert after == right(files)
    assert [file for file in files if after[file] != before[file]] == [files[2]]
    assert reads[5:] == [files[2].name]
    with pytest.raises(DataError, match=r"file 2 é: changed while it was being read"):
        cache.check(files)
    cache.check(files[:2])


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path, reads):
    """It could change again without another time stamp."""
    path = tmp_path / "fresh"
    path.write_bytes(b"1")
    DigestCache(tmp_path / "digests.jsonl").digests([path])
    DigestCache(tmp_path / "digests.jsonl").digests([path])
    assert reads == ["fresh", "fresh"]


def test_a_damaged_cache_is_made_again_line_by_line(tmp_path, files, reads):
    path = tmp_path / "digests.jsonl"
    DigestCache(path).digests(files)
    content = path.read_bytes()
    for position in range(0, len(content), 13):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        assert DigestCache(path).digests(files) == right(files)
    for damaged in (b"", b"\xff\n garbage", content[:-30], content[30:]):
        path.write_bytes(damaged)
        assert DigestCache(path).digests(files) == right(files)
        del reads[:]
        DigestCache(path).digests(files)
        assert reads == []


def test_two_that_write_at_once_both_are_remembered(tmp_path, files, reads):
    path = tmp_path / "digests.jsonl"
    one, other = DigestCache(path), DigestCache(path)
    one.digests(files[:3])
    other.digests(files[2:])
    del reads[:]
    assert DigestCache(path).digests(files) == right(files)
    assert reads == []


def test_the_cache_does_not_grow_with_every_change(tmp_path, files, monkeypatch):
    monkeypatch.setattr(digests, "SETTLED", -1.0)
    path = tmp_path / "digests.jsonl"
    for round_ in range(300):
        files[0].write_bytes(b"%d" % round_)
        DigestCache(path).digests(files)
    assert len(path.read_bytes().splitlines()) < 250
    assert DigestCache(path).digests(files) == right(files)


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path, files):
    (tmp_path / "taken").write_text("a file")
    assert DigestCache(tmp_path / "taken" / "digests.jsonl").digests(files) == right(files)


def test_a_file_that_is_not_there_is_named(tmp_path, files):
    with pytest.raises(DataError, match=r"gone: cannot be read \(No such file or directory\); check"):
        DigestCache(tmp_path / "digests.jsonl").digests([*files, tmp_path / "gone"])


@pytest.mark.parametrize(
    ("name", "content", "partner"),
    [
        ("a.mhd", b"NDims = 3\nElementDataFile = a b.raw\n", "a b.raw"),
        ("a.mhd", b"NDims = 3\r\nElementDataFile=a.zraw\r\n", "a.zraw"),
        ("a.hdr", b"header", "a.img"),
        ("a.hdr.img.gz", b"voxels", "a.hdr.hdr.gz"),
        ("a.img", b"voxels", "a.mat"),
        ("a.hdr", b"header", "a.mat"),
        ("a.mhd", b"NDims = 3\nElementDataFile = raw/x.raw\n", "raw/x.raw"),
        ("a.mha", b"NDims = 3\nElementDataFile = x.raw\n", "x.raw"),
        ("a.mhd", b"ElementDataFile = LIST\nf0.raw\nf1.raw\nf2.raw\n", "f1.raw"),
        ("a.mhd", b"ElementDataFile = LIST 2\r\nf0.raw\r\nraw/f 2.raw", "raw/f 2.raw"),
        ("a.mhd", b"ElementDataFile = f%02d.raw 1 9 4\n", "f09.raw"),
        ("a.mhd", b"ElementDataFile = f%02d.raw 1 9\n", "f02.raw"),
    ],
)
def test_voxels_beside_their_header_belong_to_the_content(tmp_path, name, content, partner):
    (tmp_path / name).write_bytes(content)
    case = Case("s", {"flair": name}, root=tmp_path)

    def digest():
        return read_contents([case], DigestCache(tmp_path / "digests.jsonl"))[0].images["flair"]

    seen = [digest()]
    (tmp_path / partner).parent.mkdir(exist_ok=True)
    for voxels in (b"one", b"two"):
        (tmp_path / partner).write_bytes(voxels)
        seen.append(digest())
    assert len(set(seen)) == 3
    (tmp_path / "unrelated.raw").write_bytes(b"x")
    assert digest() == seen[-1]


@pytest.mark.parametrize("text", ["f%d.raw", "f%s.raw 1 2 1", "f%d%d.raw 1 2 1", "f%d.raw 1 2 0"])
def test_a_pattern_of_data_files_that_cannot_be_told_is_refused(tmp_path, text):
    (tmp_path / "a.mhd").write_text(f"ElementDataFile = {text}\n")
    with pytest.raises(DataError, match=r"a\.mhd: ElementDataFile = .*: expected a name such as"):
        with_companion(tmp_path / "a.mhd")


def test_voxels_in_the_same_file_have_no_companion(tmp_path):
    (tmp_path / "a.mha").write_bytes(b"ElementDataFile = LOCAL\n\x00\xff%d 1")
    assert with_companion(tmp_path / "a.mha") == [tmp_path / "a.mha"]


def test_channels_of_a_file_are_told_apart(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"4D")
    cases = [Case("s", {"t1": "a.nii#0", "t2": "a.nii#1"}, root=tmp_path), Case("u", {"t1": "a.nii#2"}, root=tmp_path)]
    contents = read_contents(cases, DigestCache(tmp_path / "digests.jsonl"))
    assert len({digest for content in contents for digest in content.images.values()}) == 3
    assert twins([content.images for content in contents]) == []
