"""The doctor of a dataset: every problem of its files at once, each with the file and the remedy."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from data_modules.base.config import DatasetConfig, NiftiConfig
from data_modules.base.digests import Progress, usable_cpus
from data_modules.base.errors import DataError
from data_modules.base.names import dataset_name, unit_of
from data_modules.cases.case import SPLITS, Case
from data_modules.cases.cohorts import known_modalities, modalities
from data_modules.cases.duplicates import parted, together, twins
from data_modules.cases.split import doubts, split_cases
from data_modules.cases.subjects_csv import attach_attributes
from data_modules.cases.unused import Unused, listed
from data_modules.modules.base import AnomalyDataModule
from data_modules.modules.build import build_module
from data_modules.store.build import single_threaded

from .findings import ERROR, LEFT_OUT, LEVELS, NOTE, WARNING, Examined, Findings, Problem

FILLED = 0.85  # share of non-zero voxels above which a volume is hardly a stripped brain


def verify(
    data: AnomalyDataModule,
    progress: Progress | None = None,
    workers: int | None = None,
    all_modalities: bool = False,
) -> Findings:
    """Read every file of every subject in `workers` threads (default: one for each core) and collect what is wrong.

    all_modalities: not the files of dataset.modality alone; each of the others is then read as a run of it alone would.
    Never stops at a problem: whatever a DataError says becomes one of the findings.
    """
    config = data.config
    read, others = [], []
    if isinstance(config, NiftiConfig):
        read = modalities(config)
        others = [name for name in known_modalities(config) if name not in read]
    problems, cases = _examine(data, progress, workers)
    for name in others if all_modalities else []:
        alone = build_module(replace(config, modality=[name]), data.cache_dir, data.data_dir)  # type: ignore[call-arg]
        new_problems, new_cases = _examine(alone, progress, workers)
        problems, cases = [*problems, *new_problems], [*cases, *new_cases]
    return Findings(
        dataset=dataset_name(config),
        root=str(data.root()),
        subjects=len({case.subject for case in cases}),
        files=len({file for case in cases for file in case.files}),
        problems=sorted(dict.fromkeys(problems), key=_rank),
        unit=unit_of(config),
        read=read + others if all_modalities else read,
        unread=[] if all_modalities else others,
    )


def _examine(
    data: AnomalyDataModule, progress: Progress | None, workers: int | None
) -> tuple[list[Problem], list[Case]]:
    from .pictures import examine_picture
    from .volumes import examine_volumes

    problems: list[Problem] = []

    def report(error: DataError) -> None:
        problems.append(Problem.of(error))

    try:
        cases = attach_attributes(data.find_cases(report), data.config.subjects_file, report)
    except DataError as error:
        problem = Problem.of(error)
        if problem.file == str(data.root()):  # not a file of the dataset: the text is to name the folder
            problem = replace(problem, what=f"{problem.file}: {problem.what}")
        return [*problems, problem], []
    cases = sorted(cases, key=lambda case: case.subject)
    examine = examine_volumes if isinstance(data.config, NiftiConfig) else examine_picture
    examined = _examine_all(data, cases, examine, progress, workers or usable_cpus())
    problems += [problem for subject in examined for problem in subject.problems]
    problems += [problem for tree in data.unused for problem in _unused(tree, data.config)]
    repeated = _twins(examined)
    part_of: dict[str, str] = {}
    try:
        split = _split(data, cases, repeated)
        part_of = {name: part for part in SPLITS for name in split[part]}
        problems += [*_empty_splits(data, examined, part_of), *_doubts(split, cases, data.config)]
    except DataError as error:
        problems.append(Problem.of(error))
    problems += _shared(cases)
    return [*problems, *_duplicates(repeated, part_of, data.config.duplicates), *_disagreements(examined)], cases


def _split(
    data: AnomalyDataModule, cases: Sequence[Case], repeated: Sequence[tuple[Examined, Examined]]
) -> dict[str, list[str]]:
    """The split as a run would make it; if it cannot, as it is where twins do not matter."""
    config, pairs = data.config.split, [(first.case.subject, other.case.subject) for first, other in repeated]
    if data.config.duplicates == "drop":
        return split_cases(cases, config, dropped={other for _, other in pairs})
    split, place = split_cases(cases, config), {case.subject: position for position, case in enumerate(cases)}
    positions = [(place[first], place[other]) for first, other in pairs]
    if data.config.duplicates == "together" and parted(cases, positions, split):
        with suppress(DataError):
            return together(cases, positions, config)
    return split


def _examine_all(
    data: AnomalyDataModule,
    cases: Sequence[Case],
    examine: Callable[[AnomalyDataModule, Case], Examined],
    progress: Progress | None,
    workers: int,
) -> list[Examined]:
    with single_threaded(), ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(_isolated, examine, data, case) for case in cases]
        try:
            for done, job in enumerate(as_completed(jobs)):
                job.result()
                if progress:
                    progress(done + 1, len(cases))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [job.result() for job in jobs]


def _isolated(examine: Callable[[AnomalyDataModule, Case], Examined], data: AnomalyDataModule, case: Case) -> Examined:
    try:
        return examine(data, case)
    except Exception as error:  # whatever one subject does, the report goes on
        subject = Examined(case)
        subject.add_failure(error)
        return subject


def _rank(problem: Problem) -> tuple[int, str, str, str]:
    return LEVELS.index(problem.level), problem.subject, problem.file, problem.what


def _twins(examined: Sequence[Examined]) -> list[tuple[Examined, Examined]]:
    """Subjects that have an image in common, whatever their files are called, of several each with the first."""
    pairs = twins([{content: content for content in subject.contents} for subject in examined])
    return [(examined[first], examined[other]) for first, other in pairs]


def _duplicates(repeated: Sequence[tuple[Examined, Examined]], part_of: dict[str, str], wanted: str) -> list[Problem]:
    """What dataset.duplicates makes of each pair of twins: an error, or a note."""
    problems = []
    for first, other in repeated:
        case, name = other.case, first.case.subject
        parts = [part_of.get(subject.case.subject) for subject in (first, other)]
        what, remedy = f"the same image as {name}", "remove one of them, or set dataset.duplicates=drop"
        level = ERROR
        if first.truth != other.truth and first.truth and other.truth:
            both = first.anomalous > 0 and other.anomalous > 0
            what, remedy = f"{what}, with another mask", "correct the masks, or leave one out (dataset.subjects_file)"
            if both and wanted == "drop":
                level, what = WARNING, f"{what}{LEFT_OUT}"
        elif wanted == "drop" and first.contents == other.contents:
            level, what, remedy = NOTE, f"{what}{LEFT_OUT}", "dataset.duplicates=together keeps both"
        elif wanted == "together" and parts[0] == parts[1] and parts[0]:
            level, what = NOTE, f"{what}; both in {parts[0]}"
            remedy = "remove one of them, or set dataset.duplicates=drop, if each should count once"
        elif all(parts) and parts[0] != parts[1]:
            what = f"{what}; in {parts[0]} and {parts[1]}"
        problems.append(Problem(level, what, remedy, str(case.files[0]), case.subject))
    return list(dict.fromkeys(problems))


def _shared(cases: Sequence[Case]) -> list[Problem]:
    """Masks and labels that are those of several pictures or subjects."""
    owners: dict[Path, list[str]] = {}
    for case in cases:
        named = {case.images[key]: names for key, names in case.masks.items()}
        if case.label:
            named[case.subject] = (case.label,)
        for owner, names in named.items():
            for name in names:
                owners.setdefault(Path(os.path.realpath(case.root / name)), []).append(owner)
    return [
        Problem(
            WARNING,
            f"is the mask of {len(several)}: {', '.join(several[:3])}{', …' if len(several) > 3 else ''}",
            "make dataset.mask or the layout's label say whose it is",
            str(file),
        )
        for file, several in owners.items()
        if len(several) > 1
    ]


def _empty_splits(data: AnomalyDataModule, examined: Sequence[Examined], part_of: dict[str, str]) -> list[Problem]:
    """Splits that have subjects but nothing that a run needs of them; those with a damaged subject may have had it."""
    normal, anomalous = Counter[str](), Counter[str]()
    for subject in examined:
        part = part_of.get(subject.case.subject, "")
        damaged = any(problem.level == ERROR for problem in subject.problems)
        normal[part] += subject.normal + damaged
        anomalous[part] += subject.anomalous + damaged
    remedy = "change dataset.split"
    problems = [
        Problem(ERROR, f"the {part} subjects have no normal slice", remedy)
        for part in ("train", "val")
        if not normal[part]
    ]
    if not any(anomalous.values()):
        return [*problems, Problem(ERROR, *data.nothing_anomalous(any(subject.dropped for subject in examined)))]
    if not anomalous["test"]:
        problems.append(Problem(ERROR, "the test subjects have no anomalous pixel", remedy))
    if not anomalous["val"]:
        what = "the val subjects have no anomalous pixel: no look at localization while training"
        problems.append(Problem(NOTE, what, remedy))
    return problems


def _doubts(split: dict[str, list[str]], cases: Sequence[Case], config: DatasetConfig) -> list[Problem]:
    parts = [said.rpartition("; ") for said in doubts(split, cases, config)]
    return [Problem(WARNING, what, remedy) for what, _, remedy in parts]


def _unused(tree: Unused, config: DatasetConfig) -> list[Problem]:
    """Files that a run leaves out; those in the folders of volumes are often just of other modalities."""
    level = NOTE if isinstance(config, NiftiConfig) else WARNING
    said = [
        (WARNING, tree.alone, "of masks without a picture", "add the pictures, or make dataset.mask stricter"),
        (WARNING, tree.useless, "that are pipes or have control characters in their names", "rename or remove them"),
        *(
            (level, paths, f"beside those of {patterns} fit no pattern", "correct names or pattern, or move them")
            for patterns, paths in tree.strange.items()
        ),
    ]
    problems = [
        Problem(level, f"{len(paths)} file{'s'[: len(paths) - 1]} {what}: {listed(paths)}", remedy)
        for level, paths, what, remedy in said
        if paths
    ]
    if tree.clutter:
        problems.append(
            Problem(NOTE, f"{tree.clutter} texts, tables, checksums or archives lie beside the images, unread")
        )
    return problems


def _disagreements(examined: Sequence[Examined]) -> list[Problem]:
    """What most subjects of the cohort agree on and some do not."""
    problems = []
    for name in sorted({name for subject in examined for name in subject.facts}):
        values = Counter(subject.facts[name] for subject in examined if name in subject.facts)
        if len(values) < 2:
            continue
        common = ", ".join(f"{value} ({count})" for value, count in values.most_common(4))
        more = f" and {len(values) - 4} more" if len(values) > 4 else ""
        remedy = "resample the cohort, or add a resampling step to dataset.preprocess, if sizes should be comparable"
        problems.append(Problem(NOTE, f"subjects differ in {name}: {common}{more}", remedy))
    if full := [subject for subject in examined if subject.brain is not None and subject.brain > FILLED]:
        where = (
            f"in {len(full)} of {len(examined)} subjects, such as {full[0].case.subject}, more than {FILLED:.0%} of the"
        )
        what = f"{where} voxels are not 0: the skull or the background seems to be in the volumes"
        problems.append(Problem(WARNING, what, "strip the skull, or give a brain mask (dataset.brain_mask)"))
    deep = [subject.deep for subject in examined if subject.deep is not None]
    if deep and max(deep) < 1 / 16:
        bits = (round(max(deep) * 65535)).bit_length()
        what = f"{len(deep)} pictures have 16 bits, of which {bits} are used: they are read as nearly black"
        problems.append(Problem(WARNING, what, f"multiply their pixels by {2 ** (16 - bits)}"))
    labels = Counter(value for subject in examined for value in subject.labels)
    if len(labels) > 1:
        counts = ", ".join(f"{value:g} in {count} subjects" for value, count in sorted(labels.items()))
        problems.append(Problem(NOTE, f"label values other than 0: {counts}", "see dataset.anomalous_labels"))
    return problems
