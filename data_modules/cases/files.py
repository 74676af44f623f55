"""The files below a folder: each once, less what systems and programs leave there."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from pathlib import Path, PurePosixPath

from data_modules.base.errors import DataError

SYSTEM = re.compile(  # folders of desktops, file servers, archivers and Python; those that begin with a dot are hidden
    r"[.@$].*|#recycle|#snapshot|~snapshot|__macosx|__pycache__|_gsdata_|lost\+found|found\.\d+|recycler"
    r"|system volume information|network trash folder|temporary items",
    re.IGNORECASE,
)
PICTURES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".j2k", ".bmp", ".dib", ".tif", ".tiff", ".webp"),
    *(".avif", ".gif", ".pbm", ".pgm", ".ppm", ".pnm", ".pfm", ".tga", ".pcx", ".sgi", ".ico", ".psd", ".dds"),
)
VOLUMES = (".nii", ".mha", ".mhd", ".mgh", ".mgz", ".img", ".hdr", ".mnc", ".rec", ".par", ".head", ".brik")
PACKED = (".gz", ".bz2", ".xz", ".zst")
CLUTTER = (
    *(".txt", ".md", ".rst", ".pdf", ".doc", ".docx", ".html", ".htm", ".url", ".log", ".out", ".lnk", ".webloc"),
    *(".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".xls", ".xlsx", ".ods"),
    *(".md5", ".sha1", ".sha256", ".sha512", ".sfv", ".crc", ".asc", ".sig", ".db", ".bval", ".bvec", ".mat", ".m"),
    *(".py", ".pyc", ".ipynb", ".sh", ".bat", ".exe", ".zip", ".tar", ".rar", ".7z", ".lock", ".validator"),
)
PAPERS = ("readme", "license", "licence", "copying", "changelog", "changes", "notice", "citation", "authors")


def list_files(root: Path) -> tuple[list[str], list[str]]:
    """The files below a folder as paths relative to it, sorted; and those that nobody can use, apart.

    Links are followed, but not to a folder that they lie in; hidden files and folders, and those of systems, are passed
    over, and so is what goes away meanwhile. Of no use are pipes, sockets and devices, which a reader would wait for, and
    names with control characters, which no line of a table could hold.
    Raises DataError naming a folder that cannot be listed.
    """
    usable: list[str] = []
    useless: list[str] = []
    folders: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while folders:
        below, above = folders.pop()
        folder = root / below
        try:
            status = folder.stat()
            with os.scandir(folder) as found:
                entries = [entry for entry in found if not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise DataError(
                f"{folder}: the folder cannot be listed ({error.strerror}); let this user read it, or move it elsewhere"
            ) from error
        if (identity := (status.st_dev, status.st_ino)) in above:
            continue
        for entry in entries:
            path = below + entry.name
            mode = _mode(entry)
            if stat.S_ISDIR(mode):
                if not SYSTEM.fullmatch(entry.name):
                    folders.append((f"{path}/", above | {identity}))
            elif (mode and not stat.S_ISREG(mode)) or not speakable(path):
                useless.append(path)
            else:
                usable.append(path)
    return sorted(usable), sorted(useless)


def speakable(name: str) -> bool:
    """Whether a name has no control character and no end of a line."""
    return name.isprintable() or not any(unicodedata.category(sign) in ("Cc", "Zl", "Zp") for sign in name)


def is_clutter(path: str) -> bool:
    """Whether a file is text, a table, a checksum, an archive or a program, by its name: neither picture nor volume."""
    name = PurePosixPath(path.lower())
    return name.suffix in CLUTTER or name.stem in PAPERS or name.name.endswith("~")


def is_image(path: str) -> bool:
    """Whether a file is called as pictures and volumes are, in capitals or not; one without an ending may be either."""
    name = path.rpartition("/")[2].lower()
    if "." not in name:
        return name not in PAPERS
    ending = PurePosixPath(name.removesuffix(next((end for end in PACKED if name.endswith(end)), ""))).suffix
    return ending in PICTURES or ending in VOLUMES


def _mode(entry: os.DirEntry[str]) -> int:
    """What an entry, or what it links to, is; 0 for a link to nothing, which a reader will name."""
    try:
        if entry.is_file(follow_symlinks=False):
            return stat.S_IFREG
        return stat.S_IFDIR if entry.is_dir(follow_symlinks=False) else entry.stat().st_mode
    except OSError:
        return 0
