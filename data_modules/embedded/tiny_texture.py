"""``tiny_texture``: synthetic photographs of two materials with annotated defects, in the layout of MVTec AD."""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .fields import BoolArray, FloatArray, spline_field
from .texture_defects import DEFECTS
from .texture_materials import MATERIALS, SIDE

GOOD = "good"
NOISE = 0.02  # standard deviation of the camera's noise, in units of the full range


@dataclass(frozen=True)
class Photo:
    """An RGB image ``(64, 64, 3)`` and its defective pixels ``(64, 64)``."""

    image: NDArray[np.uint8]
    mask: BoolArray


def write_tiny_texture(
    root: Path, *, train: int = 240, test: int = 120, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> None:
    """Writes 64 x 64 RGB pictures of ``weave`` and ``wood``, ``train`` and ``test`` of them for each texture.

    Layout: ``root/<texture>/train/good/000.png``, ``test/<good or defect>/000.png`` and
    ``ground_truth/<defect>/000_mask.png`` (255 = defect). A third of the test pictures are good, the others take the
    defects in turn. The same arguments give the same bytes, and a picture depends on ``seed`` and its own place only.
    ``progress`` is called with (pictures done, pictures). OSErrors propagate.
    """
    total, done = len(MATERIALS) * (train + test), 0
    for texture in MATERIALS:
        for split, kind, index in _places(train, test):
            photo = render_photo(seed, texture, split, kind, index)
            _save(photo.image, root / texture / split / kind / f"{index:03d}.png")
            if kind != GOOD:
                mask = np.where(photo.mask, 255, 0).astype(np.uint8)
                _save(mask, root / texture / "ground_truth" / kind / f"{index:03d}_mask.png")
            done += 1
            if progress is not None:
                progress(done, total)


def _places(train: int, test: int) -> Iterator[tuple[str, str, int]]:
    """(split, kind, number in its folder) of each picture of a texture."""
    good = round(test / 3)
    yield from (("train", GOOD, index) for index in range(train))
    yield from (("test", GOOD, index) for index in range(good))
    kinds = list(DEFECTS)
    yield from (("test", kinds[place % len(kinds)], place // len(kinds)) for place in range(test - good))


def render_photo(seed: int, texture: str, split: str, kind: str, index: int, *, with_defect: bool = True) -> Photo:
    """The picture at one place of the dataset ``seed``; ``with_defect=False`` gives it as it was before the defect."""
    place = zlib.crc32(f"{texture}/{split}/{kind}".encode())
    material_rng, defect_rng, camera_rng = (np.random.default_rng([seed, place, index, n]) for n in range(3))
    image = MATERIALS[texture](material_rng)
    mask = np.zeros(image.shape[:2], bool)
    if kind != GOOD and with_defect:
        image, mask = DEFECTS[kind](defect_rng, image)
    return Photo(_photograph(camera_rng, image), mask)


def _photograph(rng: np.random.Generator, image: FloatArray) -> NDArray[np.uint8]:
    """Uneven light, exposure and noise, then 8 bits."""
    rows, columns = np.indices((SIDE, SIDE)) / (SIDE - 1) - 0.5
    slope = rng.uniform(-0.08, 0.08, 2)
    light = rng.normal(1.0, 0.03) + slope[0] * rows + slope[1] * columns + 0.02 * spline_field(rng, (SIDE, SIDE), 32)
    noisy = image * light[..., None] + NOISE * rng.standard_normal(image.shape)
    return np.rint(255 * np.clip(noisy, 0, 1)).astype(np.uint8)


def _save(pixels: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)
