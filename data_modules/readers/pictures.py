"""One picture file: its pixels, exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from torch import Tensor

from data_modules.base.errors import DataError

from .content import reading
from .masks import IN_PICTURES, anomalous_in

LOSSY = ("JPEG", "MPO", "WEBP", "JPEG2000", "AVIF")  # formats by content, whatever the file is called


def read_picture(path: Path, color: bool) -> Tensor:
    """A picture (C, H, W) float32 in [0, 1], C = 3 if color else 1, turned as its EXIF data says.

    8 bits are divided by 255, 16 bits of grey by 65535; a float picture is in [0, 1] already. Grey from colour is the luma
    of ITU-R 601-2 in 8 bits. What is transparent lies on black: colour times alpha. Of several frames the first is read.
    Raises DataError naming the file if it cannot be read or its values do not fit these ranges; 16 bits per colour channel
    are refused, since only 8 of them could be kept.
    """
    with reading(path, "picture"), Image.open(path) as opened:
        return torch.from_numpy(_decode(opened, path, color)).permute(2, 0, 1).contiguous()


def read_mask(path: Path, threshold: float | None, remedy: str = IN_PICTURES) -> Tensor:
    """The anomalous pixels (1, H, W) bool of a mask file, by its grey: what exceeds the threshold, else see `anomalous_in`.

    remedy: what decides where that leaves a doubt. Raises DataError as read_picture and anomalous_in do, and for a file of
    several pages.
    """
    pages, white, lossy = read_mask_pages(path)
    if len(pages) > 1:
        raise DataError(f"{path}: a mask of {len(pages)} pages, of which one would be read; save the right one alone")
    return torch.from_numpy(anomalous_in(pages, str(path), remedy, white, threshold, lossy))


def read_mask_pages(path: Path) -> tuple[NDArray[np.float32], float, bool]:
    """The grey of a mask file's pages (pages, H, W), in the file's numbers, which is white, and whether a codec changed them.

    Raises DataError as read_picture does, for pages of several sizes, and for a shape that transparency alone has.
    """
    with reading(path, "picture"), Image.open(path) as opened:
        pages, whites = [], set()
        for number in range(_pages(opened)):
            opened.seek(number)
            white = _white(opened)
            grey = _decode(opened, path, color=False)[..., 0] * np.float32(white)
            if not grey.any() and opened.has_transparency_data and np.ptp(np.asarray(opened.convert("RGBA"))[..., 3]):
                raise DataError(f"{path}: a mask that is black, and differs in transparency alone; save it in grey")
            pages.append(grey if white == 1 else np.round(grey, 2))  # to the whole numbers that they are
            whites.add(white)
        if len({page.shape for page in pages}) > 1 or len(whites) > 1:
            raise DataError(f"{path}: a mask with pages of several kinds; save the right one alone")
        return np.stack(pages), white, opened.format in LOSSY


def _white(opened: Image.Image) -> float:
    """The number of a white pixel."""
    return 1.0 if opened.mode == "F" else 65535.0 if opened.mode.startswith("I") else 255.0


def pages_of(path: Path) -> int:
    """How many pages or frames a picture file has. Raises DataError if it is none."""
    with reading(path, "picture"), Image.open(path) as opened:
        return _pages(opened)


def is_deep(path: Path) -> bool:
    """Whether a picture file has 16 bits of grey. Raises DataError if it is none."""
    with reading(path, "picture"), Image.open(path) as opened:
        return opened.mode.startswith("I")


def _pages(opened: Image.Image) -> int:
    return 1 if opened.format == "MPO" else int(getattr(opened, "n_frames", 1))  # MPO: previews of one photograph


def _decode(opened: ImageFile, path: Path, color: bool) -> NDArray[np.float32]:
    """(H, W, C) float32 in [0, 1]."""
    if opened.mode not in ("I", "F", "1") and not opened.mode.startswith("I;") and ";16" in str(opened.tile):
        raise DataError(
            f"{path}: has 16 bits per colour channel, of which only 8 would be read; "
            "save it with 8 bits, or in grey with 16"
        )
    ImageOps.exif_transpose(opened, in_place=True)
    if opened.mode.startswith(("I", "F")):
        grey = _deep_grey(opened, path)
        return np.repeat(grey[..., None], 3 if color else 1, axis=2)
    if not opened.has_transparency_data:
        return _eight_bits(opened, color)
    opaque = opened.convert("RGBA")
    alpha = np.asarray(opaque.getchannel("A"), dtype=np.float32) / 255.0
    array: NDArray[np.float32] = _eight_bits(opaque, color) * alpha[..., None]
    return array


def _eight_bits(picture: Image.Image, color: bool) -> NDArray[np.float32]:
    array: NDArray[np.float32] = np.asarray(picture.convert("RGB" if color else "L"), dtype=np.float32) / 255.0
    return np.atleast_3d(array)


def _deep_grey(picture: Image.Image, path: Path) -> NDArray[np.float32]:
    """(H, W) in [0, 1] of grey with 16 bits, or 32 of integers or floats."""
    values = np.asarray(picture)
    top = _white(picture)
    if not np.isfinite(values).all():
        raise DataError(f"{path}: holds NaN or infinite pixels; repair the picture or remove it")
    if values.min() < 0 or values.max() > top:
        raise DataError(
            f"{path}: its pixels go from {values.min()} to {values.max()}; expected 0 to {top:g}: rescale them"
        )
    array: NDArray[np.float32] = values.astype(np.float32) / np.float32(top)
    return array
