"""From what a user names (files, folders, globs, one file per modality) to the things to localize in, with their masks."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from data_modules.base.config import DatasetConfig, NiftiConfig, PictureConfig
from data_modules.base.errors import DataError, Report, did_you_mean
from data_modules.base.names import chosen_categories
from data_modules.cases.case import Case
from data_modules.cases.cohorts import Cohort, find_subjects, healthy_cohort, main_cohort, modalities
from data_modules.cases.patterns import Tree

VOLUMES = (".nii", ".nii.gz", ".mha", ".mhd", ".mgh", ".mgz", ".img", ".img.gz")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm")
BRAIN = "brain"
ABOVE = 3  # folders above a given one from which a layout may name it
ASSIGNMENT = re.compile(r"([A-Za-z]\w*)=(.+)", re.DOTALL)
MASK_ENDS = ("", "_mask", "_seg", "_label")


@dataclass(frozen=True)
class Item:
    """One volume or picture: its files, none of which is a label, and its mask. The case's subject names its outputs."""

    case: Case
    mask: Path | None = None

    @property
    def name(self) -> str:
        return self.case.subject

    @property
    def first(self) -> Path:
        """The first of its images."""
        return self.case.files[0]


def find_items(inputs: Sequence[str], config: DatasetConfig, mask: str | None, report: Report) -> list[Item]:
    """What the inputs name, each once, in their order, with names of their own.

    mask: a file for a single input; else a folder in which a mask is called as its input, maybe with _mask, _seg or _label
    behind it, or a pattern with {stem} (the input's) and {folder} (the one that the input lies in). report: told of a
    DataError for each input that is none. Raises DataError for a mask that fits no input.
    """
    search = _Pictures(config, report) if isinstance(config, PictureConfig) else _Volumes(_nifti(config), report)
    cases = list({tuple(case.images.values()): case for case in search.cases(inputs)}.values())
    named = [replace(case, subject=name) for case, name in zip(cases, unique_names(cases), strict=True)]
    masks = _masks(mask, named)
    return [Item(case, found) for case, found in zip(named, masks, strict=True)]


def stem_of(path: Path) -> str:
    """The name of a file without its ending, .nii.gz being one."""
    name, hash_, frame = path.name.partition("#")
    fitting = [end for end in VOLUMES if name.lower().endswith(end)]
    ending = max(fitting, key=len, default=Path(name).suffix)
    return name[: len(name) - len(ending)] + (f"-{frame}" if hash_ else "")


def unique_names(cases: Sequence[Case]) -> list[str]:
    """A name for each case: its subject where a layout gave it one, else its first file's stem.

    Those that are the same get the folders in front that tell them apart, or the ending if none does.
    """
    places = [_place(case) for case in cases]
    names = [place[-1] for place in places]
    for depth in range(2, max(map(len, places), default=0) + 1):
        again = {name for name in names if names.count(name) > 1}
        names = ["_".join(place[-depth:]) if name in again else name for name, place in zip(names, places, strict=True)]
    again = {name for name in names if names.count(name) > 1}
    return [
        f"{name}_{case.files[0].suffix.lstrip('.')}" if name in again else name
        for name, case in zip(names, cases, strict=True)
    ]


def _place(case: Case) -> list[str]:
    first = Path(next(iter(case.images.values())))
    folders = [part for part in (case.root / first).parent.parts if part != "/"]
    return [*folders, case.subject.replace("/", "_") or stem_of(first)]


class _Volumes:
    """Scans: files of the one modality, `modality=FILE` for each of several, folders in a layout of the dataset."""

    def __init__(self, config: NiftiConfig, report: Report) -> None:
        self.config, self.report = config, report
        self.channels = modalities(config)
        self.cohorts = [main_cohort(config), *([healthy_cohort(config.healthy)] if config.healthy else [])]
        layouts = [layout for cohort in self.cohorts for layout in cohort.layouts.values()]
        self.masked = all(layout.brain_mask for layout in layouts)

    def cases(self, inputs: Sequence[str]) -> Iterator[Case]:
        given: dict[str, str] = {}
        for text in inputs:
            match = None if Path(text).exists() else ASSIGNMENT.fullmatch(text)
            if match is None:
                yield from self._finish(given)
                given = {}
                for path in expanded(text, self.report):
                    yield from self._folder(path) if path.is_dir() else self._finish({self.channels[0]: str(path)})
                continue
            if match[1] in given:
                yield from self._finish(given)
                given = {}
            given[match[1]] = match[2]
        yield from self._finish(given)

    def _finish(self, given: dict[str, str]) -> Iterator[Case]:
        """The scan whose files are given by modality."""
        if not given:
            return
        wanted = [*self.channels, *([BRAIN] if self.masked else [])]
        usage = " ".join(f"{name}=FILE" for name in wanted)
        shown = next(iter(given.values()))
        if unknown := [name for name in given if name not in (*self.channels, BRAIN)]:
            hint = did_you_mean(unknown[0], [*self.channels, BRAIN], f"it takes {usage}")
            self.report(DataError(f"{unknown[0]}={given[unknown[0]]}: the run has no such modality; {hint}"))
        elif missing := [name for name in wanted if name not in given]:
            what = "brain mask" if missing[0] == BRAIN else f"modality {missing[0]}"
            self.report(DataError(f"{shown}: its {what} is missing; the run takes {usage}"))
        elif lost := [file for file in given.values() if not Path(file.partition("#")[0]).is_file()]:
            self.report(DataError(f"{lost[0]}: no such file; correct its path"))
        else:
            files = {name: str(Path(file).absolute()) for name, file in given.items()}
            brain = files.pop(BRAIN, None)
            yield Case("", {name: files[name] for name in self.channels}, brain_mask=brain)

    def _folder(self, folder: Path) -> Iterator[Case]:
        """The subjects in a folder that a layout of the dataset fits, seen from it or from one above; else its volumes."""
        found, reason = self._in_layout(folder.resolve())
        if found:
            yield from found
            return
        files = [path for path in files_below(folder, VOLUMES) if len(self.channels) == 1]
        if not files:
            self.report(reason or DataError(f"{folder}: holds no volume; name the files themselves"))
        for path in files:
            yield from self._finish({self.channels[0]: str(path)})

    def _in_layout(self, folder: Path) -> tuple[list[Case], DataError | None]:
        reason: DataError | None = None
        for root in (folder, *folder.parents[:ABOVE]):
            for cohort in self.cohorts:
                try:
                    return find_subjects(
                        _without_labels(cohort), _Branch(root, folder=folder), self.channels, self.report
                    ), None
                except DataError as error:
                    reason = reason or error
        return [], reason


