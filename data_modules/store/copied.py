"""Cases that are decoded already: in another store of the same settings, finished or not."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from filelock import Timeout

from data_modules.base.checksummed_lines import crc32
from data_modules.base.locks import locked

from .folders import PARTIAL, final_name
from .format import Block
from .journal import FILES, Entry, Header, offsets, read_journal
from .store import DAMAGE


class CopiedCases:
    """The cases of all other stores beside a folder whose header has the same `reuse`, by the digest of their files."""

    def __init__(self, folder: Path, header: Header) -> None:
        self._places: dict[str, tuple[Path, Entry, Sequence[int]]] = {}
        self._unfinished: dict[Path, list[str]] = {}
        if not header.reuse:
            return
        for other in sorted(path for path in folder.parent.glob("*") if final_name(path.name) != folder.name):
            try:
                theirs, entries, _ = read_journal(other)
            except DAMAGE:
                continue
            if theirs is None or theirs.reuse != header.reuse:
                continue
            for entry, starts in zip(entries, offsets(entries), strict=False):
                if entry.content:
                    self._places[entry.content] = other, entry, starts
            if other.name.endswith(PARTIAL):
                self._unfinished[other] = [entry.content for entry in entries]

    def block(self, content: str) -> Block | None:
        """The bytes of a case, None if no store has them whole; may be called from several threads at once."""
        if content not in self._places:
            return None
        folder, entry, starts = self._places[content]
        arrays = []
        for name, start, size, checksum in zip(FILES, starts, entry.sizes, entry.checksums, strict=True):
            try:  # not mapped: another process may cut or remove the file meanwhile
                array = np.fromfile(folder / f"{name}.bin", np.uint8, count=size, offset=start)
            except DAMAGE:
                return None
            if len(array) != size or crc32(array) != checksum:
                return None
            arrays.append(array)
        return Block(arrays, entry)

    def remove_unfinished(self, contents: Sequence[str]) -> None:
        """Delete the unfinished stores that have nothing beyond these cases, unless a process goes on with them."""
        for folder, there in self._unfinished.items():
            if set(there) <= set(contents):
                with (
                    suppress(Timeout, FileNotFoundError),
                    locked(folder.with_name(final_name(folder.name)), wait=False),
                ):
                    shutil.rmtree(folder)
