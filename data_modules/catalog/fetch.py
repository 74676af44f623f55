"""Get what may be downloaded of a dataset into its folder: once, whole, and with its licence accepted."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict
from urllib.parse import unquote, urlsplit

from filelock import FileLock, Timeout
from msgspec import convert

from data_modules.base.atomic import write_atomic
from data_modules.base.config import AboutConfig, DownloadConfig
from data_modules.base.digests import hash_of_bytes
from data_modules.base.errors import DataError
from data_modules.base.regular import regular
from data_modules.base.strict_json import loads

from .download import download, need_space, one_line, open_session, remote_size
from .members import DamagedArchiveError
from .unpack import unpack

ACCESS = ("embedded", "free", "licence", "registration")
MARKER = ".fetch.json"
LONGEST_NAME = 200  # bytes; disks have room for 255, and some more letters come before and after it
Progress = Callable[[int, int], None]
Tell = Callable[[str], None]


class Fetched(TypedDict):
    """What the marker says of an address: the digests of its file, and the names that it brought to the top of the folder."""

    md5: str
    sha256: str
    names: list[str]


@dataclass(frozen=True)
class FetchReport:
    """done: the data is there; message: what happened, or what a person has to do; folder: where the data is or belongs;
    fetched: the addresses that were downloaded now."""

    done: bool
    message: str
    folder: Path
    fetched: list[str] = field(default_factory=list)


def fetch(
    name: str,
    about: AboutConfig | None,
    target: Path,
    accept: bool = False,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> FetchReport:
    """Download and unpack about.downloads into the folder target; a second call finds everything there and does nothing.

    about: None if the YAML of the dataset has none; accept: the licence is accepted; progress: told of bytes so far and
    bytes in all (0: the servers do not say); tell: told in a sentence what is about to be downloaded.
    The report is not done where a person has to act: a registration, or no address to download from.
    Raises DataError for about None, a licence that is not accepted, another fetch into the same folder, a folder with
    files that fetch did not put there, a full disk, and for what `download` and `unpack` refuse; what was finished stays
    and a download that broke off is continued by the next call.
    """
    if about is None:
        raise DataError(f"{name}: its YAML has no 'about', so nothing is known on how to get it; set dataset.root")
    if about.access not in ACCESS:
        raise DataError(f"about.access={about.access} of {name}: expected one of {', '.join(ACCESS)}")
    if about.access == "embedded":
        return FetchReport(True, f"{name} comes with the program: there is nothing to fetch", target)
    if about.access == "registration" or not about.downloads:
        return FetchReport(False, _steps(name, about, target), target)
    _check_names(name, about.downloads)
    target = target.expanduser().resolve()
    missing = [source for source in about.downloads if not _is_there(target, source)]
    if not missing:
        return FetchReport(True, f"{name} is in {target} already", target)
    if about.access == "licence" and not accept:
        raise DataError(
            f"{name} comes under a licence: {about.licence} (see {about.homepage}); read it, and if you accept it add "
            "--accept-licence"
        )
    try:
        with _only_one(target) as work:
            missing = [source for source in about.downloads if not _is_there(target, source)]
            sizes = [remote_size(source.url) for source in missing]
            if tell and missing:
                tell(_announcement(name, about, missing, sizes, target))
            _get_all(missing, sizes, target, work, progress)
    except OSError as error:
        remedy = "free the disk or" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "give yourself the right to, or"
        raise DataError(f"{target}: cannot be written ({error}); {remedy} set data_dir to another folder") from error
    unchecked = sum(not (source.md5 or source.sha256) for source in missing)
    note = f"; {unchecked} of {len(missing)} files have no known checksum" if unchecked else ""
    return FetchReport(True, f"{name} is in {target}{note}", target, [source.url for source in missing])


def _get_all(
    sources: list[DownloadConfig],
    sizes: list[int | None],
    target: Path,
    work: Path,
    progress: Progress | None,
) -> None:
    if target.exists() and any(target.iterdir()) and not (target / MARKER).exists():
        raise DataError(
            f"{target}: holds files that fetch did not put there; move them away, or set dataset.root if they are the dataset"
        )
    files = [work / f"{hash_of_bytes(source.url.encode(), size=4)}-{_name(source)}" for source in sources]
    there = sum(path.stat().st_size for path in work.iterdir() if path.is_file())
    stated = sum(size or 0 for size in sizes)
    packed = sum(size or 0 for source, size in zip(sources, sizes, strict=True) if source.unpack)
    # An archive lies beside what it unpacks to, which is no smaller, until it is removed.
    need_space(work, max(0, stated - there) + packed, "the download, with room to unpack it,")
    total, done = 0 if None in sizes else stated, 0
    with open_session() as session:
        for source, size, path in zip(sources, sizes, files, strict=True):
            advance = (lambda got, done=done: progress(done + got, total)) if progress else None
            digests = download(source, path, session, advance)
            done += path.stat().st_size if size is None else size
            if progress:
                progress(done, total)
            _install(source, path, target, work, digests)


def _announcement(
    name: str, about: AboutConfig, sources: list[DownloadConfig], sizes: list[int | None], target: Path
) -> str:
    size = "of unknown size" if None in sizes else f"{sum(size or 0 for size in sizes) / 2**30:.2f} GiB"
    files = f"{len(sources)} file{'' if len(sources) == 1 else 's'}"
    return f"{name}: downloading {files}, {size}, into {target} ({about.licence}); Ctrl-C stops it, the same command goes on"


def _install(source: DownloadConfig, path: Path, target: Path, work: Path, digests: dict[str, str]) -> None:
    """Unpack beside the target, move into it, and only then remember and remove the archive."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix="unpacked-") as temporary:
        folder = Path(temporary)
        if source.unpack:
            try:
                unpack(path, folder, _name(source).removesuffix(".gz"))
                if (folder / MARKER).exists():
                    raise DamagedArchiveError(f"{path}: brings {MARKER}, where fetch keeps its notes; do not trust it")
            except DamagedArchiveError as error:
                path.unlink()
                raise DataError(
                    f"{source.url}: the file was removed, since {error}; if it stays so, get the dataset from its homepage and "
                    "set dataset.root"
                ) from error
        names = sorted(entry.name for entry in folder.iterdir()) if source.unpack else [_name(source)]
        _remember(target, {})
        try:
            _merge(folder, target)
        except (IsADirectoryError, NotADirectoryError) as error:
            raise DataError(
                f"{source.url}: brings {one_line(error.filename2 or error.filename)}, where {target} has a folder for a file "
                "or a file for a folder; move it away and fetch again"
            ) from error
    if not source.unpack:
        path.replace(target / _name(source))
    _remember(target, {source.url: {"md5": digests["md5"], "sha256": digests["sha256"], "names": names}})
    path.unlink(missing_ok=True)


