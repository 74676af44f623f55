"""One input, read as the run reads its data, and the way from its slices back to it."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from anomaly_bench.config.schema import RunConfig
from data_modules.base.batch import AnomalyBatch, Slices
from data_modules.base.config import DatasetConfig, NiftiConfig, PictureConfig
from data_modules.base.errors import DataError
from data_modules.modules.build import build_module
from data_modules.modules.dataset import as_volumes
from data_modules.modules.nifti import label_of
from data_modules.readers.like import Source, read_source
from data_modules.readers.masks import BY_FILE
from data_modules.readers.pictures import read_mask, read_picture
from data_modules.readers.volumes import Volume, check_grid, read_volume
from data_modules.store.format import as_stored
from data_modules.transforms.back import ToPicture, ToVolume
from data_modules.transforms.context import windows, with_context
from data_modules.transforms.scan import ANOMALOUS, OTHER
from data_modules.transforms.slicing import PLANES, Grid, planes

from .applied import Look
from .inputs import Item
from .regions import AREAS, VOLUMES, regions_of, voxel_mm3

Array = NDArray[Any]
LEAST = 0.5  # of the network's side: with fewer pixels than that, most of what it sees would be made up
ANY = 1e-9  # as good as any share of foreground above 0
FULL = 65535  # the largest number of 16 bits
MARGIN = 0.06  # around the brain in a drawing, of its longer side
MARKS = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}  # left, right, top, bottom, as drawn
WINDOW = (1.0, 99.5)  # percentiles of the intensities of what was looked at
WHITEST = 0.9  # how white the upper one is drawn


class Opened(ABC):
    """An input with the slices that the model is to see.

    image: (n, C, H, W) float32, as the run's store would give it, with neighbours if the run's model sees them. back: scores
    (n, 1, H, W) to the map on the source's grid, float32, 0 outside of `back.looked`; a volume (X, Y, Z) in RAS orientation, a
    picture (h, w).
    """

    back: ToVolume | ToPicture
    region_columns: tuple[str, ...]

    def __init__(self, item: Item, slices: Slices, image: Tensor) -> None:
        self.item, self.slices, self.image = item, slices, image

    def __len__(self) -> int:
        return len(self.image)

    def whole(self, scores: Tensor) -> Array:
        """The map on the source's grid of the scores (n, 1, H, W) of all slices; where squares overlap, their mean."""
        return self.back(scores)

    @abstractmethod
    def encoded(self, raw: Array, calibrated: Array, segmentation: Array) -> dict[str, bytes]:
        """The files of a map and what was made of it, by how their names end."""

    @abstractmethod
    def mask(self, path: Path) -> tuple[Array, Array]:
        """The anomalous voxels of a mask file, and those that count: both bool, on the source's grid."""

    @abstractmethod
    def as_planes(self, array: Array) -> Array:
        """An array on the source's grid as slices (N, h, w)."""

    @abstractmethod
    def regions(self, segmentation: Array, raw: Array, calibrated: Array) -> list[dict[str, float | int]]:
        """The connected regions of a segmentation; see `regions_of`."""

    @abstractmethod
    def amount(self, segmentation: Array) -> dict[str, Any]:
        """How much is called anomalous: `anomalous`, in `unit`."""

    @abstractmethod
    def slice_scores(self, look: Look, best: int) -> dict[str, Any]:
        """The score and place of each slice; best: the position of the highest."""

    @abstractmethod
    def background(self) -> Array:
        """What a map is drawn on, in the axes of `as_planes`: grey (N, h, w), or colour (1, h, w, 3), in [0, 1]."""

    @property
    @abstractmethod
    def pixel_sides(self) -> tuple[float, float] | None:
        """Height and width, in mm, of the pixels of a slice; None of a picture."""

    @abstractmethod
    def view(self, looked: Array) -> tuple[tuple[slice, slice], bool, str]:
        """What of the planes is drawn, whether left and right are exchanged, and the marks of left, right, top and bottom."""

    @abstractmethod
    def caption(self, index: int) -> str:
        """What is said of a plane."""

    @abstractmethod
    def geometry(self) -> dict[str, Any]:
        """What the JSON says of where the input lies."""


