"""From a cohort's layouts, patterns of file names, to its subjects with their files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from data_modules.base.config import HealthyConfig, LayoutConfig, NiftiConfig
from data_modules.base.errors import DataError, Report, did_you_mean, stop
from data_modules.base.names import SLICE, file_and_frame, folder_of

from .case import Case
from .patterns import Tree, group_pattern
from .unused import Tell, Unused, unused

SUBJECT = "{subject}"
UNLABELLED = ("error", "healthy")
PAIRED = re.compile(r"\.(hdr|img|mhd|z?raw)(\.gz)?$", re.IGNORECASE)  # a volume that is kept in two files


@dataclass(frozen=True)
class Cohort:
    """Where the subjects of one cohort lie: by its layouts, or by the one of them that was chosen.

    key: the config key of the cohort, `dataset` or `dataset.healthy`, for messages.
    """

    name: str
    layouts: Mapping[str, LayoutConfig]
    layout: str | None = None
    key: str = "dataset"


@dataclass
class _Found:
    """What the patterns found of one subject: files by what they are, and what the other `{names}` stand for."""

    files: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)


def find_volumes(
    config: NiftiConfig,
    root: Path,
    data_dir: Path,
    channels: list[str],
    report: Report = stop,
    tell: Tell | None = None,
) -> list[Case]:
    """Subjects of the layout that fits, and those of the healthy cohort, whose folder may lie below data_dir.

    With a healthy cohort, its subjects, named `<its name>/<subject>`, go to train and val, and those of the dataset
    itself to test (and val, see split.holdout). tell: told of the files of each cohort that belong to no case.
    Raises DataError if no layout fits, or several do.
    """
    cases = find_subjects(main_cohort(config), Tree(root), channels, report, tell)
    healthy = config.healthy
    if healthy is None:
        return cases
    tree = Tree(folder_of(healthy, data_dir), "dataset.healthy.root")
    others = find_subjects(healthy_cohort(healthy), tree, channels, report, tell)
    return [replace(case, pool="test") for case in cases] + [
        replace(
            case,
            pool="train",
            subject=f"{healthy.name}/{case.subject}",
            group=healthy_group(healthy, case.subject) if healthy.group else None,
        )
        for case in others
    ]


def main_cohort(config: NiftiConfig) -> Cohort:
    """The cohort of the dataset itself: its layouts, or the single one that image, label and brain_mask spell out.

    Raises DataError if both or neither are given.
    """
    if config.image is None:
        for key, default in (("label", None), ("brain_mask", None), ("unlabelled", "error")):
            if getattr(config, key) != default:
                raise DataError(f"dataset.{key} goes with dataset.image, which is not set; set it, or dataset.layouts")
        _check_image(config)
        return Cohort(config.name, config.layouts, config.layout)
    if config.layouts:
        raise DataError(
            "dataset.image and dataset.layouts both say where the files are; use dataset=generic for your own"
        )
    image = {"image": config.image} if isinstance(config.image, str) else config.image
    if not isinstance(image, Mapping) or not image or not all(isinstance(value, str) for value in image.values()):
        raise DataError(f"dataset.image={config.image}: expected a pattern, or one for each modality, {{t1: PATTERN}}")
    patterns = {str(name): value for name, value in image.items()}
    layout = LayoutConfig(patterns, config.label, config.brain_mask, config.unlabelled)
    return Cohort(config.name, {"generic": layout}, config.layout)


def healthy_cohort(config: HealthyConfig) -> Cohort:
    return Cohort(config.name, config.layouts, config.layout, "dataset.healthy")


def healthy_group(config: HealthyConfig, subject: str) -> str:
    """The group of a healthy subject: the cohort's name, then what healthy.group finds in the subject's name, or that."""
    match = group_pattern("dataset.healthy.group", config.group or "").search(subject)
    return f"{config.name}/{(match and match.group(1)) or subject}"


def modalities(config: NiftiConfig) -> list[str]:
    """dataset.modality as a list; by default those of dataset.image. Raises DataError if it names none, or one twice."""
    chosen = config.modality
    if chosen is None:
        _check_image(config)
        if config.image is not None:
            chosen = ["image"] if isinstance(config.image, str) else list(config.image)
    names = [chosen] if isinstance(chosen, str) else [str(name) for name in chosen or []]
    if not all(names) or not names:
        raise DataError("dataset.modality is empty; name at least one of the modalities of its layouts")
    if len(set(names)) < len(names):
        raise DataError(f"dataset.modality={names} names one twice; every channel must differ")
    return names


def known_modalities(config: NiftiConfig) -> list[str]:
    """The modalities that every layout of the dataset, and of its healthy cohort, has a pattern for."""
    cohorts = [main_cohort(config), *([healthy_cohort(config.healthy)] if config.healthy else [])]
    layouts = [layout for cohort in cohorts for layout in _chosen(cohort).values()]
    return [name for name in layouts[0].image if all(name in layout.image for layout in layouts)]


def _check_image(config: NiftiConfig) -> None:
    if config.image is None and not config.layouts:
        raise DataError(f"dataset.image is not set: give {config.name} a pattern such as '{SUBJECT}/*_FLAIR.nii.gz'")


def find_subjects(
    cohort: Cohort, tree: Tree, channels: list[str], report: Report = stop, tell: Tell | None = None
) -> list[Case]:
    """Subjects of the one layout that fits the files, in the order of its patterns' first matches.

    report: told of a DataError for each subject that lacks a file or has two for one purpose; if it returns, the subject
    is left out; tell: told of the files that no pattern of that layout fits. Raises DataError if no layout fits, or if several
    do and none is chosen by `layout`.
    """
    layouts = _chosen(cohort)
    for layout in layouts.values():
        _check_layout(cohort, layout, channels)
    fitting = [name for name, layout in layouts.items() if tree.find(_file(layout.image[channels[0]]))]
    if len(fitting) == 1:
        layout = layouts[fitting[0]]
        if tell:
            tell(_unused(tree, layout))
        return _cases(tree, layout, channels, report)
    if fitting:
        raise DataError(
            f"{tree.root}: files fit the layouts {' and '.join(fitting)}; choose one with {cohort.key}.layout, "
            f"or set {cohort.key}.root to the folder of one release"
        )
    tried = ", ".join(f"{name} ('{layout.image[channels[0]]}')" for name, layout in layouts.items())
    raise DataError(
        f"{tree.root}: no file fits a layout of dataset {cohort.name}; tried {tried}; see {cohort.key}.layouts; "
        f"{tree.there()}; is {cohort.key}.root right?"
    )


def _chosen(cohort: Cohort) -> Mapping[str, LayoutConfig]:
    if cohort.layout is None:
        return cohort.layouts
    if cohort.layout not in cohort.layouts:
        hint = did_you_mean(cohort.layout, cohort.layouts)
        raise DataError(f"{cohort.key}.layout={cohort.layout}: {cohort.name} has no such layout; {hint}")
    return {cohort.layout: cohort.layouts[cohort.layout]}


def _check_layout(cohort: Cohort, layout: LayoutConfig, channels: list[str]) -> None:
    for channel in channels:
        if channel not in layout.image:
            hint = did_you_mean(channel, sorted(layout.image))
            raise DataError(f"dataset.modality={channel}: {cohort.name} has no such modality; {hint}")
    if layout.unlabelled not in UNLABELLED:
        raise DataError(f"{cohort.key}: unlabelled={layout.unlabelled}: expected {' or '.join(UNLABELLED)}")
    for pattern in (*layout.image.values(), layout.label, layout.brain_mask):
        if pattern is not None and SUBJECT[:-1] not in pattern:
            raise DataError(
                f"{cohort.key}: the pattern '{pattern}' has no {SUBJECT}; put it where the subject's name is"
            )


def _cases(tree: Tree, layout: LayoutConfig, channels: list[str], report: Report) -> list[Case]:
    """Every subject that any pattern of the layout finds, with all its files."""
    patterns = {f"image '{channel}'": layout.image[channel] for channel in channels}
    patterns |= {"label": layout.label} if layout.label else {}
    patterns |= {"brain mask": layout.brain_mask} if layout.brain_mask else {}
    optional = ("label",) if layout.unlabelled == "healthy" else ()
    subjects = _find(tree, patterns, report)
    for subject, of in list(subjects.items()):
        for what in (name for name in patterns if name not in of.files and name not in optional):
            expected = f"{tree.root}: subject {subject} has no {what}, expected '{patterns[what]}'"
            report(DataError(f"{expected}; add it or remove the subject"))
            subjects.pop(subject, None)
    return [
        Case(
            root=tree.root,
            subject=subject,
            images={channel: of.files[f"image '{channel}'"] for channel in channels},
            label=of.files.get("label"),
            brain_mask=of.files.get("brain mask"),
            attributes=of.names,
        )
        for subject, of in subjects.items()
    ]


def _unused(tree: Tree, layout: LayoutConfig) -> Unused:
    patterns = [_file(pattern) for pattern in (*layout.image.values(), layout.label, layout.brain_mask) if pattern]
    stems = {PAIRED.sub("", path) for pattern in patterns for path, _ in tree.find(pattern) if PAIRED.search(path)}
    return unused(tree, patterns, known=[path for path in tree.files if PAIRED.sub("", path) in stems])


def _find(tree: Tree, patterns: Mapping[str, str], report: Report) -> dict[str, _Found]:
    """Subjects by name: what {subject} stands for; of {subject_site} and {subject_number}, both: SITE/NUMBER."""
    subjects: dict[str, _Found] = {}
    unclear: set[str] = set()
    for what, pattern in patterns.items():
        file, channel = file_and_frame(pattern)
        for path, matched in _volumes(tree, file):
            subject = "/".join(text for name, text in matched.items() if name.startswith("subject"))
            others = {name: text for name, text in matched.items() if not name.startswith("subject")}
            of = subjects.setdefault(subject, _Found())
            if what in of.files:
                both = f"{tree.root}: {of.files[what]} and {path} both are the {what} of subject {subject}"
                report(DataError(f"{both}; remove one or make the pattern '{pattern}' stricter"))
                unclear.add(subject)
            elif differing := [name for name, text in others.items() if of.names.get(name, text) != text]:
                name = differing[0]
                reason = f"{{{name}}} is {others[name]} in {path}, but {of.names[name]} in another file of {subject}"
                report(DataError(f"{tree.root}: {reason}; a name stands for the same text in all files of a subject"))
                unclear.add(subject)
            of.files.setdefault(what, path if channel is None else f"{path}#{channel}")
            of.names.update(others)
    return {subject: of for subject, of in subjects.items() if subject not in unclear}


def _volumes(tree: Tree, pattern: str) -> Iterator[tuple[str, dict[str, str]]]:
    """What the pattern finds; the pictures of a volume that is kept slice by slice are one, by its name with {slice} in it."""
    if SLICE not in pattern:
        yield from tree.find(pattern)
        return
    seen: set[str] = set()
    for path, matched in tree.find(pattern):
        names = {name: text for name, text in matched.items() if name != "slice"}
        filled = pattern.rpartition("/")[2]
        for name, text in names.items():
            filled = filled.replace(f"{{{name}}}", text)
        volume = f"{path.rpartition('/')[0]}/{filled}".removeprefix("/")
        if matched["slice"].isdecimal() and volume not in seen:
            seen.add(volume)
            yield volume, names


def _file(pattern: str) -> str:
    """A pattern without the number of a volume in a 4D file."""
    return file_and_frame(pattern)[0]
