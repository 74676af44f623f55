"""Digests of files, values and code, those of files remembered: one that has not changed is read once."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from .atomic import write_atomic
from .checksummed_lines import decode_line, encode_line
from .errors import DataError

Progress = Callable[[int, int], None]
Signature = tuple[int, int, int, int, int]
SETTLED = 0.1  # seconds: a file that changed this recently could change again and keep its time stamps
COARSE = 2.0  # the same, on a file system that keeps whole seconds


def usable_cpus() -> int:
    """How many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def digest_of(file: Path) -> str:
    """SHA-256 (64 hexadecimal digits) of what a file holds; OSError if it cannot be read."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_of(value: Any, size: int = 16) -> str:
    """BLAKE2b (`size` bytes, in hexadecimal digits) of anything that JSON can say; the order of its keys does not count."""
    return hash_of_bytes(json.dumps(value, sort_keys=True).encode(), size=size)


def hash_of_bytes(*parts: bytes | memoryview, size: int = 16) -> str:
    """BLAKE2b (`size` bytes, in hexadecimal digits) of bytes, as if they were one piece."""
    digest = hashlib.blake2b(digest_size=size)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def digest_of_code(rooms: Iterable[Path]) -> str:
    """Digest (32 hexadecimal digits) of all Python files below these folders: of their places and of what they hold."""
    parts: list[bytes] = []
    for room in rooms:
        for path in sorted(room.rglob("*.py")):
            parts += [f"{room.name}/{path.relative_to(room).as_posix()}".encode(), path.read_bytes()]
    return hash_of_bytes(*parts)


class DigestCache:
    """SHA-256 of files, kept in a file of checksummed lines beside which nothing else is needed.

    An entry holds for a path as long as device, inode, size and both time stamps are what they were. Processes only ever
    append whole lines or replace the file, so that several may write at once; what is damaged is left out and made again.
    A cache that cannot be written is not an error: its files are then read each time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, tuple[Signature, str]] = {}
        self._lines = self._load()

    def digests(self, files: Iterable[Path], progress: Progress | None = None) -> dict[Path, str]:
        """The digest (hexadecimal) of every file, computed in parallel where it is not known.

        Raises DataError naming a file that is missing or cannot be read.
        """
        started = time.time()
        signatures = {file: _signature(file) for file in files}
        missing = [file for file, signature in signatures.items() if not self._holds(file, signature)]
        fresh = []
        with ThreadPoolExecutor(usable_cpus()) as pool:
            for done, (file, digest) in enumerate(zip(missing, pool.map(_digest, missing), strict=True), start=1):
                signature = signatures[file]
                self._known[_name(file)] = signature, digest
                if _settled(signature, started) and _signature(file) == signature:
                    fresh.append(encode_line([_name(file), signature, digest]))
                if progress:
                    progress(done, len(missing))
        if fresh:
            self._append(fresh)
        return {file: self._known[_name(file)][1] for file in signatures}

    def check(self, files: Iterable[Path]) -> None:
        """Raises DataError for a file that is no longer what its digest was computed from."""
        for file in files:
            if not self._holds(file, _signature(file)):
                raise DataError(f"{file}: changed while it was being read; wait until it is complete and run again")

    def _holds(self, file: Path, signature: Signature) -> bool:
        known = self._known.get(_name(file))
        return known is not None and known[0] == signature

    def _load(self) -> int:
        lines: list[bytes] = []
        with suppress(OSError):
            lines = self.path.read_bytes().splitlines()
        for line in lines:
            with suppress(ValueError, TypeError):
                name, signature, digest = decode_line(line)
                self._known[name] = tuple(signature), digest
        return len(lines)

    def _append(self, fresh: list[bytes]) -> None:
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._lines > 2 * len(self._known) + 100:
                self._rewrite()
            with self.path.open("ab", buffering=0) as stream:
                stream.write(b"\n" + b"".join(fresh))  # the newline ends a line that another process did not finish

    def _rewrite(self) -> None:
        """Replace the file by one without the entries that others superseded."""
        lines = [encode_line([name, *entry]) for name, entry in self._known.items()]
        write_atomic(self.path, b"".join(lines))
        self._lines = len(lines)


def _name(file: Path) -> str:
    return os.path.abspath(file)  # noqa: PTH100 (resolve() asks the disk about every part of the path)


def _signature(file: Path) -> Signature:
    try:
        stat = file.stat()
    except OSError as error:
        raise unreadable(file, error) from error
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _digest(file: Path) -> str:
    try:
        return digest_of(file)
    except OSError as error:
        raise unreadable(file, error) from error


def _settled(signature: Signature, now: float) -> bool:
    changed = max(signature[3:])
    return now - changed / 1e9 > (COARSE if changed % 10**9 == 0 else SETTLED)


def unreadable(file: Path, error: OSError) -> DataError:
    return DataError(f"{file}: cannot be read ({error.strerror}); check that it is there and that you may read it")
