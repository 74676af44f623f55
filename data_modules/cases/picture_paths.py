"""What the paths of pictures say: which subject each is, and which split and kind."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from data_modules.base.errors import DataError

from .case import Case
from .patterns import Tree, compile_pattern

STEM = "stem"


@dataclass(frozen=True)
class Picture:
    """A picture that a pattern fits: its path below the root, its subject's name, what the pattern's names stand for."""

    path: str
    subject: str
    names: dict[str, str]
    pattern: str

    def case(self, root: Path, pool: str, mask: str | None = None) -> Case:
        attributes = {key: value for key, value in self.names.items() if key != STEM}
        return Case(self.subject, {"image": self.path}, pool, mask, root=root, attributes=attributes)


def subject_name(pattern: str, path: str) -> str:
    """The path, less the folders that the pattern's leading `**/` stands for (if it has no other)."""
    rest = pattern.removeprefix("**/")
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
                pools[image] = pool
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error}); copy it again") from error
    return pools
