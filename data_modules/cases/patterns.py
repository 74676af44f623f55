"""File name patterns: from a folder to the cases of a dataset.

A pattern is a path relative to the data root. `{name}` stands for a piece of a file or folder name and must be the same
wherever it occurs in the patterns of one case; `{name=text}` takes up nothing and says
what the name stands for; `*` matches anything inside one name, `**/` any number of folders. Endings (.nii.gz) match in
capitals or not, accents however they are composed; one that is not spelled out (`{stem}.*`) is any of pictures and volumes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from data_modules.base.errors import DataError
from data_modules.base.names import ENDING, composed

from .files import is_image, list_files

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
        return self._listed[0]

    @property
    def useless(self) -> list[str]:
        """Files that nobody can use, see list_files."""
        return self._listed[1]

    @cached_property
    def _listed(self) -> tuple[list[str], list[str]]:
        if not self.root.is_dir():
            raise DataError(f"{self.root}: no such folder; set {self.key}=FOLDER")
        files, useless = list_files(self.root)
        if not files:
            raise DataError(f"{self.root}: the folder is empty; set {self.key} to the folder that holds the dataset")
        return files, useless

    def there(self) -> str:
        """What lies in the root, for messages."""
        names = sorted({path.partition("/")[0] + ("/" if "/" in path else "") for path in self.files})
        return f"there are {', '.join(names[:ENTRIES])}{' …' if len(names) > ENTRIES else ''}"

    def find(self, pattern: str) -> list[tuple[str, dict[str, str]]]:
        """Files that match the pattern, each with what its `{names}` stand for; sorted by path."""
        if pattern not in self._cache:
            regex = compile_pattern(pattern)
            matches = ((path, regex.fullmatch(composed(path))) for path in self.files)
            said = dict(_SAID.findall(composed(pattern)))
            self._cache[pattern] = [
                (path, match.groupdict() | said)
                for path, match in matches
                if match and (_spells_ending(pattern) or is_image(path))
            ]
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
        wanted = {key: names.get(key, "") for key in names_in(pattern)}
        return self._index[pattern].get(tuple(sorted(wanted.items())), [])


def names_in(pattern: str) -> list[str]:
    """The names of its {name} and {name=text}. Raises DataError for one that is none."""
    return [*compile_pattern(pattern).groupindex, *dict(_SAID.findall(pattern))]


def group_pattern(key: str, pattern: str) -> re.Pattern[str]:
    """The regular expression at a config key, whose first parentheses name the group of a subject.

    Raises DataError for a pattern that is none or has no parentheses.
    """
    try:
        compiled = re.compile(composed(pattern))
    except re.error as error:
        raise DataError(f"{key}={pattern}: no regular expression ({error}); correct it") from error
    if compiled.groups < 1:
        raise DataError(f"{key}={pattern}: expected parentheses around what names the group")
    return compiled


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern, for composed paths; a name that occurs twice must stand for the same text.

    Raises DataError for a name that is none, such as {2}.
    """
    pattern = _SAID.sub("", composed(pattern))
    ending = _ending_at(pattern)

    def literal(start: int, end: int) -> str:
        cut = min(max(start, ending), end)
        before, after = re.escape(pattern[start:cut]), re.escape(pattern[cut:end])
        return f"{before}(?i:{after})" if after else before

    out, position, seen = "", 0, set()
    for token in _TOKEN.finditer(pattern):
        out += literal(position, token.start())
        name, folders, _ = token.groups()
        if name:
            if not name.isidentifier():
                raise DataError(f"pattern '{pattern}': {{{name}}} is no name; begin it with a letter, {{n{name}}}")
            out += f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+)"
            seen.add(name)
        else:
            out += "(?:.*/)?" if folders else "[^/]*"
        position = token.end()
    return re.compile(out + literal(position, len(pattern)))


def _ending_at(pattern: str) -> int:
    found = ENDING.search(pattern)
    return found.start() if found else len(pattern)


def _spells_ending(pattern: str) -> bool:
    """Whether the last letters of a pattern say what files are: not of `{stem}`, `{stem}.*` and `T1_*`."""
    return "*" not in pattern[_ending_at(pattern) :] and not pattern.endswith(("*", "}"))
