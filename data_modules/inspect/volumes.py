"""What the doctor looks at in the volumes of a subject."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from data_modules.base.config import NiftiConfig
from data_modules.base.digests import hash_of_bytes
from data_modules.base.errors import DataError
from data_modules.cases.case import Case
from data_modules.modules.base import AnomalyDataModule
from data_modules.modules.nifti import label_of
from data_modules.readers.masks import has_greys, rounded
from data_modules.readers.volumes import Volume, grid_problem, read_volume, spacing
from data_modules.transforms.brain import HeadMaskd

from .findings import ERROR, NOTE, SOFT, WARNING, Examined

OUTSIDE = 0.01  # share of the labelled voxels outside the brain that is worth a warning


def examine_volumes(data: AnomalyDataModule, case: Case) -> Examined:
    """Check each file by itself, then the files beside each other, then read the subject as a run would."""
    subject = Examined(case)
    files = [*case.images.values(), *filter(None, (case.label, case.brain_mask))]
    read = {file: _read(subject, file) for file in dict.fromkeys(files)}
    volumes = {file: volume for file, volume in read.items() if volume is not None}
    images = [volumes[file] for file in case.images.values() if file in volumes]
    for volume in images:
        if volume.voxels.min() == volume.voxels.max():
            what = f"every voxel is {float(volume.voxels.flat[0]):g}"
            subject.add(ERROR, volume.source, what, "the volume is empty: copy it again or remove the subject")
    config = cast(NiftiConfig, data.config)
    for volume in list(volumes.values())[1:]:
        if problem := grid_problem(volume, next(iter(volumes.values())), config.affine_tolerance):
            subject.add(ERROR, volume.source, *problem)
    _check_orientations(subject, list(volumes.values()))
    label, brain_mask = (volumes.get(file) if file else None for file in (case.label, case.brain_mask))
    if label:
        _check_label(subject, label, config)
    subject.contents = [_digest(volume) for volume in images]
    if images:
        subject.facts = {"spacing (mm)": spacing(images[0])}
    if not any(problem.level == ERROR for problem in subject.problems):
        headed = any(step and step.get("use") == HeadMaskd.__name__ for step in config.preprocess.values())
        _check_brain(subject, images, label, brain_mask, headed)
        subject.read_as_a_run_does(data)
    return subject


def _read(subject: Examined, file: str) -> Volume | None:
    try:
        return read_volume(subject.case.root / file)
    except DataError as error:
        subject.add_error(error)
    return None


def _check_orientations(subject: Examined, volumes: Sequence[Volume]) -> None:
    """Files of one subject that are stored along other axes: right if the headers are; if not, a side is mirrored."""
    for volume in volumes:
        if volume.doubt:
            subject.add(WARNING, volume.source, volume.doubt, "view it beside another volume, and repair its header")
    codes = [(volume.source, volume.axes) for volume in volumes if volume.axes]
    for source, code in codes[1:]:
        if code != codes[0][1]:
            what = f"its header says {code}, that of {Path(codes[0][0]).name} says {codes[0][1]}"
            subject.add(WARNING, source, what, "view both: if one header is wrong, a side is mirrored")


def _check_label(subject: Examined, label: Volume, config: NiftiConfig) -> None:
    try:
        label_of(label, config.anomalous_labels)
    except DataError as error:
        subject.add_error(error)
        return
    values = np.unique(rounded(label.voxels))
    if values.min() < 0:
        what = f"has negative values, down to {values.min():g}, which are neither normal nor anomalous"
        subject.add(WARNING, label.source, what, "correct the label")
    if config.anomalous_labels is None and has_greys(values):
        subject.add(NOTE, label.source, SOFT, "resample labels by nearest neighbour")
        return
    subject.labels = {float(value) for value in values if value > 0}
    if (wanted := config.anomalous_labels) is not None and subject.labels and not subject.labels & set(wanted):
        there = ", ".join(f"{value:g}" for value in sorted(subject.labels))
        what = f"has the values {there}, none of dataset.anomalous_labels={list(wanted)}"
        remedy = "set dataset.anomalous_labels to the values that are anomalies, or null"
        subject.add(WARNING, label.source, what, remedy)


def _check_brain(
    subject: Examined, images: Sequence[Volume], label: Volume | None, given: Volume | None, headed: bool
) -> None:
    """What counts as brain without preprocessing: the given mask, else what is not 0 in some image.

    headed: whether preprocessing finds the head by itself.
    """
    brain: NDArray[np.bool_] = np.zeros(images[0].voxels.shape, bool)
    for volume in [given] if given else images:
        brain |= volume.voxels != 0
    subject.brain = None if given or headed else float(brain.mean())
    if label and (labelled := label.voxels > 0).any():
        outside = float((labelled & ~brain).sum() / labelled.sum())
        if outside > OUTSIDE:
            what = f"{outside:.0%} of the labelled voxels lie outside the brain"
            subject.add(WARNING, label.source, what, "view both: is it another subject's label, or mirrored?")


def _digest(volume: Volume) -> str:
    """Of the values, whatever the file's type, axes and compression."""
    voxels: NDArray[Any] = np.ascontiguousarray(volume.voxels, dtype=np.float32)
    return hash_of_bytes(voxels.tobytes())