class OpenedVolume(Opened):
    """A scan."""

    back: ToVolume
    region_columns = VOLUMES

    def __init__(self, item: Item, slices: Slices, image: Tensor, source: Source, config: NiftiConfig) -> None:
        super().__init__(item, slices, image)
        self.source, self.config = source, config
        grid = Grid(source.ras_shape, source.ras_affine)
        self.back = ToVolume(slices.foreground, slices.number, slices.geometry, grid)

    def encoded(self, raw: Array, calibrated: Array, segmentation: Array) -> dict[str, bytes]:
        return {
            "map.nii.gz": self.source.encoded(raw),
            "calibrated.nii.gz": self.source.encoded(calibrated),
            "segmentation.nii.gz": self.source.encoded(segmentation.astype(np.uint8)),
        }

    def mask(self, path: Path) -> tuple[Array, Array]:
        label = read_volume(path)
        grid = self.back.source
        here = Volume(np.broadcast_to(False, grid.shape), grid.affine, str(self.item.first))
        check_grid(label, here, self.config.affine_tolerance)
        values = label_of(label, self.config.anomalous_labels, BY_FILE)
        return values == ANOMALOUS, values != OTHER

    def as_planes(self, array: Array) -> Array:
        return planes(array, self.config.plane)

    def regions(self, segmentation: Array, raw: Array, calibrated: Array) -> list[dict[str, float | int]]:
        there = [self.source.in_file(array).reshape(self.source.shape[:3]) for array in (segmentation, raw, calibrated)]
        return regions_of(there[0], there[1], there[2], self.source.affine)

    def amount(self, segmentation: Array) -> dict[str, Any]:
        return {"anomalous": np.count_nonzero(segmentation) * voxel_mm3(self.source.affine), "unit": "mm3"}

    def slice_scores(self, look: Look, best: int) -> dict[str, Any]:
        number = self.slices.number.tolist()
        rows = zip(number, look.image_score.tolist(), look.place.tolist(), strict=True)
        keys = ("slice", "image_score", "higher_than")
        return {"highest_slice": number[best], "slices": [dict(zip(keys, row, strict=True)) for row in rows]}

    def background(self) -> Array:
        case = self.item.case
        volume = read_volume(case.root / next(iter(case.images.values()))).voxels.astype(np.float32)
        low, high = np.percentile(volume[self.back.looked], WINDOW)
        low = min(low, 0)
        return self.as_planes(np.clip((volume - low) / max(high - low, 1e-9) * WHITEST, 0, 1))

    @property
    def pixel_sides(self) -> tuple[float, float]:
        _, row, column = PLANES[self.config.plane]
        sides = np.linalg.norm(self.source.ras_affine[:3, :3], axis=0)
        return float(sides[row]), float(sides[column])

    def view(self, looked: Array) -> tuple[tuple[slice, slice], bool, str]:
        return _frame(np.logical_or.reduce(looked)), True, MARKS[self.config.plane]

    def caption(self, index: int) -> str:
        axis = PLANES[self.config.plane][0]
        middle = (np.array(self.source.ras_shape) - 1) / 2
        middle[axis] = index
        place = self.source.ras_affine[axis, :3] @ middle + self.source.ras_affine[axis, 3]
        return f"{self.config.plane} {index} · {'xyz'[axis]} = {place:.0f} mm"

    def geometry(self) -> dict[str, Any]:
        sides = np.linalg.norm(self.source.affine[:3, :3], axis=0)
        return {
            "shape": list(self.source.shape),
            "spacing_mm": [round(float(side), 6) for side in sides],
            "affine": self.source.affine.tolist(),
            "plane": self.config.plane,
            "slices": len(self),
        }


