import hashlib
import io
import json
import random
import socket
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock

from data_modules.base.config import AboutConfig, DownloadConfig
from data_modules.base.errors import DataError
from data_modules.catalog import download as download_room
from data_modules.catalog.fetch import MARKER, fetch
from tests.helpers.data.file_server import Server

CONTENT = random.Random(0).randbytes(300_000)


@pytest.fixture
def server(monkeypatch, quick):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Server()
    made.files["/raw.bin"] = CONTENT
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def quick(monkeypatch):
    """Less patience than with a server that is far away."""
    for name, value in (("TRIES", 3), ("WAIT", 0.001), ("TIMEOUT", (2.0, 0.3))):
        monkeypatch.setattr(download_room, name, value)


def about(*downloads, access="free", **more):
    return AboutConfig(
        title="The Set",
        homepage="https://set.example",
        citation="Someone 2020",
        licence="CC BY-NC-SA 4.0",
        access=access,
        downloads=list(downloads),
        **more,
    )


def md5(data):
    return hashlib.md5(data).hexdigest()


def tar_of(files, mode="w:gz"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def get(
    server, target, *, access="free", accept=False, progress=None, path="/raw.bin", unpack=False, tell=None, **checksum
):
    source = DownloadConfig(server.url(path), unpack=unpack, **checksum)
    return fetch("set", about(source, access=access), target, accept, progress, tell)


def work(target):
    return target.with_name(f".{target.name}.fetch")


def test_the_whole_flow_and_a_second_fetch_that_does_nothing(server, tmp_path):
    archive = tar_of({"set/a.txt": b"one", "set/._a.txt": b"clutter"})
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as out:
        out.writestr("set/deep/b.txt", "two")
    server.files |= {"/x/set.tar.gz": archive, "/more": zipped.getvalue(), "/table.csv.gz": CONTENT}
    sources = [
        DownloadConfig(server.url("/x/set.tar.gz?download=1"), md5=md5(archive).upper()),
        DownloadConfig(server.url("/more"), sha256=hashlib.sha256(zipped.getvalue()).hexdigest()),
        DownloadConfig(server.url("/table.csv.gz"), unpack=False),
    ]
    target, steps = tmp_path / "data" / "set", []
    report = fetch("set", about(*sources), target, progress=lambda done, total: steps.append((done, total)))
    assert report.done
    assert report.fetched == [source.url for source in sources]
    assert "1 of 3 files have no known checksum" in report.message
    found = {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*") if p.is_file()}
    marker = json.loads(found.pop(MARKER))
    assert found == {"set/a.txt": b"one", "set/deep/b.txt": b"two", "table.csv.gz": CONTENT}
    assert marker[sources[0].url]["md5"] == md5(archive)
    assert marker[sources[2].url]["names"] == ["table.csv.gz"]
    total = len(archive) + len(zipped.getvalue()) + len(CONTENT)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert steps[-1] == (total, total)
    assert {path.name for path in target.parent.iterdir() if path.suffix != ".lock"} == {"set"}
    requests = len(server.log)
    again = fetch("set", about(*sources), target)
    assert (again.done, again.fetched, len(server.log)) == (True, [], requests)


def test_what_is_gone_or_has_another_checksum_is_fetched_again(server, tmp_path):
    target = tmp_path / "set"
    get(server, target)
    (target / "raw.bin").unlink()
    assert len(get(server, target).fetched) == 1
    with pytest.raises(DataError, match=r"expected md5 0+, got"):
        get(server, target, md5="0" * 32)
    assert (target / "raw.bin").read_bytes() == CONTENT
    assert get(server, target, md5=md5(CONTENT)).fetched == []


def test_a_download_that_breaks_off_goes_on_where_it_stopped(server, tmp_path):
    server.cut = [100_000, 50_000]
    get(server, tmp_path / "set", md5=md5(CONTENT))
    assert server.gets == [None, "bytes=100000-", "bytes=150000-"]
    assert (tmp_path / "set" / "raw.bin").read_bytes() == CONTENT


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server, tmp_path):
    server.cut = [100_000, 0, 0]
    with pytest.raises(DataError, match="tried 3 times; 100000 bytes are kept, fetch again"):
        get(server, tmp_path / "set")
    assert not (tmp_path / "set").exists()
    server.log.clear()
    get(server, tmp_path / "set")
    assert server.gets == ["bytes=100000-"]
    assert (tmp_path / "set" / "raw.bin").read_bytes() == CONTENT
    assert not work(tmp_path / "set").exists()


def test_progress_makes_patience_anew(server, tmp_path):
    server.cut = [30_000] * 8
    get(server, tmp_path / "set", md5=md5(CONTENT))
    assert len(server.gets) == 9


@pytest.mark.parametrize("how", ["ranges are ignored", "the file was replaced", "nothing tells whether it is the same"])
def test_what_cannot_be_resumed_is_begun_again(server, tmp_path, how):
    old = random.Random(1).randbytes(200_000)
    server.files["/raw.bin"], server.cut = old, [150_000] * 3 if how.startswith("nothing") else [150_000, 0, 0]
    server.etag = None if how.startswith("nothing") else '"v1"'
    with pytest.raises(DataError, match="fetch again"):
        get(server, tmp_path / "set")
    server.files["/raw.bin"] = CONTENT
    server.ranges = not how.startswith("ranges")
    server.etag = '"v2"' if how.startswith("the file") else server.etag
    server.log.clear()
    get(server, tmp_path / "set")
    assert len(server.gets) == 1
    assert (tmp_path / "set" / "raw.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 5])
def test_a_range_past_the_end_means_whole_or_begin_again(server, tmp_path, size):
    server.cut = [100_000, 0, 0]
    with pytest.raises(DataError, match="fetch again"):
        get(server, tmp_path / "set")
    part = next(work(tmp_path / "set").glob("*.part"))
    part.write_bytes((CONTENT + b"extra")[:size])
    server.log.clear()
    get(server, tmp_path / "set", md5=md5(CONTENT))
    assert server.gets == [f"bytes={size}-"] + [None] * (size > len(CONTENT))
    assert (tmp_path / "set" / "raw.bin").read_bytes() == CONTENT


def test_another_range_than_asked_for_is_not_used(server, tmp_path):
    server.cut, server.shift = [100_000], -1000
    get(server, tmp_path / "set", md5=md5(CONTENT))
    assert server.gets == [None, "bytes=100000-", None]
    assert (tmp_path / "set" / "raw.bin").read_bytes() == CONTENT


def test_a_wrong_checksum_removes_the_file_and_says_what_was_expected(server, tmp_path):
    wrong = "0" * 64
    with pytest.raises(DataError) as error:
        get(server, tmp_path / "set", sha256=wrong)
    for word in (
        server.url("/raw.bin"),
        f"expected sha256 {wrong}",
        hashlib.sha256(CONTENT).hexdigest(),
        "fetch again",
    ):
        assert word in str(error.value)
    assert not work(tmp_path / "set").exists()
    assert not (tmp_path / "set").exists()


def test_a_busy_server_is_asked_again_and_a_refusal_is_final(server, tmp_path):
    server.answers = [500, 503]
    get(server, tmp_path / "set", md5=md5(CONTENT))
    assert len(server.gets) == 3
    server.log.clear()
    with pytest.raises(DataError, match=r"gone\.bin: the server answers 404 Not Found; if the file has moved"):
        get(server, tmp_path / "other", path="/gone.bin")
    assert len(server.gets) == 1
    server.log.clear()
    server.answers = [502] * 5
    with pytest.raises(DataError, match=r"too many 502 error responses\), tried 3 times"):
        get(server, tmp_path / "third")
    assert len(server.gets) == 3


def test_a_server_that_falls_silent_is_not_waited_for(server, tmp_path):
    server.pause = 1.0
    start = time.monotonic()
    with pytest.raises(DataError, match=r"Read timed out\.\), tried 3 times; 0 bytes"):
        get(server, tmp_path / "set")
    assert time.monotonic() - start < 3


def test_no_server_at_all(tmp_path, quick):
    source = DownloadConfig("http://127.0.0.1:9/x.bin", unpack=False)
    with pytest.raises(DataError, match=r":9/x\.bin: does not come through \(.*Connection refused\), tried 3 times"):
        fetch("set", about(source), tmp_path / "set")
    with pytest.raises(DataError, match=r"file:///etc/passwd: cannot be asked for .*correct about\.downloads"):
        fetch("set", about(DownloadConfig("file:///etc/passwd")), tmp_path / "set")


def test_a_host_that_cannot_be_looked_up_is_one_sentence_at_once(tmp_path, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    source, start = DownloadConfig("http://data.nowhere.example/set/x.bin", unpack=False), time.monotonic()
    with pytest.raises(DataError) as raised:
        fetch("set", about(source), tmp_path / "set")
    text = str(raised.value)
    assert text.startswith("data.nowhere.example: the name of this host cannot be looked up; connect this machine")
    assert "Max retries" not in text
    assert len(text) < 250
    assert time.monotonic() - start < 5


def test_what_is_about_to_be_downloaded_is_told_before(server, tmp_path):
    told = []
    get(server, tmp_path / "set", tell=told.append, md5=md5(CONTENT))
    (text,) = told
    assert text.startswith(f"set: downloading 1 file, 0.00 GiB, into {tmp_path / 'set'} (")
    get(server, tmp_path / "set", tell=told.append, md5=md5(CONTENT))
    assert len(told) == 1


def test_sizes_that_are_not_stated_are_no_obstacle(server, tmp_path):
    server.head, server.lengths, steps = False, False, []
    get(server, tmp_path / "set", progress=lambda *step: steps.append(step), md5=md5(CONTENT))
    assert steps[-1] == (len(CONTENT), 0)


def test_a_full_disk_is_told_before_the_download(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download_room.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 200_000}))
    with pytest.raises(DataError, match=r"needs 0\.00 GB, the disk has 0\.00 GB free; free some, or set data_dir"):
        get(server, tmp_path / "set")
    assert server.gets == []
    server.head = False
    with pytest.raises(DataError, match="the disk has"):
        get(server, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_an_unpacking_that_was_killed_is_done_again(server, tmp_path, monkeypatch):
    archive, target = tar_of({"set/a": b"one", "set/b": b"two", "top": b"three"}), tmp_path / "set"
    server.files["/set.tgz"] = archive
    real, moves = Path.replace, []

    def killed(self, place):
        if "unpacked-" in str(self):
            moves.append(place)
            if len(moves) == 2:
                raise KeyboardInterrupt
        return real(self, place)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        get(server, target, path="/set.tgz", unpack=True)
    assert len(list(target.iterdir())) == 2  # the marker and one of two entries
    (work(target) / "unpacked-left").mkdir()
    (work(target) / "unpacked-left" / "half").write_text("x")
    monkeypatch.setattr(Path, "replace", real)
    server.log.clear()
    assert get(server, target, path="/set.tgz", unpack=True).done
    assert server.gets == []
    assert {p.name for p in target.rglob("*") if p.is_file()} == {"a", "b", "top", MARKER}
    assert not work(target).exists()


def test_an_archive_that_would_escape_leaves_nothing_behind(server, tmp_path):
    server.files["/evil.tar"] = tar_of({"fine": b"x", "../evil": b"x"}, "w")
    with pytest.raises(DataError, match=r"its member '\.\./evil' would be extracted to .* outside the destination"):
        get(server, tmp_path / "data" / "set", path="/evil.tar", unpack=True)
    assert not any(path.name in ("evil", "fine") for path in tmp_path.rglob("*"))
    assert get(server, tmp_path / "data" / "set", md5=md5(CONTENT)).done


def test_a_damaged_archive_is_downloaded_anew(server, tmp_path):
    whole = tar_of({"noise": CONTENT})
    server.files["/set.tgz"] = whole[:-10_000]
    with pytest.raises(DataError, match=r"is damaged .*fetch it again"):
        get(server, tmp_path / "set", path="/set.tgz", unpack=True)
    server.files["/set.tgz"] = whole
    assert get(server, tmp_path / "set", path="/set.tgz", unpack=True).done
    assert (tmp_path / "set" / "noise").read_bytes() == CONTENT


def test_a_page_in_place_of_an_archive_does_not_stay(server, tmp_path):
    server.files["/set.tgz"] = b"<html>log in</html>"
    with pytest.raises(DataError, match=r"the file was removed, since .* is no tar, zip or gz.* fetch again"):
        get(server, tmp_path / "set", path="/set.tgz", unpack=True)
    assert not work(tmp_path / "set").exists()
    server.files["/set.tgz"] = tar_of({"noise": CONTENT})
    assert get(server, tmp_path / "set", path="/set.tgz", unpack=True).done


def test_two_fetches_at_once(server, tmp_path):
    lock = FileLock(tmp_path / ".set.fetch.lock")
    with lock, pytest.raises(DataError, match="another fetch is writing there; wait until it ends"):
        get(server, tmp_path / "set")
    assert server.log == []


def test_the_files_of_a_person_are_left_alone(server, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "raw.bin").write_text("mine")
    with pytest.raises(DataError, match="holds files that fetch did not put there; move them away"):
        get(server, tmp_path / "set")
    assert (tmp_path / "set" / "raw.bin").read_text() == "mine"


def test_a_licence_has_to_be_accepted(server, tmp_path):
    with pytest.raises(DataError) as error:
        get(server, tmp_path / "set", access="licence")
    for word in ("CC BY-NC-SA 4.0", "https://set.example", "--accept-licence"):
        assert word in str(error.value)
    assert server.log == []
    assert get(server, tmp_path / "set", access="licence", accept=True).done
    assert get(server, tmp_path / "set", access="licence").done


def test_what_no_program_can_fetch_is_explained(tmp_path):
    report = fetch("set", about(access="registration", steps="sign in, then ask"), tmp_path / "set")
    assert not report.done
    for word in ("asks for a registration", "sign in, then ask", "https://set.example", str(tmp_path / "set")):
        assert word in report.message
    assert not fetch("set", about(), tmp_path / "set").done
    assert fetch("set", about(access="embedded"), tmp_path / "set").done
    assert not (tmp_path / "set").exists()


def test_a_wrong_about_is_told(tmp_path):
    with pytest.raises(DataError, match=r"about\.access=open of set: expected one of embedded, free"):
        fetch("set", about(access="open"), tmp_path / "set")
    with pytest.raises(DataError, match="its YAML has no 'about'"):
        fetch("mine", None, tmp_path / "set")
    twins = [DownloadConfig(f"http://x.example/{part}/a.gz", unpack=False) for part in (1, 2)]
    with pytest.raises(DataError, match=r"two files would be kept as a\.gz"):
        fetch("set", about(*twins), tmp_path / "set")
