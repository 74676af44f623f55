"""Building a slice store: cases are decoded by all cores and written in their order, so that a kill loses little.

The store grows in a folder of its own under a lock. Each case is written, then vouched for by a line of the journal; who
finds an unfinished store goes on after its last whole case. The folder is renamed when everything is there. Cases of the
same files that another store of the same settings holds are copied from it.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from data_modules.base.atomic import write_atomic
from data_modules.base.batch import Slices
from data_modules.base.checksummed_lines import encode_line
from data_modules.base.digests import Progress, usable_cpus
from data_modules.base.errors import DataError, NoSpaceError
from data_modules.base.locks import locked

from .copied import CopiedCases
from .folders import partial_path
from .format import Block, encode, intact, map_bytes
from .journal import FILES, JOURNAL, Entry, Header, last_line, offsets, read_journal
from .store import DAMAGE, SliceStore, open_store

logger = logging.getLogger(__name__)
MIB, GIB = 1 << 20, 1 << 30


class Named(Protocol):
    """A case, as far as the store has to know it."""

    @property
    def subject(self) -> str: ...


C = TypeVar("C", bound=Named)


def build_store(
    folder: Path,
    header: Header,
    cases: Sequence[C],
    read: Callable[[C], Slices],
    progress: Progress | None = None,
    contents: Sequence[str] = (),
) -> SliceStore:
    """The store at `folder`, written unless another process has just done so.

    read: decodes a case; called from several threads. contents: per case the digest of its files, by which finished cases
    are found in other stores with the header's `reuse`. Raises DataError if the disk would not hold the store; that and
    the errors of the disk leave no store behind, whole or half. A killed process, and a case of which `read` raises
    DataError, leave what is written to the next one.
    """
    with locked(folder):
        store = open_store(folder)
        if store is not None:
            return store
        if folder.exists():
            shutil.rmtree(folder)
        copied, partial = CopiedCases(folder, header), partial_path(folder)
        contents = contents or [""] * len(cases)
        wanted = [(case.subject, content) for case, content in zip(cases, contents, strict=True)]

        def block(index: int) -> Block:
            content = contents[index]
            return copied.block(content) or encode(read(cases[index]), header.storage, content)

        try:
            with single_threaded():
                _write(partial, header, wanted, block, progress)
        except Exception as error:
            if not isinstance(error, DataError) or isinstance(error, NoSpaceError) or not read_journal(partial).entries:
                shutil.rmtree(partial, ignore_errors=True)
            raise
        partial.replace(folder)
        store = SliceStore(folder)
        copied.remove_unfinished(contents)
    return store


@contextmanager
def single_threaded() -> Iterator[None]:
    """One thread per torch operation, while as many operations run as there are cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _write(
    folder: Path,
    header: Header,
    wanted: Sequence[tuple[str, str]],
    block: Callable[[int], Block],
    progress: Progress | None,
) -> None:
    """Write the cases, each with its subject and content, into the folder of an unfinished store."""
    entries, total = _resume(folder, header, wanted), len(wanted)
    first, size = len(entries), sum(sum(entry.sizes) for entry in entries)
    report = progress or (lambda done, total: None)
    report(first, total)
    with ExitStack() as stack:
        files = [stack.enter_context((folder / f"{name}.bin").open("ab")) for name in FILES]
        journal = stack.enter_context((folder / JOURNAL).open("ab"))
        blocks = stack.enter_context(closing(_in_order(block, range(first, total))))
        for done, (arrays, entry) in enumerate(blocks, start=first + 1):
            size += sum(entry.sizes)
            each = size / done
            if done == first + 1:
                logger.warning(
                    "preparing %s: %d cases, about %s in %s", header.name, total, _size(each * total), folder.parent
                )
            _check_space(folder, header.name, each * (total - done + 1))
            for file, array in zip(files, arrays, strict=True):
                file.write(array.data)  # not tofile(), which forgets why a full disk refused
                file.flush()
            journal.write(encode_line(asdict(entry)))
            journal.flush()
            report(done, total)
        journal.write(encode_line(last_line(total)))


def _resume(folder: Path, header: Header, wanted: Sequence[tuple[str, str]]) -> list[Entry]:
    """The cases that an earlier process has written, with the files cut to them; none if it wrote something else."""
    good: list[Entry] = []
    with suppress(*DAMAGE):
        journal = read_journal(folder)
        if journal.header is not None and journal.header.fingerprint == header.fingerprint:
            sound = intact([map_bytes(folder / f"{name}.bin") for name in FILES], journal.entries)
            for entry, case, complete in zip(journal.entries, wanted, sound, strict=False):
                if not complete or (entry.subject, entry.content) != case:
                    break
                good.append(entry)
    if good:
        for name, end in zip(FILES, offsets(good)[-1], strict=True):
            os.truncate(folder / f"{name}.bin", end)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    lines = [encode_line(asdict(header)), *(encode_line(asdict(entry)) for entry in good)]
    write_atomic(folder / JOURNAL, b"".join(lines))
    return good


def _in_order(block: Callable[[int], Block], indices: Sequence[int]) -> Generator[Block, None, None]:
    """The blocks in order, made by as many threads as there are cores; as many again may wait, done, for one before them."""
    workers = usable_cpus()
    waiting: deque[Future[Block]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for index in indices:
            if len(waiting) == 2 * workers:
                yield waiting.popleft().result()
            waiting.append(pool.submit(block, index))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _check_space(folder: Path, name: str, needed: float) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise NoSpaceError(
            f"{folder.parent}: preparing {name} takes about {_size(needed)} more, and {_size(free)} are free; "
            "free some, choose another folder (cache_dir=FOLDER, or ANOMALY_BENCH_CACHE=FOLDER), or store less "
            "(dataset.storage=uint8, a smaller dataset.size, a larger dataset.slice_step for volumes)"
        )


def _size(count: float) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.1f} MiB"
