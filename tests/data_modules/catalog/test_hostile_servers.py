"""Servers that answer wrongly, each on a socket of this machine: a bounded number of questions, then one line or the file."""

import gzip
import itertools
import socket
import socketserver
import tarfile
import threading
from contextlib import suppress

import pytest

from data_modules.base.config import AboutConfig, DownloadConfig
from data_modules.base.errors import DataError
from data_modules.catalog import download as room
from data_modules.catalog.fetch import MARKER, fetch

BODY = bytes(range(256)) * 800
HALF = len(BODY) // 2
TRIES = 3


class Server(socketserver.ThreadingTCPServer):
    """Gives each GET what `answer(number, start)` says: pieces of bytes; start: of the range that is asked for, or None."""

    allow_reuse_address, daemon_threads = True, True

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.gets = answer, []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        lines = [line.strip() for line in iter(self.rfile.readline, b"\r\n") if line]
        if not lines:
            return
        if lines[0].startswith(b"HEAD"):
            self.wfile.write(b"HTTP/1.1 405 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        ranges = [int(line.partition(b"=")[2].rstrip(b"-")) for line in lines if line.lower().startswith(b"range:")]
        start = ranges[0] if ranges else None
        self.server.gets.append(start)
        with suppress(OSError):
            for piece in self.server.answer(len(self.server.gets), start):
                self.wfile.write(piece)
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)


