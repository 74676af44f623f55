"""One file over HTTP: resumed where it broke off, tried again with patience, checked against its checksum."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from urllib3.exceptions import HTTPError, NameResolutionError

from data_modules.base.config import DownloadConfig
from data_modules.base.errors import DataError, NoSpaceError

CHUNK = 2**20
TRIES = 5  # in a row, since the file was longer than it had ever been
MOST_TRIES = 200  # for a file in one call, however little each of them brings
LARGEST = 10**13  # bytes: no file of a dataset has as many
UNSTATED = 20 * 10**9  # bytes of a file whose size the server does not state, which may have no end
WAIT = 1.0  # seconds, doubled from try to try
LONGEST_WAIT = 60  # seconds, whatever a busy server asks for
TIMEOUT = (15.0, 60.0)  # seconds to connect, and between two pieces of an answer
SPARE = 2**28  # bytes of the disk that a file of unstated size leaves free
BUSY = (408, 425, 429, 500, 502, 503, 504)  # answers that may be another one a moment later
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "anomaly-bench"}  # a compressed answer could not be resumed
Advance = Callable[[int], None]


def open_session() -> requests.Session:
    """A session that asks again, after longer and longer waits, where nobody answers or a server is busy."""
    session = requests.Session()
    retry = Retry(
        TRIES - 1,
        status_forcelist=BUSY,
        backoff_factor=WAIT,
        backoff_max=LONGEST_WAIT,
        retry_after_max=LONGEST_WAIT,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def remote_size(url: str) -> int | None:
    """Bytes of the file as the server states them; None where it does not (the download itself then tells).

    Asks once. Raises DataError if the name of the host cannot be looked up: without a network no patience helps.
    """
    try:
        head = requests.head(url, headers=HEADERS, allow_redirects=True, timeout=TIMEOUT)
        size = int(head.headers["Content-Length"])
        return size if head.ok and 0 <= size <= LARGEST else None
    except (requests.RequestException, HTTPError, KeyError, ValueError) as error:
        if isinstance(_cause(error), NameResolutionError):
            raise DataError(
                f"{urlsplit(url).hostname}: the name of this host cannot be looked up; connect this machine to the "
                "network (or set HTTPS_PROXY) and fetch again, or download it elsewhere and set dataset.root to it"
            ) from error
        return None


def download(
    source: DownloadConfig, path: Path, session: requests.Session, advance: Advance | None = None
) -> dict[str, str]:
    """Bring the URL to `path` and return its md5 and sha256; a file that is there whole is only checked.

    What is there of it (in a sibling `.part`) is continued if the server still has the same file (If-Range with its ETag
    or date; without either only if a checksum will tell), and begun again if not, or if the server answers with another
    part than it was asked for.
    advance: told of the bytes that are there.
    Raises DataError for an address that does not answer, answers with a refusal or a web page, or never with the file, for a
    full disk, and for a wrong checksum, after which the file is removed.
    """
    part = path.with_name(path.name + ".part")
    failures = tries = furthest = 0
    while not path.exists():
        furthest, tries = max(furthest, _size(part)), tries + 1
        try:
            _transfer(source, part, session, advance)
            part.replace(path)
        except DataError:
            raise
        except (requests.ConnectionError, requests.exceptions.RetryError) as error:
            raise _no_patience_left(source.url, part, error, TRIES) from error
        except (requests.RequestException, ValueError) as error:
            raise DataError(
                f"{source.url}: cannot be asked for ({one_line(error)}); correct about.downloads"
            ) from error
        except (
            HTTPError
        ) as error:  # an answer that broke off or is none, of which the retries of the session know nothing
            failures = 1 if _size(part) > furthest else failures + 1
            if failures >= TRIES or tries >= MOST_TRIES:
                raise _no_patience_left(source.url, part, error, tries) from error
            time.sleep(WAIT * 2 ** (failures - 1))
    return _verified(source, path)


def need_space(folder: Path, needed: int, what: str) -> None:
    """Raises NoSpaceError if the disk of the folder has fewer free bytes than needed."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise NoSpaceError(
            f"{folder}: {what} needs {needed / 1e9:.2f} GB, the disk has {free / 1e9:.2f} GB free; free some, or set "
            "data_dir (or ANOMALY_BENCH_DATA) to a folder on another disk"
        )


