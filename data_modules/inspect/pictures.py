"""What the doctor looks at in a picture and its mask."""

from __future__ import annotations

from data_modules.base.digests import hash_of_bytes
from data_modules.base.errors import DataError
from data_modules.cases.case import Case
from data_modules.modules.base import AnomalyDataModule
from data_modules.readers.pictures import read_picture

from .findings import WARNING, Examined, Problem

HALF_A_LEVEL = 0.5 / 255  # of grey: resizing rounds what was one value


def examine_picture(data: AnomalyDataModule, case: Case) -> Examined:
    """Read a picture and its mask as a run would; if that fails, look at each file by itself."""
    subject = Examined(case)
    slices = subject.read_as_a_run_does(data)
    if slices is None:
        subject.problems += _unreadable(case, subject.problems[0])
        return subject
    low, high = (float(value) for value in slices.image.aminmax())
    if high - low < HALF_A_LEVEL:
        what = f"every pixel has the one value {high:.3g}, of 0 to 1"
        subject.add(WARNING, case.files[0], what, "look at it; copy it again or remove it")
    else:
        subject.contents = [hash_of_bytes(slices.image.numpy().tobytes())]
    return subject


def _unreadable(case: Case, known_problem: Problem) -> list[Problem]:
    """Files that cannot be read, but for the one that is known already."""
    problems = []
    for file in case.files:
        try:
            read_picture(file, color=False)
        except DataError as error:
            problems.append(Problem.of(error, case.subject))
    return [problem for problem in problems if problem != known_problem]
