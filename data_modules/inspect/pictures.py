"""What the doctor looks at in a picture and its mask."""

from __future__ import annotations

from pathlib import Path

from data_modules.base.config import PictureConfig
from data_modules.base.digests import hash_of_bytes
from data_modules.base.errors import DataError
from data_modules.cases.case import Case
from data_modules.modules.base import AnomalyDataModule
from data_modules.readers.masks import has_greys, is_inverted
from data_modules.readers.pictures import is_deep, pages_of, read_mask, read_mask_pages, read_picture

from .findings import NOTE, SOFT, WARNING, Examined, Problem

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
    pictures = [case.root / name for name in case.images.values()]
    for picture in pictures:
        if (pages := pages_of(picture)) > 1:
            what = f"has {pages} pages, of which the first alone is read"
            subject.add(WARNING, picture, what, "save each page as a picture of its own")
    if all(map(is_deep, pictures)):
        subject.deep = high
    for mask in (case.root / name for names in case.masks.values() for name in names):
        _look_at_mask(subject, mask, data.config.mask_threshold if isinstance(data.config, PictureConfig) else None)
    return subject


def _look_at_mask(subject: Examined, file: Path, threshold: float | None) -> None:
    """Tell of a mask that can be read, but may not mean what is read."""
    if threshold is None:
        if has_greys(read_mask_pages(file)[0]):
            subject.add(NOTE, file, SOFT, "dataset.mask_threshold sets another grey")
    elif is_inverted(read_mask(file, threshold)[0].numpy()):
        what = f"most of the mask is above dataset.mask_threshold={threshold:g}, its border too, as if it were inverted"
        subject.add(WARNING, file, what, "view it, and write 0 where nothing is anomalous")


def _unreadable(case: Case, known_problem: Problem) -> list[Problem]:
    """Files that cannot be read, but for the one that is known already."""
    problems = []
    for file in case.files:
        try:
            read_picture(file, color=False)
        except DataError as error:
            problems.append(Problem.of(error, case.subject))
    return [problem for problem in problems if problem != known_problem]
