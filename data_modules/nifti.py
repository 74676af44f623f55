"""Cohorts of volumes (NIfTI, MetaImage): subjects to axial slices, brain scaled and centred."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import NamedTuple, cast

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage, Orientation
from torch import Tensor

from .config import LayoutConfig, NiftiConfig
from .errors import DataError
from .geometry import crop, resize_anomalies, resize_images, resize_masks, square_box
from .layout import Case, Tree
from .module import AnomalyDataModule, file_digest
from .store import Slices

AFFINE_TOLERANCE = 0.05  # millimetres: what releases round differently in the headers of one subject


class NiftiDataModule(AnomalyDataModule):
    """Axial slices of a cohort of volumes (NiftiConfig)."""

    def find_cases(self, tree: Tree) -> list[Case]:
        """Subjects of the one layout that fits. Raises DataError if none or two fit, or if a subject lacks a file."""
        config = cast(NiftiConfig, self.config)
        for layout in config.layouts.values():
            self._check_channels(config, layout)
        fitting = [name for name, layout in config.layouts.items() if tree.find(layout.image[config.channels[0]])]
        if len(fitting) == 1:
            return _cases(tree, config.layouts[fitting[0]], list(config.channels))
        if fitting:
            raise DataError(
                f"{tree.root}: files fit the layouts {' and '.join(fitting)}; set dataset.root to the folder of one release"
            )
        tried = ", ".join(f"{name} ('{layout.image[config.channels[0]]}')" for name, layout in config.layouts.items())
        raise DataError(
            f"{tree.root}: no file fits a layout of dataset {config.name}; tried {tried}; see dataset.layouts"
        )

    def read_case(self, tree: Tree, case: Case) -> Slices:
        config = cast(NiftiConfig, self.config)
        paths = [tree.root / case.images[channel] for channel in config.channels]
        volumes = [read_volume(path) for path in paths]
        label = _read_on_grid(tree, case.label, volumes[0], paths[0])
        mask = _read_on_grid(tree, case.brain_mask, volumes[0], paths[0])
        for volume, path in zip(volumes[1:], paths[1:], strict=True):
            _check_grid(volume, path, volumes[0], paths[0])
        stacked = torch.stack([volume.voxels for volume in volumes])
        brain = stacked.ne(0).any(0) if mask is None else mask > 0
        if not brain.any():
            raise DataError(f"{paths[0]}: no brain voxel (all background); remove the subject or give a brain mask")
        labelled = torch.zeros_like(brain) if label is None else label > 0
        anomalous = labelled
        if config.anomalous_labels is not None and label is not None:
            anomalous = torch.isin(label, torch.tensor(list(config.anomalous_labels), dtype=label.dtype))
        brain = brain | anomalous
        scaled = [
            scale_intensity(voxels, brain, config.percentiles, config.clip, path)
            for voxels, path in zip(stacked, paths, strict=True)
        ]
        return self._slices(tree, case, torch.stack(scaled), torch.stack([anomalous, labelled, brain]))

    def _slices(self, tree: Tree, case: Case, image: Tensor, masks: Tensor) -> Slices:
        """Axial slices with enough brain, cropped and resized; masks (3, X, Y, Z): anomalous, labelled, brain."""
        config = cast(NiftiConfig, self.config)
        planes = axial(masks)
        box = square_box(planes[:, 2:])
        images, (anomalous, labelled, brain) = crop(axial(image), box), crop(planes, box).split(1, dim=1)
        enough = brain.flatten(1).float().mean(1) >= config.min_foreground
        number = enough.nonzero().flatten()[:: config.slice_step]
        if len(number) == 0:
            raise DataError(
                f"{case.images[config.channels[0]]}: no axial slice has {config.min_foreground:.0%} brain; "
                "lower dataset.min_foreground"
            )
        size = (config.size[0], config.size[1])
        mask = resize_anomalies(anomalous[number], size)
        foreground = resize_masks(brain[number], size) | mask
        return Slices(
            case.subject,
            resize_images(images[number], size) * foreground,
            mask,
            foreground,
            number,
            labelled[number].flatten(1).any(1),
            file_digest([tree.root / file for file in case.files]),
            kept=int(anomalous[enough].sum()),
            dropped=int(anomalous[~enough].sum()),
        )

    def _check_channels(self, config: NiftiConfig, layout: LayoutConfig) -> None:
        for channel in config.channels:
            if channel not in layout.image:
                raise DataError(
                    f"dataset.channels: {config.name} has no channel '{channel}'; it has {sorted(layout.image)}"
                )
        if not config.channels:
            raise DataError("dataset.channels is empty; name at least one channel")


class Volume(NamedTuple):
    """Voxels (X, Y, Z) float32 in RAS orientation (to the right, front, top) and the affine (4, 4) to millimetres."""

    voxels: Tensor
    affine: Tensor


def read_volume(path: Path) -> Volume:
    """A volume in RAS orientation.

    Raises DataError naming the file if it cannot be read, is not 3D, or holds NaN or Inf.
    """
    try:
        if path.name.endswith((".mha", ".mhd")):
            volume = _read_metaimage(path)
        else:
            loader = LoadImage(reader="NibabelReader", image_only=True, ensure_channel_first=True, dtype=np.float32)
            volume = loader(path)
    except (OSError, EOFError, RuntimeError, ValueError, zlib.error, nib.filebasedimages.ImageFileError) as error:
        if isinstance(error, DataError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path}: cannot be read as a volume ({reason}); it is damaged or no NIfTI: copy it again"
        ) from error
    if volume.ndim != 4 or volume.shape[0] != 1:
        raise DataError(
            f"{path}: expected one 3D volume, found shape {tuple(volume.shape)} (channels first); split it first"
        )
    turned = Orientation(axcodes="RAS", labels=None)(volume)
    voxels: Tensor = turned.as_subclass(torch.Tensor)[0]
    if not torch.isfinite(voxels).all():
        raise DataError(f"{path}: holds NaN or infinite voxels; repair the volume or remove the subject")
    return Volume(voxels, torch.as_tensor(cast(MetaTensor, turned).affine))


def scale_intensity(volume: Tensor, brain: Tensor, percentiles: list[float], clip: float, path: Path) -> Tensor:
    """The volume with the brain's lower percentile at 0 and its upper at 1, clipped to [0, clip]; 0 outside the brain.

    Raises DataError naming the file if the brain has one intensity only.
    """
    low, high = (float(value) for value in np.percentile(volume[brain].numpy(), list(percentiles)))
    if high <= low:
        raise DataError(
            f"{path}: the brain has the one intensity {low}; the volume is empty: copy it again or remove it"
        )
    return ((volume - low) / (high - low)).clamp(0.0, clip) * brain


def axial(volume: Tensor) -> Tensor:
    """Axial slices (Z, C, Y, X) of a RAS volume (C, X, Y, Z), the front of the head on top, its right on the right."""
    return volume.permute(3, 0, 2, 1).flip(2)


def _read_on_grid(tree: Tree, file: str | None, image: Volume, image_path: Path) -> Tensor | None:
    """The voxels of a label or brain mask that lies on the image's grid; None without a file."""
    if file is None:
        return None
    volume = read_volume(tree.root / file)
    _check_grid(volume, tree.root / file, image, image_path)
    return volume.voxels