class OpenedPicture(Opened):
    """A picture."""

    back: ToPicture
    region_columns = AREAS

    def __init__(self, item: Item, slices: Slices, image: Tensor, config: PictureConfig) -> None:
        super().__init__(item, slices, image)
        self.config = config
        self.back = ToPicture(slices.geometry)

    def whole(self, scores: Tensor) -> Array:
        """Of a picture that was cut into squares (see PictureConfig), each of which lies back where it was cut."""
        if not self.config.squares:
            return super().whole(scores)
        height, width = self.back.looked.shape
        side, length = min(height, width), max(height, width)
        total, times = np.zeros((2, height, width), np.float32)
        for number, score in enumerate(scores):
            start = min(number * side, length - side)
            along, across = slice(start, start + side), slice(0, side)
            part = (along, across) if height >= width else (across, along)
            total[part] += ToPicture({"shape": [side, side]})(score[None])
            times[part] += 1
        joined: Array = total / times
        return joined

    def encoded(self, raw: Array, calibrated: Array, segmentation: Array) -> dict[str, bytes]:
        stream = io.BytesIO()
        np.save(stream, raw)
        share = np.rint(calibrated.astype(np.float64) * FULL).astype(np.uint16)
        return {
            "map.npy": stream.getvalue(),
            "calibrated.png": _png(share),
            "segmentation.png": _png(segmentation.astype(np.uint8) * np.uint8(255)),
        }

    def mask(self, path: Path) -> tuple[Array, Array]:
        mask = read_mask(path, self.config.mask_threshold, BY_FILE)[0].numpy()
        if mask.shape != self.back.looked.shape:
            sizes = f"the mask has {mask.shape} pixels, its picture {self.back.looked.shape}"
            raise DataError(f"{path}: {sizes}; save the mask with the pixels of the picture")
        return mask, np.ones_like(mask)

    def as_planes(self, array: Array) -> Array:
        return array[None]

    def regions(self, segmentation: Array, raw: Array, calibrated: Array) -> list[dict[str, float | int]]:
        return regions_of(segmentation, raw, calibrated)

    def amount(self, segmentation: Array) -> dict[str, Any]:
        return {"anomalous": int(np.count_nonzero(segmentation)), "unit": "px"}

    def slice_scores(self, look: Look, best: int) -> dict[str, Any]:
        return {}

    def background(self) -> Array:
        picture = read_picture(self.item.first, color=True)
        return picture.permute(1, 2, 0).numpy()[None]

    @property
    def pixel_sides(self) -> None:
        return None

    def view(self, looked: Array) -> tuple[tuple[slice, slice], bool, str]:
        return (slice(None), slice(None)), False, ""

    def caption(self, index: int) -> str:
        return ""

    def geometry(self) -> dict[str, Any]:
        return {"shape": list(self.back.looked.shape)}


