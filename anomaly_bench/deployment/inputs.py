"""From what a user names (files, folders, globs, one file per modality) to the things to localize in, with their masks."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path

from data_modules.base.config import DatasetConfig, NiftiConfig, PictureConfig
from data_modules.base.errors import DataError, Report, did_you_mean
from data_modules.base.names import chosen_categories, composed, file_and_frame
from data_modules.cases.case import Case
from data_modules.cases.cohorts import Cohort, find_subjects, healthy_cohort, main_cohort, modalities
from data_modules.cases.files import PICTURES, list_files
from data_modules.cases.patterns import Tree

VOLUMES = (".nii", ".nii.gz", ".mha", ".mhd", ".mgh", ".mgz", ".img", ".img.gz")
BRAIN = "brain"
ABOVE = 3  # folders above a given one from which a layout may name it
ASSIGNMENT = re.compile(r"([A-Za-z]\w*)=(.+)", re.DOTALL)
MASK_ENDS = ("_mask", "_seg", "_label", "-mask", "-seg", "-label", "")


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

    mask: a file for a single input; a folder, see _Masks; or a pattern with {stem} (the input's) and {folder} (the one that the
    input lies in). report: told of a DataError for each input that is none. Raises DataError for a mask that fits no input.
    """
    search = _Pictures(config, report) if isinstance(config, PictureConfig) else _Volumes(_nifti(config), report)
    once: dict[tuple[str, ...], Case] = {}
    for case in search.cases(inputs):
        once.setdefault(tuple(_real(case.root / file) for file in case.images.values()), case)
    cases = list(once.values())
    named = zip(cases, unique_names(cases), _masks(mask, cases), strict=True)
    return [Item(replace(case, subject=name), found) for case, name, found in named]


def stem_of(path: Path) -> str:
    """The name of a file without its ending, .nii.gz being one."""
    file, frame = file_and_frame(str(path))
    return composed(Path(file).name.removesuffix(_ending(file))) + ("" if frame is None else f"-{frame}")


def _ending(file: str) -> str:
    fitting = [end for end in VOLUMES if file.lower().endswith(end)]
    return file[len(file) - max(map(len, fitting)) :] if fitting else Path(file).suffix


def _real(path: Path) -> str:
    """A file without links to its folders; a link to the file itself stays one with a name of its own."""
    return str(path.parent.resolve() / path.name)


def unique_names(cases: Sequence[Case]) -> list[str]:
    """A name for each case: its subject where a layout gave it one, else its first file's stem.

    Those that are the same in one folder get their endings behind them, the others as many of the folders in front as tell
    them apart, and at last a number.
    """
    places = [Path(os.path.normpath((case.root / next(iter(case.images.values()))).absolute())) for case in cases]
    stems = [case.subject.replace("/", "_") or stem_of(place) for case, place in zip(cases, places, strict=True)]
    folders = [place.parent.parts[1:] for place in places]
    here = Counter((folder, stem.casefold()) for folder, stem in zip(folders, stems, strict=True))
    names = [
        stem if here[folder, stem.casefold()] == 1 else stem + _ending(file_and_frame(str(place))[0]).replace(".", "_")
        for folder, stem, place in zip(folders, stems, places, strict=True)
    ]
    lasts, apart = names, Counter((folder, name.casefold()) for folder, name in zip(folders, names, strict=True))
    for depth in range(1, max(map(len, folders), default=0) + 1):
        again = Counter(name.casefold() for name in names)
        names = [
            "_".join([*folder[-depth:], last]) if again[name.casefold()] > apart[folder, last.casefold()] else name
            for name, folder, last in zip(names, folders, lasts, strict=True)
        ]
    return _numbered(names)


def _numbered(names: Iterable[str]) -> list[str]:
    """The names, those that are there already with _2, _3, … behind them; on some disks case does not tell files apart."""
    used: dict[str, str] = {}
    for name in names:
        free, number = name, 2
        while free.casefold() in used:
            free, number = f"{name}_{number}", number + 1
        used[free.casefold()] = free
    return list(used.values())


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
                for path in expanded(text, self.report, frames=True):
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
        elif lost := [file for file in given.values() if not Path(file_and_frame(file)[0]).is_file()]:
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
                        _without_labels(cohort), _Branch(root, folder=folder), self.channels, self._incomplete
                    ), None
                except DataError as error:
                    reason = reason or error
        return [], reason

    def _incomplete(self, error: DataError) -> None:
        self.report(DataError(str(error).replace("add it or remove the subject", "add it, or name other folders")))


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
        pictures, folder = files_below(folder, PICTURES), folder.resolve()
        for root in (folder, *folder.parents[:ABOVE]) if pictures else ():
            if found := self._in_patterns(root, folder):
                return found
        return pictures

    def _in_patterns(self, root: Path, folder: Path) -> list[Path]:
        """The pictures below a folder that the patterns, seen from a root above it, find.

        Seen from the folder itself, only those of the run's categories: one that is named is wanted whatever its category.
        """
        config, tree = self.config, _Branch(root, folder=folder)
        chosen = chosen_categories(config) if root == folder else None
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
        return [root / path for path in sorted(found) if path not in masks]


