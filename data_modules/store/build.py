"""Building a slice store: cases are decoded by all cores and written in their order, so that a kill loses little.

The store grows in a folder of its own under a lock. Each case is written, then vouched for by a line of the journal; who
finds an unfinished store goes on after its last whole case. The folder is renamed when everything is there. Cases of the
same files that another store of the same settings holds are copied from it.
"""

from __future__ import annotations

import logging
import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from data_modules.base.batch import Slices
from data_modules.base.checksummed_lines import encode_line
from data_modules.base.digests import Progress, usable_cpus
from data_modules.base.errors import DataError, NoSpaceError

from .copied import CopiedCases
from .folders import locked, partial_path
from .format import Block, encode, intact, map_bytes
from .journal import FILES, JOURNAL, Entry, Header, as_record, last_line, read_journal
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
        if store is None:
            if folder.exists():
                shutil.rmtree(folder)
            partial = partial_path(folder)
            finished = CopiedCases(folder, header)
            wanted = list(zip(cases, contents or [""] * len(cases), strict=True))
            try:
                with single_threaded():
                    _write(
                        partial, header, wanted, lambda case, content: finished.block(content) or read(case), progress
                    )
            except Exception as error:
                if not isinstance(error, DataError) or isinstance(error, NoSpaceError) or not read_journal(partial)[1]:
                    shutil.rmtree(partial, ignore_errors=True)
                raise
            partial.replace(folder)
            store = SliceStore(folder)
            finished.remove_unfinished(contents)
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
    cases: Sequence[tuple[C, str]],
    read: Callable[[C, str], Slices | Block],
    progress: Progress | None,
) -> None:
    entries, total = _resume(folder, header, cases), len(cases)
    report = progress or (lambda done, total: None)
    report(len(entries), total)
    ends: Sequence[int] = entries[-1].ends if entries else (0,) * len(FILES)
    with ExitStack() as stack:
        files = [stack.enter_context((folder / f"{name}.bin").open("ab")) for name in FILES]
        journal = stack.enter_context((folder / JOURNAL).open("ab"))
        if not entries:
            journal.write(encode_line(as_record(header)))
        blocks = stack.enter_context(closing(_blocks(read, cases[len(entries) :], header.storage)))
        for done, block in enumerate(blocks, start=len(entries) + 1):
            entry = block.entry.after(ends)
            each = sum(entry.ends) / done
            if done == len(entries) + 1:
                logger.warning(
                    "preparing %s: %d subjects, about %s in %s", header.name, total, _size(each * total), folder.parent
                )
            _check_space(folder, header.name, each * (total - done + 1))
            for file, array in zip(files, block.arrays, strict=True):
                file.write(array.data)  # not tofile(), which forgets why a full disk refused
                file.flush()
            journal.write(encode_line(as_record(entry)))
            journal.flush()
            ends = entry.ends
            report(done, total)
        journal.write(encode_line(last_line(total)))


def _resume(folder: Path, header: Header, cases: Sequence[tuple[Named, str]]) -> list[Entry]:
    """The cases that an earlier process has written, with the files cut to them; none if it wrote something else."""
    try:
        found, lines, _ = read_journal(folder)
        files = [map_bytes(folder / f"{name}.bin") for name in FILES]
    except DAMAGE:
        found, lines, files = None, [], []
    good = 0
    if found is not None and found.fingerprint == header.fingerprint:
        sound = intact(files, [entry for entry, _ in lines])
        for (entry, _), (case, content), whole in zip(lines, cases, sound, strict=False):
            if not whole or (entry.subject, entry.content) != (case.subject, content):
                break
            good += 1
    if good == 0:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return []
    entries = [entry for entry, _ in lines[:good]]
    for name, end in zip((*FILES, None), (*entries[-1].ends, lines[good - 1][1]), strict=True):
        with (folder / (f"{name}.bin" if name else JOURNAL)).open("r+b") as stream:
            stream.truncate(end)
    return entries


def _blocks(
    read: Callable[[C, str], Slices | Block], cases: Sequence[tuple[C, str]], storage: str
) -> Generator[Block, None, None]:
    """The cases in their order, decoded by as many threads as there are cores.

    As many again may wait, done, for one before them; their slices are kept as they are stored.
    """

    def block(case: C, content: str) -> Block:
        found = read(case, content)
        whole = found if isinstance(found, Block) else encode(found, storage)
        return Block(whole.arrays, replace(whole.entry, content=content))

    workers = usable_cpus()
    waiting: deque[Future[Block]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for case, content in cases:
            if len(waiting) == 2 * workers:
                yield waiting.popleft().result()
            waiting.append(pool.submit(block, case, content))
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
