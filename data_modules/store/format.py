"""What a slice store looks like on disk: the arrays of a case as bytes, and the journal that vouches for them.

A store is a folder of flat binary files, one case after the other, and a journal of checksummed lines: a header, one entry
per case with how many bytes it takes and their checksums, and a last line that says how many cases there are.

image.bin       (n, C, H, W) float16 or uint8
foreground.bin  one packed bit per pixel, only for slices that are not all foreground
mask.bin        one packed bit per pixel, only for anomalous slices
region.bin      float32, the region weight of each anomalous pixel, in the order of slices and pixels
index.bin       (n, 5) int64: slice number, labelled, anomalous pixels, all foreground, whether it is an image of its own
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.base.batch import Slices
from data_modules.base.checksummed_lines import crc32
from data_modules.base.digests import hash_of_bytes, usable_cpus
from data_modules.base.errors import DataError
from data_modules.transforms.geometry import region_weights

from .batches import Scale
from .journal import Entry, offsets

STORAGES: dict[str, type[np.generic]] = {"float16": np.float16, "uint8": np.uint8}
BITS = 255  # the levels of an 8-bit picture
LARGEST = {"float16": 65504.0, "uint8": 3e38}
RESOLUTION = 2**-10  # of float16, relative to the value


class Block(NamedTuple):
    """A case as bytes, one array per file, and its entry."""

    arrays: Sequence[NDArray[np.uint8]]
    entry: Entry


def encode(case: Slices, storage: str, content: str = "") -> Block:
    """The bytes of a case, whose files have this content (see Entry).

    Raises DataError if its intensities are not finite or beyond the range of float16.
    """
    _check_range(case, storage)
    weights = region_weights(case.mask.numpy())
    counts = np.count_nonzero(weights, axis=(1, 2, 3))
    full = case.foreground.flatten(1).all(1).numpy()
    own = np.ones(len(counts), np.bool_) if case.own is None else case.own.numpy()
    zero, levels = _levels(case.image[own]) if storage == "uint8" else ((), ())
    image = _quantized(case.image, zero, levels) if levels else case.image.half().numpy()
    arrays = [
        _bytes(array)
        for array in (
            image,
            _packed(case.foreground.numpy()[~full]),
            _packed(case.mask.numpy()[counts > 0]),
            weights[weights > 0],
            np.stack([case.number.numpy(), case.labelled.numpy(), counts, full, own], axis=1).astype(np.int64),
        )
    ]
    entry = Entry(
        subject=case.subject,
        shape=tuple(case.image.shape),
        sizes=[array.nbytes for array in arrays],
        checksums=[crc32(array) for array in arrays],
        kept=case.kept,
        dropped=case.dropped,
        geometry=case.geometry,
        zero=zero,
        levels=levels,
        pixels=_pixels(case.image, image, zero, levels),
        content=content,
    )
    return Block(arrays, entry)


def as_stored(case: Slices, storage: str, held: Sequence[int] | slice = slice(None)) -> Tensor:
    """The image (n, C, H, W) float32 of a case as a store gives it back that holds these of its slices, by position.

    Raises DataError as `encode`.
    """
    _check_range(case, storage)
    if storage != "uint8":
        return case.image.half().float()
    zero, levels = _levels(case.image[held])
    stored = torch.from_numpy(_quantized(case.image, zero, levels))
    scale = Scale(*(torch.tensor([values], dtype=torch.float32)[..., None, None] for values in (zero, levels)))
    return scale(stored, torch.zeros(len(stored), dtype=torch.int64))


def packed_bytes(pixels: int) -> int:
    """The bytes that a slice takes at one bit per pixel."""
    return -(-pixels // 8)


def intact(files: Sequence[NDArray[np.uint8]], entries: Sequence[Entry]) -> list[bool]:
    """Whether the bytes of each case are what they were when they were written; computed in parallel."""
    bounds = offsets(entries)

    def check(position: int) -> bool:
        spans = zip(files, bounds[position], bounds[position + 1], entries[position].checksums, strict=True)
        return all(len(file) >= end and crc32(file[start:end]) == checksum for file, start, end, checksum in spans)

    with ThreadPoolExecutor(usable_cpus()) as pool:
        return list(pool.map(check, range(len(entries)), chunksize=64))


def map_bytes(path: Path) -> NDArray[np.uint8]:
    """The bytes of a file, mapped to memory; what is written to them stays in memory."""
    size = path.stat().st_size
    return np.asarray(np.memmap(path, dtype=np.uint8, mode="c")) if size else np.zeros(0, np.uint8)


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _packed(masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.packbits(masks.reshape(len(masks), -1), axis=1) if len(masks) else np.zeros((0, 0), np.uint8)


def _pixels(image: Tensor, stored: NDArray[Any], zero: Sequence[int], levels: Sequence[float]) -> list[str]:
    """Per channel the digest of what is stored of it; empty if 16 bits would hardly tell its values from one another."""
    low, high = image.amin(dim=(0, 2, 3)), image.amax(dim=(0, 2, 3))
    blank = (high - low) <= torch.maximum(high.abs(), low.abs()) * RESOLUTION
    digests = []
    for channel in range(image.shape[1]):
        plane = np.ascontiguousarray(stored[:, channel])
        scale = json.dumps([plane.shape, zero[channel : channel + 1], levels[channel : channel + 1]])
        digests.append("" if blank[channel] else hash_of_bytes(scale.encode(), plane.data))
    return digests


def _check_range(case: Slices, storage: str) -> None:
    low, high = (float(value) for value in case.image.aminmax())
    if not (low >= -LARGEST[storage] and high <= LARGEST[storage]):
        raise DataError(
            f"{case.subject}: its intensities reach from {low:g} to {high:g}, which {storage} cannot hold; scale them to "
            "a few units (dataset.preprocess)"
        )


def _levels(image: Tensor) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Per channel the range from its lowest to its highest value and 0, in 255 steps, one of them at 0: zero and levels.

    What is k/255 already (a picture of 8 bits) is kept exactly.
    """
    scaled = image * BITS
    if bool(((scaled >= 0) & (scaled <= BITS)).all()) and torch.equal(scaled.round() / BITS, image):
        channels = image.shape[1]
        return (0,) * channels, (float(BITS),) * channels
    low, high = image.amin(dim=(0, 2, 3)).clamp(max=0).double(), image.amax(dim=(0, 2, 3)).clamp(min=0).double()
    place = (-low / torch.where(high > low, high - low, 1.0) * BITS).floor()
    places = torch.stack([place, (place + 1).clamp(max=BITS)])
    # both sides of 0 have to fit into the steps on their side; of 0/0 and x/0 only the latter is a step too wide
    steps = torch.maximum(
        (high / (BITS - places)).nan_to_num(0.0, torch.inf), (-low / places).nan_to_num(0.0, torch.inf)
    )
    step, best = steps.min(dim=0)
    zero = places.gather(0, best[None])[0]
    levels = torch.where(step > 0, 1 / step, float(BITS)).float()
    return tuple(int(value) for value in zero), tuple(float(value) for value in levels)


def _quantized(image: Tensor, zero: Sequence[int], levels: Sequence[float]) -> NDArray[np.uint8]:
    """The image (n, C, H, W) in 8 bits; values beyond the range become its ends."""
    shift, scale = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (zero, levels))
    quantized: NDArray[np.uint8] = ((image * scale).round() + shift).clamp(0, BITS).byte().numpy()
    return quantized