def _transfer(source: DownloadConfig, part: Path, session: requests.Session, advance: Advance | None) -> None:
    """Write what is missing of the file.

    Raises HTTPError where the answer breaks off or is not what was asked for (what does not fit is removed), and whatever
    the session does where there is none.
    """
    same_file = part.with_name(part.name + ".validator")  # what the server says to be asked with for the rest of it
    validator = same_file.read_text("latin-1") if same_file.exists() else ""
    start = _size(part) if validator or source.md5 or source.sha256 else 0
    headers = HEADERS | ({"Range": f"bytes={start}-"} if start else {})
    if start and validator:
        headers["If-Range"] = validator
    with session.get(source.url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        status, place = answer.status_code, answer.headers.get("Content-Range", "")
        if start and status == 416 and place == f"bytes */{start}":
            return
        if status == 206 and not place.startswith(f"bytes {start}-"):
            part.unlink(missing_ok=True)
            raise HTTPError(f"asked for what follows byte {start}, it answers with {place or 'a part unnamed'}")
        if start and status == 416:
            part.unlink()
            raise HTTPError(f"it has nothing after byte {start}")
        if status not in (200, 206):
            raise DataError(
                f"{source.url}: the server answers {status} {one_line(answer.reason)}; if the file has moved, get it from the "
                "dataset's homepage and correct about.downloads"
            )
        _check_kind(source.url, answer)
        if status == 200 or not start:
            part.unlink(missing_ok=True)  # first: the validator of one file must never lie beside the bytes of another
            tag = answer.headers.get("ETag", "W/")
            validator = answer.headers.get("Last-Modified", "") if tag.startswith("W/") else tag
            same_file.write_text(validator if validator.isprintable() else "", "latin-1")
        total = _stated(answer, start)
        need_space(part.parent, answer.raw.length_remaining or 0, source.url)
        most = min(UNSTATED, shutil.disk_usage(part.parent).free - SPARE) if total is None else total
        with part.open("ab") as stream:
            for chunk in answer.raw.stream(CHUNK, decode_content=False):
                stream.write(chunk)
                if stream.tell() > most:
                    break
                if advance:
                    advance(stream.tell())
        if _size(part) > most:
            part.unlink()
            if total is None:
                raise DataError(
                    f"{source.url}: the server states no size, and had sent {most / 1e9:.3g} GB when it was stopped; download "
                    "it elsewhere and set dataset.root to it, or, if it is as large, set data_dir to a folder with more room"
                )
            raise HTTPError(f"more than the {total} bytes come that it states")
        if total is not None and _size(part) < total:
            raise HTTPError(f"{_size(part)} of {total} bytes come")


def _stated(answer: requests.Response, start: int) -> int | None:
    """The bytes of the whole file, as an answer says that brings it from `start` on (status 206) or from its beginning."""
    total, rest = answer.headers.get("Content-Range", "").rpartition("/")[2], answer.raw.length_remaining
    if answer.status_code == 206:
        size = int(total[:30]) if total.isascii() and total.isdigit() else None if rest is None else start + rest
    else:
        size = rest
    if size is not None and size > LARGEST:
        raise DataError(f"{answer.url}: the server states {size} bytes, no file of a dataset; correct about.downloads")
    return size


def _check_kind(url: str, answer: requests.Response) -> None:
    """Raises DataError, before anything is removed for it, for a web page, and for a file packed for the transfer.

    Servers that label a .gz as packed by themselves are many, and mean the file.
    """
    coding, kind = (answer.headers.get(name, "").lower() for name in ("Content-Encoding", "Content-Type"))
    name = urlsplit(url).path.lower()
    if kind.startswith("text/html") and not name.endswith((".html", ".htm")):
        raise DataError(
            f"{url}: the server sends a web page, perhaps one to log in; open the address in a browser, and correct "
            "about.downloads, or set dataset.root to what you download there"
        )
    if coding not in ("", "identity") and not name.endswith((".gz", ".tgz")):
        raise DataError(
            f"{url}: the server sends it packed ({one_line(coding)}), although asked not to; correct about.downloads, or "
            "download it with a browser and set dataset.root to it"
        )


def _verified(source: DownloadConfig, path: Path) -> dict[str, str]:
    digests = {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            for digest in digests.values():
                digest.update(chunk)
    for name, digest in digests.items():
        expected = getattr(source, name)
        if expected and digest.hexdigest() != expected.lower():
            size = _size(path)
            path.unlink()
            raise DataError(
                f"{source.url}: expected {name} {expected}, got {digest.hexdigest()} ({size} bytes); the file was removed; "
                f"fetch again, and if it stays so the file was replaced there: look at it and correct about.downloads.{name}"
            )
    if not _size(path):
        path.unlink()
        raise DataError(f"{source.url}: the server sends an empty file; fetch again, or correct about.downloads")
    return {name: digest.hexdigest() for name, digest in digests.items()}


def _no_patience_left(url: str, part: Path, error: Exception, tries: int) -> DataError:
    cause = _cause(error)
    # before the reason, the words of urllib3 name its pool, the host and the port
    reason = str(next(iter(cause.args), cause)).rpartition(": ")[2]
    return DataError(
        f"{url}: does not come through ({one_line(reason)}), tried {tries} times; {_size(part)} bytes are kept, fetch again to "
        "go on from there, or download it elsewhere and set dataset.root to it"
    )


def one_line(text: object) -> str:
    """What others wrote, for a message: on one line, and not without end."""
    words = str(text)
    return (words if words.isprintable() else repr(words)[1:-1])[:200]


def _cause(error: Exception) -> Exception:
    """What went wrong on the last try, out of what urllib3 and requests wrap around it."""
    cause: Exception = getattr(next(iter(error.args), None), "reason", error)
    return cause


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