def _merge(folder: Path, target: Path) -> None:
    for entry in sorted(folder.iterdir()):
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            _merge(entry, place)
        else:
            entry.replace(place)


@contextmanager
def _only_one(target: Path) -> Iterator[Path]:
    """The working folder beside the target, for one process at a time; it is removed unless something is left to resume."""
    work = target.with_name(f".{target.name}.fetch")
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(work.with_name(f"{work.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise DataError(f"{target}: another fetch is writing there; wait until it ends") from error
    try:
        work.mkdir(exist_ok=True)
        for leftover in work.glob("unpacked-*"):
            shutil.rmtree(leftover)
        yield work
    finally:
        if not any(path.suffix != ".validator" for path in work.iterdir()):
            shutil.rmtree(work)
        lock.release()


def _is_there(target: Path, source: DownloadConfig) -> bool:
    """Whether the marker remembers this very file and what it brought is still there."""
    kept = _marker(target).get(source.url)
    if kept is None or not all((target / name).exists() for name in kept["names"]):
        return False
    expected = {source.md5: kept["md5"], source.sha256: kept["sha256"]}
    return all(checksum is None or checksum.lower() == found for checksum, found in expected.items())


def _marker(target: Path) -> dict[str, Fetched]:
    """What was fetched, by address."""
    try:
        return convert(loads(regular(target / MARKER).read_bytes()), dict[str, Fetched])
    except (OSError, ValueError):  # none, or a damaged one: fetched again
        return {}


def _remember(target: Path, entry: dict[str, Fetched]) -> None:
    write_atomic(target / MARKER, json.dumps(_marker(target) | entry, indent=1).encode())


def _name(source: DownloadConfig) -> str:
    return Path(unquote(urlsplit(source.url).path)).name or "download"


def _check_names(name: str, sources: list[DownloadConfig]) -> None:
    for source in sources:
        if not _is_address(source):
            raise DataError(
                f"{one_line(source.url)}: cannot be asked for (expected http:// or https://, a host and a file's name); "
                f"correct about.downloads of {name}"
            )
    kept = [_name(source) for source in sources if not source.unpack]
    for twice in sorted({each for each in kept if kept.count(each) > 1}):
        raise DataError(f"about.downloads of {name}: two files would be kept as {twice}; keep one of them")


def _is_address(source: DownloadConfig) -> bool:
    try:
        parts, last = urlsplit(source.url), _name(source)
        named = last not in (".", "..", MARKER) and last.isprintable() and len(last.encode()) <= LONGEST_NAME
        reachable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        return named and reachable and source.url.isprintable()
    except ValueError:  # brackets, a port that is no number
        return False


def _steps(name: str, about: AboutConfig, target: Path) -> str:
    why = "asks for a registration" if about.access == "registration" else "cannot be fetched by a program"
    steps = about.steps or f"get it from {about.homepage}"
    return (
        f"{about.title} {why}.\nHomepage: {about.homepage}\nLicence: {about.licence}\nSteps: {steps}\n"
        f"Then put it into {target}, or set dataset.root to its folder; `anomaly-bench data verify dataset={name}` checks it."
    )