def _check_grid(volume: Volume, path: Path, image: Volume, image_path: Path) -> None:
    if volume.voxels.shape != image.voxels.shape:
        found, expected = tuple(volume.voxels.shape), tuple(image.voxels.shape)
        reason = f"{found} voxels, but {image_path} has {expected}"
    elif not torch.allclose(volume.affine, image.affine, atol=AFFINE_TOLERANCE):
        reason = f"its affine puts its voxels elsewhere than {image_path}"
    else:
        return
    raise DataError(
        f"{path}: {reason}; images, label and brain mask of a subject must share one grid: resample it first"
    )


def _cases(tree: Tree, layout: LayoutConfig, channels: list[str]) -> list[Case]:
    """Every subject that any pattern of the layout finds, with all its files."""
    patterns = {f"image '{channel}'": layout.image[channel] for channel in channels}
    patterns |= {"label": layout.label} if layout.label else {}
    patterns |= {"brain mask": layout.brain_mask} if layout.brain_mask else {}
    found: dict[str, dict[str, str]] = {}
    for what, pattern in patterns.items():
        for path, names in tree.find(pattern):
            files = found.setdefault(names.get("subject") or path, {})
            if what in files:
                raise DataError(f"{tree.root}: {files[what]} and {path} both are the {what} of one subject; remove one")
            files[what] = path
    for subject, files in found.items():
        for what in patterns.keys() - files.keys():
            raise DataError(
                f"{tree.root}: subject {subject} has no {what}, expected '{patterns[what]}'; add it or remove the subject"
            )
    return [
        Case(
            subject=subject,
            images={channel: files[f"image '{channel}'"] for channel in channels},
            label=files.get("label"),
            brain_mask=files.get("brain mask"),
        )
        for subject, files in found.items()
    ]


def _read_metaimage(path: Path) -> Tensor:
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
