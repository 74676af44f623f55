"""What the paths of pictures say: which subject each is, and which split and kind."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_modules.base.errors import DataError
from data_modules.base.names import composed

from .case import Case
from .patterns import Tree, compile_pattern

STEM, SUBJECT = "stem", "subject"


@dataclass(frozen=True)
class Picture:
    """A picture that a pattern fits: its path below the root, its name, what the pattern's names stand for."""

    path: str
    subject: str
    names: dict[str, str]
    pattern: str

    @property
    def owner(self) -> str:
        """The subject that the picture is of: what {subject} stands for (of {subject_a} and {subject_b}, both), or itself."""
        return "/".join(text for name, text in self.names.items() if name.startswith(SUBJECT)) or self.subject


@dataclass(frozen=True)
class Found:
    """A picture with its masks; pool: which splits it may go to; normal: whether it is one of the normal pictures."""

    picture: Picture
    pool: str
    masks: tuple[str, ...] = ()
    normal: bool = False


def case_of(owner: str, found: Sequence[Found], root: Path) -> Case:
    """The case of a subject with these pictures. Its attributes are what the patterns' other names stand for in all of them.

    One that has normal pictures goes where these may go, else where its anomalous ones may. Raises DataError if some of its
    normal pictures are to train on and others to test on.
    """
    ordered = sorted(found, key=lambda one: _natural(one.picture.path))
    pools = {one.pool for one in ordered if one.normal or one.pool == "any"} or {one.pool for one in ordered}
    if len(set_pools := pools - {"any"}) > 1:
        raise DataError(
            f"{root}: {owner} has pictures for {' and '.join(sorted(set_pools))}; its pictures go to one split"
        )
    shared = set.intersection(*(set(one.picture.names.items()) for one in ordered))
    alone = len(ordered) == 1 and ordered[0].picture.owner == ordered[0].picture.subject
    keys = ["image"] if alone else [str(number) for number in range(len(ordered))]
    return Case(
        owner,
        {key: one.picture.path for key, one in zip(keys, ordered, strict=True)},
        next(iter(set_pools), "any"),
        masks={key: one.masks for key, one in zip(keys, ordered, strict=True) if one.masks},
        root=root,
        attributes={key: text for key, text in sorted(shared) if key != STEM and not key.startswith(SUBJECT)},
    )


def _natural(path: str) -> list[str | int]:
    """A key by which 2 comes before 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path)]


def subject_name(pattern: str, path: str) -> str:
    """The path, composed, less the folders that the pattern's leading `**/` stands for (if it has no other)."""
    path, rest = composed(path), pattern.removeprefix("**/")
    if rest == pattern or "**/" in rest:
        return path
    return "/".join(path.split("/")[-rest.count("/") - 1 :])


def spells_out(normal: str, anomalous: str) -> bool:
    """Whether a folder or file name of the pattern, counted from the last, is narrower by a `{name}` of the anomalous one.

    good is so beside {defect}, MT_Free beside MT_{defect}. {stem} does not count: it tells pictures apart, not kinds.
    """
    for narrow, wide in zip(reversed(normal.split("/")), reversed(anomalous.split("/")), strict=False):
        if "{" not in wide.replace(f"{{{STEM}}}", ""):
            continue
        any_name = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(wide))
        if re.fullmatch(any_name, narrow) and not compile_pattern(narrow).fullmatch(wide):
            return True
    return False


def read_official_split(tree: Tree, pattern: str) -> dict[str, str]:
    """'train' or 'test' by subject, from a CSV with the columns image and split; other columns are passed over.

    Raises DataError if there is no such file, or naming the line that is none of this.
    """
    name = tree.one(pattern, {})
    if name is None:
        raise DataError(
            f"{tree.root}: no file fits dataset.official_split={pattern}; copy it there, or set it to null to divide the "
            "normal pictures by hash"
        )
    path, pools = tree.root / name, {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            for row in (reader := csv.DictReader(stream)):
                image, pool = row.get("image"), row.get("split")
                if not image or pool not in ("train", "test"):
                    line = f"{path}, line {reader.line_num}"
                    raise DataError(f"{line}: image is {image}, split {pool}; expected a path, and train or test")
                pools[composed(image)] = pool
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error}); copy it again") from error
    return pools
