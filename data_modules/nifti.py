"""Cohorts of volumes (NIfTI, MetaImage): subjects to axial slices, brain scaled and centred."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
import torch
from monai.transforms import LoadImage, Orientation
from torch import Tensor

from .config import LayoutConfig, NiftiConfig
from .errors import DataError
from .geometry import crop, resize_images, resize_masks, square_box
from .layout import Case, Tree
from .module import AnomalyDataModule, file_digest
from .store import Slices


class NiftiDataModule(AnomalyDataModule):
    """Axial slices of a cohort of volumes (NiftiConfig)."""

    def find_cases(self, tree: Tree) -> list[Case]:
        """Subjects of the first layout that fits. Raises DataError if none fits or a subject lacks a file."""
        config = cast(NiftiConfig, self.config)
        for layout in config.layouts.values():
            self._check_channels(config, layout)
            if tree.find(layout.image[config.channels[0]]):
                return _cases(tree, layout, list(config.channels))
        tried = ", ".join(f"{name} ('{layout.image[config.channels[0]]}')" for name, layout in config.layouts.items())
        raise DataError(
            f"{tree.root}: no file fits a layout of dataset {config.name}; tried {tried}; see dataset.layouts"
        )

    def read_case(self, tree: Tree, case: Case) -> Slices:
        config = cast(NiftiConfig, self.config)
        paths = [tree.root / case.images[channel] for channel in config.channels]
        volumes = [read_volume(path) for path in paths]
        label = read_volume(tree.root / case.label) if case.label else torch.zeros_like(volumes[0])
        mask_path = tree.root / case.brain_mask if case.brain_mask else None
        brain = read_volume(mask_path) > 0 if mask_path else torch.stack(volumes).ne(0).any(0)
        for volume, path in [*zip(volumes[1:], paths[1:], strict=True), (label, case.label), (brain, mask_path)]:
            if volume.shape != volumes[0].shape:
                raise DataError(
                    f"{path}: {tuple(volume.shape)} voxels, but {paths[0]} has {tuple(volumes[0].shape)}; "
                    "image, label and brain mask of a subject must share one grid"
                )
        anomalous = (
            label > 0 if config.anomalous_labels is None else torch.isin(label, torch.tensor(config.anomalous_labels))
        )
        brain = brain | anomalous
        if not brain.any():
            raise DataError(f"{paths[0]}: no brain voxel (all background); remove the subject or give a brain mask")
        image = torch.stack([scale_intensity(v, brain, config.percentiles, config.clip) for v in volumes])
        return self._slices(
            case, config, image, anomalous, brain, file_digest([tree.root / file for file in case.files])
        )

    def _slices(
        self, case: Case, config: NiftiConfig, image: Tensor, anomalous: Tensor, brain: Tensor, digest: str
    ) -> Slices:
        planes = [axial(volume) for volume in (image, anomalous[None], brain[None])]
        box = square_box(planes[2])
        size = (config.size[0], config.size[1])
        images, masks, foreground = (crop(plane, box) for plane in planes)
        share = foreground.flatten(1).float().mean(1)
        number = (share >= config.min_foreground).nonzero().flatten()[:: config.slice_step]
        if len(number) == 0:
            raise DataError(
                f"{case.images[config.channels[0]]}: no axial slice has {config.min_foreground:.0%} brain; "
                "lower dataset.min_foreground"
            )
        mask = resize_masks(masks[number], size)
        foreground = resize_masks(foreground[number], size) | mask
        return Slices(case.subject, resize_images(images[number], size) * foreground, mask, foreground, number, digest)

    def _check_channels(self, config: NiftiConfig, layout: LayoutConfig) -> None:
        for channel in config.channels:
            if channel not in layout.image:
                raise DataError(
                    f"dataset.channels: {config.name} has no channel '{channel}'; it has {sorted(layout.image)}"
                )
        if not config.channels:
            raise DataError("dataset.channels is empty; name at least one channel")


def read_volume(path: Path) -> Tensor:
    """A volume (X, Y, Z) float32 in RAS orientation (X to the right, Y to the front, Z to the top).

    Raises DataError naming the file if it cannot be read, is not 3D, or holds NaN or Inf.
    """
    try:
        if path.name.endswith((".mha", ".mhd")):
            volume = _read_metaimage(path)
        else:
            loader = LoadImage(reader="NibabelReader", image_only=True, ensure_channel_first=True, dtype=np.float32)
            volume = loader(path)
    except (OSError, EOFError, RuntimeError, ValueError, zlib.error, nib.filebasedimages.ImageFileError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path}: cannot be read as a volume ({reason}); it is damaged or no NIfTI: copy it again"
        ) from error
    if volume.ndim != 4 or volume.shape[0] != 1:
        raise DataError(
            f"{path}: expected one 3D volume, found shape {tuple(volume.shape)} (channels first); split it first"
        )
    array: Tensor = Orientation(axcodes="RAS", labels=None)(volume).as_subclass(torch.Tensor)[0]
    if not torch.isfinite(array).all():
        raise DataError(f"{path}: holds NaN or infinite voxels; repair the volume or remove the subject")
    return array


def scale_intensity(volume: Tensor, brain: Tensor, percentiles: list[float], clip: float) -> Tensor:
    """The volume with the brain's lower percentile at 0 and its upper at 1, clipped to [0, clip]; 0 outside the brain."""
    low, high = (float(value) for value in np.percentile(volume[brain].numpy(), list(percentiles)))
    scale = max(high - low, float(np.finfo(np.float32).tiny))
    return ((volume - low) / scale).clamp(0.0, clip) * brain


def axial(volume: Tensor) -> Tensor:
    """Axial slices (Z, C, Y, X) of a RAS volume (C, X, Y, Z), the front of the head on top, its right on the right."""
    return volume.permute(3, 0, 2, 1).flip(2)


def _cases(tree: Tree, layout: LayoutConfig, channels: list[str]) -> list[Case]:
    cases: dict[str, Case] = {}
    for path, names in tree.find(layout.image[channels[0]]):
        subject = names.get("subject") or path
        if subject in cases:
            raise DataError(f"{tree.root}: subject {subject} twice, {path} and {cases[subject].images[channels[0]]}")

        def file(pattern: str, what: str, names: dict[str, str] = names, subject: str = subject) -> str:
            found = tree.one(pattern, names)
            if found is None:
                raise DataError(
                    f"{tree.root}: subject {subject} has no {what}, expected '{pattern}'; add it or remove the subject"
                )
            return found

        cases[subject] = Case(
            subject=subject,
            images={channel: file(layout.image[channel], f"image '{channel}'") for channel in channels},
            label=file(layout.label, "label") if layout.label else None,
            brain_mask=file(layout.brain_mask, "brain mask") if layout.brain_mask else None,
        )
    return list(cases.values())


def _read_metaimage(path: Path) -> Tensor:
    from monai.data import MetaTensor

    try:
        import SimpleITK as sitk  # noqa: N813 (the library's own idiom)
    except ImportError as error:
        raise DataError(f"{path}: reading MetaImage files needs SimpleITK; pip install 'anomaly-bench[mha]'") from error
    image = sitk.ReadImage(str(path), sitk.sitkFloat32)
    array = torch.from_numpy(sitk.GetArrayFromImage(image).T.copy())
    flip = np.diag([-1.0, -1.0, 1.0])  # ITK's axes are LPS, NIfTI's are RAS
    affine = np.eye(4)
    affine[:3, :3] = flip @ np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
    affine[:3, 3] = flip @ np.asarray(image.GetOrigin())
    return MetaTensor(array[None], affine=torch.from_numpy(affine))
