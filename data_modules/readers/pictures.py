"""One picture file: its pixels, exactly."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from data_modules.base.errors import DataError

DAMAGE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def read_picture(path: Path, color: bool) -> Tensor:
    """A picture (C, H, W) float32 in [0, 1], C = 3 if color else 1, turned as its EXIF data says.

    8 bits are divided by 255, 16 bits of grey by 65535; a float picture is in [0, 1] already. Grey from colour is the luma
    of ITU-R 601-2 in 8 bits. What is transparent lies on black: colour times alpha. Of several frames the first is read.
    Raises DataError naming the file if it cannot be read or its values do not fit these ranges; 16 bits per colour channel
    are refused, since only 8 of them could be kept.
    """
    try:
        array = _decode(path, color)
    except DataError:
        raise
    except DAMAGE as error:
        raise DataError(
            f"{path}: cannot be read as a picture ({error}); it is damaged or no picture: copy it again"
        ) from error
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()


def read_mask(path: Path, threshold: float) -> Tensor:
    """The anomalous pixels (1, H, W) bool of a mask file: those whose grey, from 0 to 1, exceeds the threshold.

    Raises DataError as read_picture does.
    """
    return read_picture(path, color=False) > threshold


def _decode(path: Path, color: bool) -> NDArray[np.float32]:
    """(H, W, C) float32 in [0, 1]."""
    with Image.open(path) as opened:
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
    top = 1.0 if picture.mode == "F" else 65535.0
    if not np.isfinite(values).all():
        raise DataError(f"{path}: holds NaN or infinite pixels; repair the picture or remove it")
    if values.min() < 0 or values.max() > top:
        raise DataError(
            f"{path}: its pixels go from {values.min()} to {values.max()}; expected 0 to {top:g}: rescale them"
        )
    array: NDArray[np.float32] = values.astype(np.float32) / np.float32(top)
    return array