@dataclass(frozen=True)
class _Branch(Tree):
    """The files below one folder, as they are named from a folder above it."""

    folder: Path = Path()

    @cached_property
    def files(self) -> list[str]:
        own = Tree(self.folder).files
        above = self.folder.relative_to(self.root).as_posix()
        return own if above == "." else [f"{above}/{path}" for path in own]


def _without_labels(cohort: Cohort) -> Cohort:
    layouts = {name: replace(layout, label=None) for name, layout in cohort.layouts.items()}
    return replace(cohort, layouts=layouts)


class _Pictures:
    """Pictures: files, and folders with all pictures below them or, where the dataset's patterns fit, these alone."""

    def __init__(self, config: PictureConfig, report: Report) -> None:
        self.config, self.report = config, report

    def cases(self, inputs: Sequence[str]) -> Iterator[Case]:
        for text in inputs:
            for path in expanded(text, self.report):
                found = self._folder(path) if path.is_dir() else [path]
                if not found:
                    self.report(DataError(f"{path}: holds no picture; name the files themselves"))
                yield from (Case("", {"image": str(file.absolute())}) for file in found)

    def _folder(self, folder: Path) -> list[Path]:
        config, tree = self.config, Tree(folder)
        if not any(files_below(folder, PICTURES)):
            return []
        chosen = chosen_categories(config)
        lists = (config.normal, config.train_normal, config.val_normal, config.test_normal, config.anomalous)
        found = {
            path: names
            for patterns in lists
            for pattern in patterns
            for path, names in tree.find(pattern)
            if chosen is None or names.get("category", chosen[0]) in chosen
        }
        patterns = [config.mask] if isinstance(config.mask, str) else list(config.mask)
        masks = {
            mask for path, names in found.items() for pattern in patterns if (mask := tree.one(pattern, names)) != path
        }
        pictures = [folder / path for path in sorted(found) if path not in masks]
        return pictures or files_below(folder, PICTURES)


def _nifti(config: DatasetConfig) -> NiftiConfig:
    assert isinstance(config, NiftiConfig)
    return config


def expanded(text: str, report: Report) -> list[Path]:
    """The files and folders that a path or a glob stands for; report: told if there is none."""
    path = Path(text).expanduser()
    if path.exists() or Path(str(path).partition("#")[0]).is_file():
        return [path]
    found = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 (** and absolute)
    if not found:
        report(DataError(f"{text}: no such file or folder; correct the path"))
    return found


def files_below(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """The files with one of these endings at any depth, but for hidden ones; sorted."""
    found = (path for path in folder.rglob("*") if path.name.lower().endswith(endings) and path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _masks(mask: str | None, cases: Sequence[Case]) -> list[Path | None]:
    if mask is None:
        return [None] * len(cases)
    path = Path(mask).expanduser()
    if path.is_file():
        if len(cases) > 1:
            raise DataError(
                f"--mask {mask}: one file for {len(cases)} inputs; give a folder, or a pattern such as "
                "'masks/{stem}_mask.png'"
            )
        return [path for _ in cases]
    find: Callable[[Case], Path | None] = _beside(path) if path.is_dir() else _filled(mask)
    found = [find(case) for case in cases]
    if cases and not any(found):
        raise DataError(
            f"--mask {mask}: no such file, and no mask of any input; give a file, a folder, or a pattern with {{stem}}"
        )
    return found


def _beside(folder: Path) -> Callable[[Case], Path | None]:
    """Masks in a folder, by the stem or the name of their input."""
    by_stem = {stem_of(path): path for path in files_below(folder, (*VOLUMES, *PICTURES))}

    def find(case: Case) -> Path | None:
        names = [f"{stem}{end}" for stem in (stem_of(case.files[0]), case.subject) for end in MASK_ENDS]
        return next((by_stem[name] for name in names if name in by_stem), None)

    return find


def _filled(pattern: str) -> Callable[[Case], Path | None]:
    def find(case: Case) -> Path | None:
        first = case.files[0]
        text = pattern.replace("{stem}", stem_of(first)).replace("{folder}", first.parent.name)
        path = Path(text).expanduser()
        return path if path.is_file() else None

    return find
