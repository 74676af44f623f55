"""What the doctor of a dataset finds: problems, each with its file and its remedy. Loads no torch."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_modules.base.digests import hash_of_bytes
from data_modules.base.errors import DataError

if TYPE_CHECKING:
    from data_modules.base.batch import Slices
    from data_modules.cases.case import Case
    from data_modules.modules.base import AnomalyDataModule

ERROR, WARNING, NOTE = "error", "warning", "note"
LEVELS = (ERROR, WARNING, NOTE)
SOFT = "its greys are read as soft edges: above half of white is anomalous"
LEFT_OUT = ": left out"  # ends what is said of a twin that dataset.duplicates=drop leaves out


@dataclass(frozen=True)
class Problem:
    """Something wrong. level: an error stops or falsifies a run, a warning may; a note only says what is unusual."""

    level: str
    what: str
    remedy: str = ""
    file: str = ""
    subject: str = ""

    @classmethod
    def of(cls, error: DataError, subject: str = "") -> Problem:
        """The error's message, `FILE: what is wrong; the remedy`, in its parts."""
        text, _, remedy = str(error).rpartition("; ") if "; " in str(error) else (str(error), "", "")
        file = re.match(r"([^:;]*[/\\][^:;]*): ", text)
        return cls(ERROR, text[file.end() :] if file else text, remedy, file.group(1) if file else "", subject)


@dataclass
class Examined:
    """One subject: its problems and what can be judged beside the other subjects only.

    contents: digests of the voxels or pixels of its images, as far as they can be read; truth: digest of which pixels are
    anomalous, empty if it cannot be read; normal, anomalous: how many of its slices a run would use as such; dropped: of its
    anomalous voxels, those in slices that a run leaves out; facts: values that a cohort should agree on, by name; labels: the
    values in its label; brain: the share of voxels that are not 0, where no mask says what is brain; deep: the highest value,
    from 0 to 1, of pictures of 16 bits.
    """

    case: Case
    problems: list[Problem] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)
    truth: str = ""
    normal: int = 0
    anomalous: int = 0
    dropped: int = 0
    facts: dict[str, str] = field(default_factory=dict)
    labels: set[float] = field(default_factory=set)
    brain: float | None = None
    deep: float | None = None

    def add(self, level: str, file: Path | str, what: str, remedy: str) -> None:
        """Note a problem of one of the subject's files."""
        self.problems.append(Problem(level, what, remedy, str(file), self.case.subject))

    def add_error(self, error: DataError) -> None:
        """Note what a reader says of one of the subject's files."""
        self.problems.append(Problem.of(error, self.case.subject))

    def add_failure(self, error: Exception) -> None:
        """Note what nobody foresaw of one of the subject's files: the report is to go on."""
        reason = (str(error).splitlines() or [""])[0]
        what = f"reading the subject failed with {type(error).__name__}: {reason}".removesuffix(": ")
        self.add(ERROR, self.case.files[0] if self.case.images else "", what, "look at its files, and copy them again")

    def read_as_a_run_does(self, data: AnomalyDataModule) -> Slices | None:
        """The subject's slices, of which the normal and the anomalous are counted; None and one more problem if it fails."""
        try:
            slices = data.read_case(self.case)
        except DataError as error:
            self.add_error(error)
            return None
        except Exception as error:
            self.add_failure(error)
            return None
        self.truth = hash_of_bytes(slices.mask.numpy().tobytes(), slices.labelled.numpy().tobytes())
        self.normal = int((~slices.labelled).sum())
        self.anomalous = int(slices.mask.flatten(1).any(1).sum())
        self.dropped = slices.dropped
        return slices


@dataclass(frozen=True)
class Findings:
    """What the doctor found in a dataset: how much it looked at, and the problems, the worst first.

    unit: what the subjects are, 'subject' or 'picture'; read, unread: the modalities whose files were read, and those that
    the layouts know and that were not.
    """

    dataset: str
    root: str
    subjects: int
    files: int
    problems: list[Problem]
    unit: str = "subject"
    read: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def count(self, level: str) -> int:
        """How many problems are of the level."""
        return sum(problem.level == level for problem in self.problems)

    @property
    def left_out(self) -> int:
        """How many of the subjects a run leaves out, since they are another one's twins."""
        return len({problem.subject for problem in self.problems if problem.what.endswith(LEFT_OUT)})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)