class Opener:
    """Reads inputs as a run reads its data, from the run's config alone.

    Of volumes every slice is taken that has as much foreground as the run asks for, whatever its slice_step; all_slices: or
    any foreground at all, though the model has never seen slices with so little.
    """

    def __init__(self, config: RunConfig, all_slices: bool = False) -> None:
        dataset = replace(config.dataset, augment={})
        self.dataset, self._run = dataset, build_module(dataset, config.cache, config.data)
        self._module = self._run
        if isinstance(dataset, NiftiConfig):
            least = ANY if all_slices else dataset.min_foreground
            self._module = build_module(replace(dataset, slice_step=1, min_foreground=least), config.cache, config.data)

    def __call__(self, item: Item) -> Opened:
        """Raises DataError naming the file for whatever cannot be used."""
        dataset = self.dataset
        slices = self._read(item)
        _check_size(item, slices, dataset)
        if isinstance(dataset, NiftiConfig):
            first = item.case.root / next(iter(item.case.images.values()))
            image = as_stored(slices, dataset.storage, self._held(item, slices, dataset))
            if slices.own is not None:
                image, slices = with_context(image, slices.number, slices.own, dataset.context), images_of(slices)
            return OpenedVolume(item, slices, image, read_source(str(first)), dataset)
        assert isinstance(dataset, PictureConfig)
        return OpenedPicture(item, slices, as_stored(slices, dataset.storage), dataset)

    def _read(self, item: Item) -> Slices:
        """Raises DataError, with remedies that are there for someone whose run is done."""
        try:
            return self._module.read_case(item.case)
        except DataError as error:
            text = str(error).replace(" or remove the subject", "").replace("choose one in its pattern", "name one")
            what, _, remedy = text.rpartition("; ")
            if remedy.startswith(("set dataset.", "lower dataset.")):
                text = f"{what}; the settings of a finished run stay: change the file, or take another run"
            raise DataError(text) from error

    def _held(self, item: Item, slices: Slices, dataset: NiftiConfig) -> list[int]:
        """Which of the slices the run's store would hold: in 8 bits, these alone decide what the levels are."""
        if dataset.storage != "uint8":
            return []
        held = set(images_of(self._run.read_case(item.case)).number.tolist())
        return [position for position, number in enumerate(slices.number.tolist()) if number in held]


def images_of(slices: Slices) -> Slices:
    """The slices without those that are neighbours alone."""
    own = slices.own
    if own is None:
        return slices
    names = ("image", "mask", "foreground", "number", "labelled")
    return replace(slices, own=None, **{name: getattr(slices, name)[own] for name in names})


def batch_of(opened: Sequence[Opened]) -> AnomalyBatch:
    """The slices of several inputs as one batch without masks; subject is the position of the input."""
    foreground = torch.cat([one.slices.foreground for one in opened])
    return AnomalyBatch(
        image=torch.cat([one.image for one in opened]),
        mask=torch.zeros_like(foreground),
        foreground=foreground,
        region_weight=torch.zeros(foreground.shape),
        subject=torch.repeat_interleave(torch.tensor([len(one) for one in opened])),
        slice=torch.cat([one.slices.number for one in opened]),
    )


def in_volumes(batch: AnomalyBatch, depth: int, step: int) -> tuple[AnomalyBatch, Tensor]:
    """The slices of inputs as volumes of slices that are `step` apart, and where each slice counts among theirs, (n,) int64."""
    subject, number = batch["subject"].numpy(), batch["slice"].numpy()
    order = np.lexsort((number, number % step, subject))
    rows, counting = windows(subject[order], number[order], depth, step, np.ones(len(order), bool))
    rows = order[rows]
    places = np.empty(len(order), np.int64)
    places[rows[counting]] = np.flatnonzero(counting)
    picked = torch.from_numpy(rows.ravel())
    slices = cast(AnomalyBatch, {key: part[picked] for key, part in cast(Mapping[str, Tensor], batch).items()})
    return as_volumes(slices, counting), torch.from_numpy(places)


def _check_size(item: Item, slices: Slices, dataset: DatasetConfig) -> None:
    box, size = slices.geometry.get("box"), dataset.size
    have = [box[2], box[2]] if box else slices.geometry["shape"]
    if isinstance(dataset, PictureConfig) and dataset.squares:
        have = [min(have)] * 2
    if any(side < LEAST * wanted for side, wanted in zip(have, size, strict=True)):
        what = "its brain's box" if box else "it"
        raise DataError(
            f"{item.first}: {what} has {have[0]}×{have[1]} pixels, the run's network sees {size[0]}×{size[1]}; expected at "
            "least half as many along each side: give it in a higher resolution"
        )


def _png(pixels: Array) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=3)
    return stream.getvalue()


def _frame(inside: Array) -> tuple[slice, slice]:
    """The box of what is true (h, w), with a margin."""
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    margin = round(MARGIN * max(len(rows), len(columns)))
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + margin + 1),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + margin + 1),
    )