def _nifti(config: DatasetConfig) -> NiftiConfig:
    assert isinstance(config, NiftiConfig)
    return config


def expanded(text: str, report: Report, frames: bool = False) -> list[Path]:
    """The files and folders that a path or a glob, or with `frames` FILE#k, stands for; report: told if there is none."""
    path = Path(text).expanduser()
    if path.exists() or (frames and Path(file_and_frame(str(path))[0]).is_file()):
        return [path]
    found = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 (** and absolute)
    if not found:
        report(DataError(f"{text}: no such file or folder; correct the path"))
    return found


def files_below(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """The files with one of these endings at any depth, sorted; see list_files."""
    return sorted(folder / path for path in list_files(folder)[0] if path.lower().endswith(endings))


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
    beside = _Masks(path, cases) if path.is_dir() else None
    found = [_filled(mask, case) if beside is None else beside.of(case) for case in cases]
    if cases and not any(found):
        if beside and beside.unclear:
            raise beside.unclear
        raise DataError(
            f"--mask {mask}: no such file, and no mask of any input; give a file, a folder, or a pattern with {{stem}}"
        )
    return found


class _Masks:
    """The masks in a folder.

    A mask is called as its input, with _mask, _seg or _label behind it or without; of a scan also as its subject, its file
    without the modality at the end, or the folder that it alone lies in. Where names come again below the folder, two inputs
    have one name, or the mask of a picture lies in a folder within (000_mask of each defect), it is of the input whose folder
    is called like its own.
    unclear: why an input has none, if there are several of which none lies in such a folder.
    """

    def __init__(self, folder: Path, cases: Sequence[Case]) -> None:
        self.folder = folder
        self.unclear: DataError | None = None
        self.by_stem: dict[str, list[Path]] = {}
        for path in files_below(folder, (*VOLUMES, *PICTURES)):
            self.by_stem.setdefault(stem_of(path), []).append(path)
        files = {case.files[0]: case for case in cases}
        self.by_folder = any(len(paths) > 1 for paths in self.by_stem.values())
        self.neighbours = Counter(first.parent for first in files)
        self.called = Counter(stem for case in files.values() for stem in self._stems(case))

    def of(self, case: Case) -> Path | None:
        """Raises DataError if several masks below folders of that name are called so."""
        first, own = case.files[0], {file.resolve() for file in case.files}
        folders = {composed(first.parent.name), composed(case.subject.rpartition("/")[2])}
        for end, stem in product(MASK_ENDS, self._stems(case)):
            name = stem + end
            there = self.by_stem.get(name, [])
            if not there or any(path.resolve() in own for path in there):
                continue  # that is how images are called, not masks
            fitting = _closest([path for path in there if composed(path.parent.name) in folders], first)
            if len(fitting) == 1:
                return fitting[0]
            below = first.name.lower().endswith(PICTURES) and there[0].parent != self.folder
            if not below and not self.by_folder and self.called[stem] == 1:
                return there[0]
            if len(there) > 1:
                text = f"--mask {self.folder}: {len(there)} masks are called {name}, {there[0]} and others; give a pattern with"
                self.unclear = DataError(f"{text} {{folder}} and {{stem}}")
                if fitting:
                    raise self.unclear
        return None

    def _stems(self, case: Case) -> list[str]:
        first = case.files[0]
        stem, subject = stem_of(first), composed(case.subject.rpartition("/")[2])
        if not first.name.lower().endswith(VOLUMES):
            return [stem]
        modality = re.escape(next(iter(case.images)))
        shorter = re.sub(rf"(?i)[_-]{modality}[^_-]*$", "", stem)
        folder = composed(first.parent.name) if self.neighbours[first.parent] == 1 else ""
        return list(dict.fromkeys(filter(None, (stem, subject, shorter, folder))))


def _closest(paths: Sequence[Path], first: Path) -> list[Path]:
    """Those with the most folders that are called like one of the file's: of weave/…/hole and wood/…/hole, the one of weave."""
    alike = [len({*map(composed, path.parent.parts)} & {*map(composed, first.parent.parts)}) for path in paths]
    return [path for path, count in zip(paths, alike, strict=True) if count == max(alike)]


def _filled(pattern: str, case: Case) -> Path | None:
    first = case.files[0]
    for stem, folder in product(*map(_spellings, (stem_of(first), first.parent.name))):
        path = Path(pattern.replace("{stem}", stem).replace("{folder}", folder)).expanduser()
        if path.is_file():
            return path
    return None


def _spellings(name: str) -> list[str]:
    """A name as file systems have its accents."""
    return [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