def head(status, **headers):
    lines = [
        f"HTTP/1.1 {status}",
        "Connection: close",
        *(f"{key.replace('_', '-')}: {value}" for key, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def whole(body=BODY, **headers):
    return [head("200 OK", **{"Content_Length": len(body), "ETag": '"1"'} | headers), body]


def cut():
    """The first half of the file, as if the line had broken."""
    return [head("200 OK", Content_Length=len(BODY), ETag='"1"'), BODY[:HALF]]


def part(place, body):
    return [head("206 Partial Content", Content_Range=place, Content_Length=len(body)), body]


def rest(start, **headers):
    body = BODY[start:]
    place = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
    return [head("206 Partial Content", **{"Content_Range": place, "Content_Length": len(body)} | headers), body]


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name, value in (("TRIES", TRIES), ("WAIT", 0.001), ("TIMEOUT", (2.0, 0.5)), ("MOST_TRIES", 12)):
        monkeypatch.setattr(room, name, value)
    servers = []

    def start(answer):
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def get(server, target, path="/set.bin", unpack=False, **checksum):
    url = f"http://127.0.0.1:{server.server_address[1]}{path}"
    about = AboutConfig(
        title="The Set",
        homepage="https://set.example",
        citation="Someone",
        licence="CC0",
        access="free",
        downloads=[DownloadConfig(url, unpack=unpack, **checksum)],
    )
    return fetch("set", about, target)


# What comes at the first question, and what at each that asks for the rest.
NEVER = {
    "416 for ever": lambda start: [head("416 No", Content_Length=0)],
    "416 with another length": lambda start: [head("416 No", Content_Range="bytes */7", Content_Length=0)],
    "another range": lambda start: part(f"bytes 0-9/{len(BODY)}", BODY[:10]),
    "the range that is there already": lambda start: part(f"bytes {start - 10}-{start}/{len(BODY)}", BODY[:10]),
    "a range without a name": lambda start: [head("206 Partial Content", Content_Length=5), b"12345"],
    "several ranges": lambda start: [head("206 Part", Content_Type="multipart/byteranges; boundary=x"), b"--x\r\n"],
    "a range that ends too soon": lambda start: part(f"bytes {start}-{len(BODY) - 1}/{len(BODY)}", b""),
    "the whole, cut again": lambda start: cut(),
    "a length in words": lambda start: [head("206 Part", Content_Length="many"), b""],
    "silence": lambda start: [],
    "no HTTP": lambda start: [b"SSH-2.0-OpenSSH_9\r\n"],
    "headers without end": lambda start: [b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000],
    "chunks of no length": lambda start: [head("200 OK", Transfer_Encoding="chunked"), b"zz\r\n"],
}


@pytest.mark.parametrize("what", NEVER)
def test_a_server_that_never_sends_the_rest_is_asked_a_few_times(serve, tmp_path, what):
    server = serve(lambda number, start: cut() if start is None else NEVER[what](start))
    with pytest.raises(DataError) as error:
        get(server, tmp_path / "set")
    text = str(error.value)
    assert "\n" not in text
    assert "/set.bin: " in text
    assert "fetch again" in text or "correct about.downloads" in text
    assert len(server.gets) <= 4 * TRIES
    assert not (tmp_path / "set").exists()


ONCE = {
    "416 once": lambda number, start: (
        cut() if number == 1 else [head("416 No", Content_Length=0)] if start else whole()
    ),
    "a part unasked": lambda number, start: part(f"bytes 0-99/{len(BODY)}", BODY[:100]) if number == 1 else whole(),
    "a part of a part": lambda number, start: cut() if number == 1 else [*rest(start)[:1], BODY[start : start + 1000]],
    "chunks that end too soon": lambda number, start: (
        [
            head("206 Part", Content_Range=f"bytes {start}-{len(BODY) - 1}/{len(BODY)}", Transfer_Encoding="chunked"),
            b"0\r\n\r\n",
        ]
        if number == 2
        else rest(start)
        if start
        else cut()
    ),
    "more than it states": lambda number, start: (
        [head("206 Part", Content_Range=f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"), BODY]
        if start
        else cut()
        if number == 1
        else whole()
    ),
    "a line that breaks": lambda number, start: cut() if start is None else rest(start),
    "a tag that no header can hold": lambda number, start: whole(ETag='"\x01"') if number > 1 else [cut()[0]],
}


@pytest.mark.parametrize("what", ONCE)
def test_a_server_that_errs_once_brings_the_file(serve, tmp_path, what, monkeypatch):
    monkeypatch.setattr(room, "MOST_TRIES", 500)
    server = serve(ONCE[what])
    get(server, tmp_path / "set")
    assert (tmp_path / "set/set.bin").read_bytes() == BODY


def test_a_byte_at_each_try_is_no_progress_for_ever(serve, tmp_path):
    server = serve(
        lambda number, start: (
            [head("200 OK", Content_Length=len(BODY), ETag='"1"'), b"x"] if not start else [rest(start)[0], b"x"]
        )
    )
    with pytest.raises(DataError, match="tried 12 times; 12 bytes are kept"):
        get(server, tmp_path / "set")
    assert len(server.gets) == 12


PAGE = b"<!DOCTYPE html><html>log in</html>"
FINAL = {
    "a page": (whole(PAGE, Content_Type="text/html; charset=utf-8"), "sends a web page, perhaps one to log in"),
    "packed for the transfer": (whole(gzip.compress(BODY), Content_Encoding="gzip"), r"sends it packed \(gzip\)"),
    "nothing": (whole(b""), "sends an empty file; fetch again"),
    "1e20 bytes": (whole(b"x", Content_Length=10**20), "states 100000000000000000000 bytes, no file of a dataset"),
    "two lengths": ([head("200 OK", Content_Length="5, 6"), b"12345"], "cannot be asked for"),
    "a refusal in colours": (
        [head("403 \x1b[31mNo", Content_Length=0)],
        r"answers 403 \\x1b\[31mNo; if the file has moved",
    ),
    "a circle": ([head("302 Found", Location="/set.bin", Content_Length=0)], "Exceeded 30 redirects"),
    "a redirect to nowhere": ([head("302 Found", Location="http://[::1", Content_Length=0)], "cannot be asked for"),
    "a redirect to a file": (
        [head("302 Found", Location="file:///etc/passwd", Content_Length=0)],
        "cannot be asked for",
    ),
    "not changed": ([head("304 Not Modified")], "answers 304 Not Modified"),
}


@pytest.mark.parametrize("what", FINAL)
def test_an_answer_that_will_not_be_another_one_is_final(serve, tmp_path, what):
    answer, words = FINAL[what]
    server = serve(lambda number, start: answer)
    with pytest.raises(DataError, match=words) as error:
        get(server, tmp_path / "set")
    assert str(error.value).isprintable()
    assert "about.downloads" in str(error.value)
    assert len(server.gets) == (31 if what == "a circle" else 1)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("what", ["a page", "packed for the transfer"])
def test_what_is_there_is_kept_when_a_page_comes_instead_of_the_rest(serve, tmp_path, what):
    served = [True]
    server = serve(lambda number, start: (cut() if start is None else rest(start)) if served[0] else FINAL[what][0])
    server.answer, good = (lambda number, start: cut() if number == 1 else FINAL[what][0]), server.answer
    with pytest.raises(DataError, match=FINAL[what][1]):
        get(server, tmp_path / "set")
    server.answer = good
    get(server, tmp_path / "set")
    assert server.gets[-1] == HALF
    assert (tmp_path / "set/set.bin").read_bytes() == BODY


def test_a_gz_that_its_server_labels_as_packed_is_the_file(serve, tmp_path):
    packed = gzip.compress(BODY)
    get(serve(lambda *_: whole(packed, Content_Encoding="x-gzip")), tmp_path / "set", path="/labels.gz")
    assert (tmp_path / "set/labels.gz").read_bytes() == packed


def test_a_body_without_end_is_broken_off(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "UNSTATED", 5_000_000)
    server = serve(lambda *_: itertools.chain([head("200 OK")], itertools.repeat(bytes(65536))))
    with pytest.raises(
        DataError, match=r"states no size, and had sent 0\.005 GB when it was stopped; download it elsewhere"
    ):
        get(server, tmp_path / "set")
    assert len(server.gets) == 1
    assert not any(path.is_file() and path.stat().st_size for path in tmp_path.rglob("*"))


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "???",
            "set.bin",
            "http://",
            "http:///set.bin",
            "http://[::1",
            "http://[x]/a",
            "http://h:99999/a",
            "http://h:x/a",
        ),
        *(
            "http://h/a/..",
            "http://h/%00",
            "http://h/a%0Ab",
            "http://h/a\nb",
            "http://h/\ud800",
            "http://h/" + "a" * 5000,
        ),
        *(f"http://h/{MARKER}", "ftp://h/a", "data:,x", "javascript:x"),
    ],
)
def test_an_address_that_is_none_is_refused_before_anything_is_done(tmp_path, url):
    about = AboutConfig(
        title="t", homepage="h", citation="c", licence="l", access="free", downloads=[DownloadConfig(url)]
    )
    with pytest.raises(DataError, match=r"cannot be asked for .*; correct about\.downloads of set") as error:
        fetch("set", about, tmp_path / "set")
    assert str(error.value).isprintable()
    assert list(tmp_path.iterdir()) == []


def tar_of(folder, *names):
    with tarfile.open(folder / "made.tar", "w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return (folder / "made.tar").read_bytes()


def test_an_archive_of_the_notes_of_fetch_is_removed(serve, tmp_path):
    served = tar_of(tmp_path, MARKER)
    with pytest.raises(DataError, match=r"the file was removed, since .* brings \.fetch\.json.*set dataset\.root"):
        get(serve(lambda *_: whole(served)), tmp_path / "set", path="/set.tar", unpack=True)
    assert {path.name for path in tmp_path.iterdir()} <= {"made.tar", "set", ".set.fetch.lock"}


def test_a_file_where_another_archive_has_a_folder_is_no_fault_of_the_disk(serve, tmp_path):
    archives = [tar_of(tmp_path, "a/b"), tar_of(tmp_path, "a")]
    urls = []
    for body in archives:
        server = serve(lambda *_, body=body: whole(body))
        urls.append(DownloadConfig(f"http://127.0.0.1:{server.server_address[1]}/{len(urls)}.tar"))
    about = AboutConfig(title="t", homepage="h", citation="c", licence="l", access="free", downloads=urls)
    with pytest.raises(DataError, match=r"1\.tar: brings .*/set/a, where .*/set has a folder for a file"):
        fetch("set", about, tmp_path / "set")


def test_a_folder_that_is_a_file_is_no_full_disk(serve, tmp_path):
    (tmp_path / "data").write_text("mine")
    with pytest.raises(DataError, match=r"cannot be written .*; .*set data_dir to another folder") as error:
        get(serve(lambda *_: whole()), tmp_path / "data/set")
    assert "free the disk" not in str(error.value)
