"""One file over HTTP: resumed where it broke off, tried again with patience, checked against its checksum."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError, ReadTimeoutError

from data_modules.base.config import DownloadConfig
from data_modules.base.errors import DataError

CHUNK = 2**20
BUSY = (408, 425, 429, 500, 502, 503, 504)  # answers that may be another one a moment later
BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, HTTPError)
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Patience:
    """attempts: how often in a row without a byte; wait: seconds after the first, doubled each time; timeout: seconds to
    connect and between two pieces of an answer."""

    attempts: int = 5
    wait: float = 1.0
    timeout: tuple[float, float] = (15.0, 60.0)
    longest_wait: float = 60.0


PATIENCE = Patience()


class _TryAgainError(Exception):
    """An attempt that failed in a way that the next one may not; seconds: how long the server asks to wait."""

    def __init__(self, reason: object, seconds: float = 0.0) -> None:
        super().__init__(str(reason))
        self.seconds = seconds


def remote_size(url: str, session: requests.Session, patience: Patience) -> int | None:
    """Bytes of the file as the server states them; None where it does not (the download itself then tells)."""
    try:
        head = session.head(url, allow_redirects=True, timeout=patience.timeout, headers=_headers())
        return int(head.headers["Content-Length"]) if head.ok else None
    except (requests.RequestException, KeyError, ValueError):
        return None


def download(
    source: DownloadConfig, path: Path, session: requests.Session, patience: Patience, advance: Advance | None = None
) -> dict[str, str]:
    """Bring the URL to `path` and return its md5 and sha256; a file that is there whole is only checked.

    What is there of it (in a sibling `.part`) is continued if the server still has the same file (If-Range with its ETag
    or date; without either only if a checksum will tell), and begun again if not, or if the server knows no ranges.
    advance: told of the bytes that are there.
    Raises DataError for an address that does not answer or answers with a refusal, for a full disk, and for a wrong
    checksum, after which the file is removed.
    """
    if not re.match(r"https?://", source.url):
        raise DataError(
            f"{source.url}: expected an address that begins with http:// or https://; correct about.downloads"
        )
    part = path.with_name(path.name + ".part")
    failures, reason = 0, ""
    while not path.exists() and failures < patience.attempts:
        before = _size(part)
        try:
            _attempt(source, part, session, patience, advance)
            part.replace(path)
        except (*BROKEN, _TryAgainError) as error:
            failures = 1 if _size(part) > before else failures + 1
            reason = _reason(error, source.url)
            if _unknown_host(error):
                raise DataError(
                    f"{urlsplit(source.url).hostname}: the name of this host cannot be looked up; connect this machine to the "
                    "network (or set HTTPS_PROXY) and fetch again, or download it elsewhere and set dataset.root to it"
                ) from error
            asked = error.seconds if isinstance(error, _TryAgainError) else 0.0
            if failures < patience.attempts:
                time.sleep(min(max(patience.wait * 2 ** (failures - 1), asked), patience.longest_wait))
        except requests.RequestException as error:
            raise DataError(
                f"{source.url}: cannot be asked for ({_reason(error, source.url)}); correct about.downloads"
            ) from error
    if not path.exists():
        raise DataError(
            f"{source.url}: does not come through ({reason}), tried {patience.attempts} times; {_size(part)} bytes are "
            "kept, fetch again to go on from there"
        )
    return _verified(source, path)


def need_space(folder: Path, needed: int, what: str) -> None:
    """Raises DataError if the disk of the folder has fewer free bytes than needed."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder}: {what} needs {needed / 1e9:.2f} GB, the disk has {free / 1e9:.2f} GB free; free some, or set "
            "data_dir (or ANOMALY_BENCH_DATA) to a folder on another disk"
        )


def _attempt(
    source: DownloadConfig, part: Path, session: requests.Session, patience: Patience, advance: Advance | None
) -> None:
    state = part.with_name(part.name + ".json")
    start, validator = _size(part), _validator(state, source)
    if start and not (validator or source.md5 or source.sha256):
        start = 0
    headers = _headers()
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator:
            headers["If-Range"] = validator
    with session.get(source.url, headers=headers, stream=True, timeout=patience.timeout) as answer:
        if answer.status_code == 416:
            if _whole(answer) == start:
                return
            part.unlink(missing_ok=True)
            raise _TryAgainError("what was there of the file does not fit, it is begun again")
        _check_status(source.url, answer)
        if start and not (answer.status_code == 206 and _first(answer) == start):
            if answer.status_code == 206:
                part.unlink()
                raise _TryAgainError("the server sent another part of the file than asked for")
            start = 0
        if not start:
            part.unlink(missing_ok=True)  # first: the validator of one file must never lie beside the bytes of another
            _remember(state, source, answer)
        left = answer.headers.get("Content-Length", "")
        if left.isdigit():
            need_space(part.parent, int(left), source.url)
        with part.open("ab" if start else "wb") as stream:
            for chunk in answer.raw.stream(CHUNK, decode_content=False):
                stream.write(chunk)
                if advance:
                    advance(stream.tell())
    if left.isdigit() and _size(part) < start + int(left):
        raise _TryAgainError(f"broke off after {_size(part)} of {start + int(left)} bytes")


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
    return {name: digest.hexdigest() for name, digest in digests.items()}


def _unknown_host(error: BaseException) -> bool:
    return any(isinstance(one, NameResolutionError) for one in _causes(error))


def _reason(error: BaseException, url: str) -> str:
    """Why a request failed, in a few words; the libraries nest up to four errors, each with the text of the next."""
    host = urlsplit(url).hostname
    for one in _causes(error):
        if isinstance(one, ReadTimeoutError | ConnectTimeoutError) and not isinstance(one, NewConnectionError):
            return f"{host} does not answer"
        if isinstance(one, OSError) and one.strerror:
            return f"{host}: {one.strerror.lower()}"
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it was made from, the innermost last."""
    seen: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            yield one
            waiting += [getattr(one, "reason", None), one.__cause__, one.__context__, *one.args]


def _check_status(url: str, answer: requests.Response) -> None:
    if answer.status_code in BUSY:
        after = answer.headers.get("Retry-After", "")
        raise _TryAgainError(f"{answer.status_code} {answer.reason}", float(after) if after.isdigit() else 0.0)
    if answer.status_code not in (200, 206):
        raise DataError(
            f"{url}: the server answers {answer.status_code} {answer.reason}; if the file has moved, get it from the dataset's "
            "homepage and correct about.downloads"
        )


def _headers() -> dict[str, str]:
    """Bytes as they are stored: a compressed answer could not be resumed."""
    return {"Accept-Encoding": "identity", "User-Agent": "anomaly-bench"}


def _remember(state: Path, source: DownloadConfig, answer: requests.Response) -> None:
    tag = answer.headers.get("ETag", "")
    validator = tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")
    state.write_text(json.dumps({"url": source.url, "validator": validator}))


def _validator(state: Path, source: DownloadConfig) -> str | None:
    try:
        kept = json.loads(state.read_text())
        return str(kept["validator"]) if kept["url"] == source.url and kept["validator"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _first(answer: requests.Response) -> int | None:
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _whole(answer: requests.Response) -> int | None:
    match = re.match(r"bytes \*/(\d+)", answer.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
