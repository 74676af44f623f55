"""File name patterns: from a folder to the cases of a dataset.

A pattern is a path relative to the data root. `{name}` stands for a piece of a file or folder name and must be the same
wherever it occurs in the patterns of one case; `{name=text}` takes up nothing and says
what the name stands for; `*` matches anything inside one name, `**/` any number of folders.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from data_modules.base.errors import DataError

_TOKEN = re.compile(r"\{(\w+)\}|(\*\*/)|(\*)")
_SAID = re.compile(r"\{(\w+)=([^{}]+)\}")


ENTRIES = 8  # of a root, named in a message


@dataclass(frozen=True)
class Tree:
    """Every file below a root, listed once.

    Raises DataError if the root is missing, is no folder, or has no file.
    """

    root: Path
    key: str = "dataset.root"
    _cache: dict[str, list[tuple[str, dict[str, str]]]] = field(default_factory=dict, compare=False)
    _index: dict[str, dict[tuple[tuple[str, str], ...], list[str]]] = field(default_factory=dict, compare=False)

    @cached_property
    def files(self) -> list[str]:
        if not self.root.is_dir():
            raise DataError(f"{self.root}: no such folder; set {self.key}=FOLDER (or DATA_ROOT=FOLDER with make)")
        paths = [
            (Path(folder) / name).relative_to(self.root).as_posix()
            for folder, names in _walk(self.root)
            for name in names
            if not name.startswith(".")  # .DS_Store, and the ._NAME that macOS puts beside NAME in archives
        ]
        if not paths:
            raise DataError(f"{self.root}: the folder is empty; set {self.key} to the folder that holds the dataset")
        return sorted(paths)

    def there(self) -> str:
        """What lies in the root, for messages."""
        names = sorted({path.partition("/")[0] + ("/" if "/" in path else "") for path in self.files})
        return f"there are {', '.join(names[:ENTRIES])}{' …' if len(names) > ENTRIES else ''}"

    def find(self, pattern: str) -> list[tuple[str, dict[str, str]]]:
        """Files that match the pattern, each with what its `{names}` stand for; sorted by path."""
        if pattern not in self._cache:
            regex = compile_pattern(pattern)
            matches = ((path, regex.fullmatch(path)) for path in self.files)
            said = dict(_SAID.findall(pattern))
            self._cache[pattern] = [(path, match.groupdict() | said) for path, match in matches if match]
        return self._cache[pattern]

    def one(self, pattern: str, names: dict[str, str]) -> str | None:
        """The single file that the pattern, with `{names}` filled in, stands for; None if there is none.

        Raises DataError if there are several.
        """
        paths = self.all(pattern, names)
        if len(paths) > 1:
            raise DataError(f"{self.root}: {paths[0]} and {paths[1]} both match '{pattern}'; make the pattern stricter")
        return paths[0] if paths else None

    def all(self, pattern: str, names: dict[str, str]) -> list[str]:
        """The files that the pattern, with `{names}` filled in, stands for."""
        if pattern not in self._index:
            index: dict[tuple[tuple[str, str], ...], list[str]] = {}
            self._index[pattern] = index
            for path, got in self.find(pattern):
                index.setdefault(tuple(sorted(got.items())), []).append(path)
        wanted = {
            key: names.get(key, "") for key in (*compile_pattern(pattern).groupindex, *dict(_SAID.findall(pattern)))
        }
        return self._index[pattern].get(tuple(sorted(wanted.items())), [])


def group_pattern(key: str, pattern: str) -> re.Pattern[str]:
    """The regular expression at a config key, whose first parentheses name the group of a subject.

    Raises DataError for a pattern that is none or has no parentheses.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DataError(f"{key}={pattern}: no regular expression ({error}); correct it") from error
    if compiled.groups < 1:
        raise DataError(f"{key}={pattern}: expected parentheses around what names the group")
    return compiled


def _walk(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Every folder below the root with the names of its files; links are followed, but not to a folder they lie in."""
    above: dict[str, frozenset[tuple[int, int]]] = {}
    for folder, folders, names in os.walk(root, followlinks=True):
        status = Path(folder).stat()
        identity, parents = (status.st_dev, status.st_ino), above.get(str(Path(folder).parent), frozenset())
        if identity in parents:
            folders.clear()
            continue
        above[str(Path(folder))] = parents | {identity}
        yield folder, names


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern; a name that occurs twice must stand for the same text.

    Raises DataError for a name that is none, such as {2}.
    """
    pattern = _SAID.sub("", pattern)
    out, position, seen = "", 0, set()
    for token in _TOKEN.finditer(pattern):
        out += re.escape(pattern[position : token.start()])
        name, folders, _ = token.groups()
        if name:
            if not name.isidentifier():
                raise DataError(f"pattern '{pattern}': {{{name}}} is no name; begin it with a letter, {{n{name}}}")
            out += f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+)"
            seen.add(name)
        else:
            out += "(?:.*/)?" if folders else "[^/]*"
        position = token.end()
    return re.compile(out + re.escape(pattern[position:]))
