"""Which files of a dataset's folders belong to no case: what patterns that are a little wrong would lose without a word."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from data_modules.base.names import composed

from .files import is_clutter, is_image
from .patterns import Tree, compile_pattern

Names = Mapping[str, str]
SHOWN = 3  # files in a message
_TOKENS = re.compile(r"\{\w+\}|\*")


@dataclass(frozen=True)
class Unused:
    """Files of one tree, as paths below its root, that a run leaves out.

    alone: masks that no picture goes with; strange: files that fit no pattern, by the patterns of their folders, as a text;
    useless: see list_files; clutter: how many text files, tables, checksums and the like lie there, which nobody misses.
    """

    alone: list[str] = field(default_factory=list)
    strange: dict[str, list[str]] = field(default_factory=dict)
    useless: list[str] = field(default_factory=list)
    clutter: int = 0

    @property
    def files(self) -> list[str]:
        """All but the clutter, sorted."""
        return sorted([*self.alone, *self.useless, *(path for paths in self.strange.values() for path in paths)])


Tell = Callable[[Unused], None]


def unused(
    tree: Tree,
    patterns: Sequence[str],
    masks: Sequence[str] = (),
    known: Collection[str] = (),
    wanted: Callable[[Names], bool] = lambda _: True,
) -> Unused:
    """What lies where the patterns look, and fits none of them, or is a mask of no picture.

    patterns: of images, and of what belongs to those of volumes; masks: of pictures; known: other files that are used; wanted:
    whether what a pattern's names stand for is asked for. A pattern looks into the folders of what fits it, and of any
    other folders that it names in letters; of images also into what lies below these.
    """
    fits = {pattern: tree.find(pattern) for pattern in dict.fromkeys([*patterns, *masks])}
    fitting = {path for found in fits.values() for path, _ in found}.union(known)
    folders: dict[str, list[str]] = defaultdict(list)
    for pattern, found in fits.items():
        places = [(path.rpartition("/")[0], names) for path, names in found]
        within = f"{pattern.rpartition('/')[0]}/".removeprefix("/")
        if not within.startswith("**/") or re.search(r"\w", _TOKENS.sub("", within)):
            look = compile_pattern(f"{within}*")
            matches = ((path, look.fullmatch(composed(path))) for path in tree.files)
            places += [(path.rpartition("/")[0], match.groupdict()) for path, match in matches if match]
        for folder in dict.fromkeys(folder for folder, names in places if wanted(names)):
            folders[folder].append(pattern)
    strange: dict[str, list[str]] = defaultdict(list)
    clutter = 0
    for path in tree.files:
        if path not in fitting and (here := _looked_at(path, folders)):
            if is_clutter(path):
                clutter += 1
            else:
                strange[" or ".join(f"'{pattern}'" for pattern in here)].append(path)
    images = [fits[pattern] for pattern in dict.fromkeys(patterns)]
    pictures = {path for found in images for path, _ in found}
    alone = [
        path
        for pattern in dict.fromkeys(masks)
        for path in _alone(fits[pattern], images, wanted)
        if path not in pictures and path not in known
    ]
    return Unused(sorted(set(alone)), dict(strange), tree.useless, clutter)


def _looked_at(path: str, folders: Mapping[str, list[str]]) -> list[str] | None:
    """The patterns of the folder of a file, of an image also those of a folder further above, but the root."""
    above = path.rpartition("/")[0]
    if above in folders or not is_image(path):
        return folders.get(above)
    while above and above not in folders:
        above = above.rpartition("/")[0]
    return folders.get(above) if above else None


def _alone(
    masks: Iterable[tuple[str, Names]], images: Sequence[Sequence[tuple[str, Names]]], wanted: Callable[[Names], bool]
) -> list[str]:
    """The masks that agree with none of the images in the names that both have."""
    masks = [(path, names) for path, names in masks if wanted(names)]
    left = dict(masks)
    for found in images:
        shared = sorted(set(found[0][1]) & set(masks[0][1])) if found and masks else []
        there = {tuple(names[key] for key in shared) for _, names in found} if shared else set()
        left = {path: names for path, names in left.items() if tuple(names.get(key) for key in shared) not in there}
    return list(left)


def listed(paths: Sequence[str]) -> str:
    """Some of the paths, each on one line whatever it holds."""
    shown = ", ".join(repr(path)[1:-1] if not path.isprintable() else path for path in paths[:SHOWN])
    return shown if len(paths) <= SHOWN else f"{shown} and {len(paths) - SHOWN} more"
