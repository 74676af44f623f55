"""Cohorts of volumes (NIfTI, MetaImage): subjects to slices of one plane, intensities on one scale."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .cohort import find_subjects, healthy_cohort, healthy_group, main_cohort, modalities
from .config import NiftiConfig
from .errors import DataError, Report, stop
from .layout import Case, Tree
from .module import AnomalyDataModule
from .preprocess import Preprocess
from .scan import ANOMALOUS, OTHER, Scan, blank
from .slicing import PLANES, Grid, Slicing, cut
from .store import Slices
from .volumes import Volume, check_grid, read_volumes, whole_numbers


class NiftiDataModule(AnomalyDataModule):
    """Slices of a cohort of volumes (NiftiConfig), maybe with another one of healthy subjects to train on.

    Raises DataError on construction for a plane, a modality or a preprocessing that cannot be.
    """

    def find_cases(self, report: Report = stop) -> list[Case]:
        """Subjects of the layout that fits, and those of the healthy cohort.

        With a healthy cohort, its subjects, named `<its name>/<subject>`, go to train and val, and those of the dataset
        itself to test (and val, see split.holdout). Raises DataError if no layout fits, or several do.
        """
        config = self._config
        cases = find_subjects(main_cohort(config), Tree(self.root()), self._channels, report)
        healthy = config.healthy
        if healthy is None:
            return cases
        tree = Tree(self.healthy_root(), "dataset.healthy.root")
        others = find_subjects(healthy_cohort(healthy), tree, self._channels, report)
        return [replace(case, pool="test") for case in cases] + [
            replace(
                case,
                pool="train",
                subject=f"{healthy.name}/{case.subject}",
                group=healthy_group(healthy, case.subject) if healthy.group else None,
            )
            for case in others
        ]

    def read_case(self, case: Case) -> Slices:
        """Slices of one subject; may be called from several threads at once."""
        config = self._config
        scan = self._read(case)
        source = Grid(scan.shape, scan.affine)
        scan = self._preprocess(scan)
        size = (config.size[0], config.size[1])
        return cut(scan, source, Slicing(config.plane, size, config.min_foreground, config.slice_step), case.subject)

    def _read(self, case: Case) -> Scan:
        files = [case.images[channel] for channel in self._channels]
        extra = [file for file in (case.label, case.brain_mask) if file is not None]
        volumes = read_volumes([str(case.root / file) for file in (*files, *extra)])
        for volume in volumes[1:]:
            check_grid(volume, volumes[0])
        images, masks = volumes[: len(files)], volumes[len(files) :]
        return Scan(
            image=[volume.voxels for volume in images],
            affine=images[0].affine,
            sources=[volume.source for volume in images],
            label=self._label(masks[0]) if case.label is not None else None,
            brain=np.greater(masks[-1].voxels, 0) if case.brain_mask is not None else None,
        )

    def _label(self, volume: Volume) -> NDArray[np.uint8]:
        """ANOMALOUS where the label has one of dataset.anomalous_labels (all, if that is null), OTHER for other labels."""
        voxels = whole_numbers(volume)
        labelled: NDArray[np.bool_] = np.greater(voxels, 0, out=blank(voxels, bool))
        if self._config.anomalous_labels is None:
            return labelled.view(np.uint8)  # ANOMALOUS is 1
        label = labelled.view(np.uint8) * np.uint8(OTHER)
        label[np.isin(voxels, list(self._config.anomalous_labels))] = ANOMALOUS
        return label

    @property
    def _config(self) -> NiftiConfig:
        return cast(NiftiConfig, self.config)

    def healthy_root(self) -> Path:
        """The folder of the healthy cohort, if there is one."""
        healthy = self._config.healthy
        assert healthy is not None
        if healthy.root is not None:
            return Path(healthy.root).expanduser()
        return self.data_dir / (healthy.about.folder if healthy.about and healthy.about.folder else healthy.name)

    def _settings(self) -> dict[str, Any]:
        """Preprocessing as the list that it is: mappings are hashed without their order."""
        entries = [entry for entry in self._config.preprocess.values() if entry is not None]
        settings = super()._settings() | {"preprocess": entries, "modality": self._channels}
        cohorts = [settings, settings["healthy"] or {}]
        for node in (*cohorts, *(layout for cohort in cohorts for layout in cohort.get("layouts", {}).values())):
            for key in ("group", "unlabelled"):  # they change no pixel of a subject
                node.pop(key, None)
        return settings

    def _check_config(self) -> None:
        super()._check_config()
        config = self._config
        if config.plane not in PLANES:
            close = difflib.get_close_matches(str(config.plane), PLANES, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise DataError(f"dataset.plane={config.plane}: expected {', '.join(PLANES)}{hint}")
        self._channels = modalities(config)
        self._preprocess = Preprocess(config.preprocess)
