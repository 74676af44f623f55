"""Cohorts of volumes (NIfTI, MetaImage): subjects to slices of one plane, intensities on one scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.base.batch import Slices
from data_modules.base.config import POLARITIES, NiftiConfig
from data_modules.base.errors import DataError, Report, did_you_mean, stop
from data_modules.cases.case import Case
from data_modules.cases.cohorts import find_volumes, modalities
from data_modules.readers.masks import IN_VOLUMES, anomalous_in
from data_modules.readers.volumes import Volume, check_grid, read_volumes, whole_numbers
from data_modules.transforms.augment import check_augment
from data_modules.transforms.preprocess import Preprocess
from data_modules.transforms.scan import ANOMALOUS, OTHER, Scan, blank
from data_modules.transforms.slicing import PLANES, Grid, Slicing, cut
from data_modules.transforms.steps import check_arguments

from .base import AnomalyDataModule


class NiftiDataModule(AnomalyDataModule):
    """Slices of a cohort of volumes (NiftiConfig), maybe with another one of healthy subjects to train on.

    NiftiDataModule("tiny_brain")                                        # embedded: made on first use
    NiftiDataModule("brats", root="/data/BraTS2021", modality=["flair", "t1"], size=(128, 128), split={"test": 0.3})
    NiftiDataModule("brats", healthy="ixi", modality="t2")               # trained on one cohort, tested on another
    NiftiDataModule("generic", root="/data/mine", image="{subject}/t1.nii.gz", label="{subject}/lesion.nii.gz")

    Raises DataError on construction for a plane, a modality or a preprocessing that cannot be.
    """

    schema = NiftiConfig
    config: NiftiConfig

    def find_cases(self, report: Report = stop) -> list[Case]:
        """Every subject of the dataset, and of its healthy cohort if it has one; see find_volumes."""
        self.unused = []
        return find_volumes(self.config, self.root(), self.data_dir, self._channels, report, self.unused.append)

    def read_case(self, case: Case) -> Slices:
        """Slices of one subject; may be called from several threads at once."""
        scan = self._read(case)
        source = Grid(scan.shape, scan.affine)
        scan = self._preprocess(scan)
        config = self.config
        slicing = Slicing(config.plane, self._size, config.min_foreground, config.slice_step, config.context)
        return cut(scan, source, slicing, case.subject)

    def nothing_anomalous(self, dropped: bool) -> tuple[str, str]:
        """See AnomalyDataModule: the labels, what counts of them, or the slices that are kept."""
        what, labels = "no subject of the dataset has an anomalous pixel", self.config.anomalous_labels
        if dropped:
            remedy = f"lower dataset.min_foreground={self.config.min_foreground:g}"
            return f"{what} in a slice with enough brain to be kept", remedy
        if labels is not None:
            remedy = "set it to the values that are anomalies, which `anomaly-bench data verify` names, or to null"
            return f"{what} by dataset.anomalous_labels={list(labels)}", remedy
        return what, "look at the labels, which are 0 everywhere or not there"

    @property
    def channels(self) -> int:
        return len(self._channels)

    @property
    def polarity(self) -> str | None:
        """dataset.polarity, else what dataset.polarities says of all the modalities."""
        known = {self.config.polarities.get(channel) for channel in self._channels}
        return self.config.polarity or (known.pop() if len(known) == 1 else None)

    def _read(self, case: Case) -> Scan:
        files = [case.images[channel] for channel in self._channels]
        extra = [file for file in (case.label, case.brain_mask) if file is not None]
        volumes = read_volumes([str(case.root / file) for file in (*files, *extra)])
        for volume in volumes[1:]:
            check_grid(volume, volumes[0], self.config.affine_tolerance)
        images, masks = volumes[: len(files)], volumes[len(files) :]
        return Scan(
            image=[volume.voxels for volume in images],
            affine=images[0].affine,
            sources=[volume.source for volume in images],
            label=label_of(masks[0], self.config.anomalous_labels) if case.label is not None else None,
            brain=np.greater(masks[-1].voxels, 0) if case.brain_mask is not None else None,
        )

    def _settings(self) -> dict[str, Any]:
        """Preprocessing as the list that it is: mappings are hashed without their order."""
        entries = [entry for entry in self.config.preprocess.values() if entry is not None]
        settings = super()._settings() | {"preprocess": entries, "modality": self._channels}
        cohorts = [settings, settings["healthy"] or {}]
        for node in (*cohorts, *(layout for cohort in cohorts for layout in cohort.get("layouts", {}).values())):
            for key in ("group", "unlabelled"):  # they change no pixel of a subject
                node.pop(key, None)
        return settings

    def _check_config(self) -> None:
        super()._check_config()
        config = self.config
        if config.plane not in PLANES:
            raise DataError(f"dataset.plane={config.plane}: no such plane; {did_you_mean(str(config.plane), PLANES)}")
        if not config.affine_tolerance >= 0:
            raise DataError(f"dataset.affine_tolerance={config.affine_tolerance}: expected millimetres, 0 or more")
        self._channels = modalities(config)
        for modality, polarity in config.polarities.items():
            if polarity not in POLARITIES:
                raise DataError(f"dataset.polarities.{modality}={polarity}: expected {' or '.join(POLARITIES)}")
        check_arguments(config.preprocess, "dataset.preprocess", axes=3)
        self._preprocess = Preprocess(config.preprocess)
        check_augment(config.augment, (self.channels, *self._size))


def label_of(volume: Volume, anomalous: list[int] | None, remedy: str = IN_VOLUMES) -> NDArray[np.uint8]:
    """ANOMALOUS where the label has one of these values, OTHER for others but 0, else 0; values not given: see `anomalous_in`.

    Raises DataError naming the file as anomalous_in does, or, if values are given, where its voxels are no whole numbers.
    """
    out = blank(volume.voxels, bool)
    if anomalous is None:
        return anomalous_in(volume.voxels, volume.source, remedy, out=out).view(np.uint8)  # ANOMALOUS is 1
    voxels = whole_numbers(volume)
    label: NDArray[np.uint8] = np.not_equal(voxels, 0, out=out).view(np.uint8) * np.uint8(OTHER)
    label[np.isin(voxels, list(anomalous))] = ANOMALOUS
    return label
