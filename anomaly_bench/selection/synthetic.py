"""Synthetic anomalies pasted into normal images, to choose by where no real one is labelled."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, zoom
from torch import Tensor

from anomaly_bench.metrics import region_weight
from anomaly_bench.models.slices import like, slices_of
from data_modules.base.batch import AnomalyBatch

Array = NDArray[np.float32]
Bools = NDArray[np.bool_]
SHARES = (0.004, 0.08)  # of the image, areas of anomalies: log-uniform between
CHANGED = 0.1  # of the pixels' sd: what is altered by less is no anomaly
LEAST = 4  # altered pixels, else another anomaly is drawn
DRAWS = 10


class Canvas(NamedTuple):
    """An image to paste into.

    image: (C, H, W); foreground: (H, W); other: (C, H, W), an image of another subject where there is one; sd: (C, 1, 1) over
    the foreground of all images. signs: of a blob, brighter (1) or darker (-1). channels: of each slice, of which an image with
    its neighbours has several.
    """

    image: Array
    foreground: Bools
    other: Array
    sd: Array
    signs: tuple[int, ...]
    channels: int


def spread(batches: Iterable[AnomalyBatch], count: int) -> AnomalyBatch | None:
    """At most so many images, spread evenly over all that come, on the CPU; None if none come.

    Holds no more than twice as many at a time.
    """
    kept: list[AnomalyBatch] = []
    every, number = 1, 0
    for batch in batches:
        for index in range(len(batch["image"])):
            if number % every == 0:
                one = {key: value[index : index + 1].cpu() for key, value in parts_of(batch)}
                kept.append(cast(AnomalyBatch, one))
            number += 1
            if len(kept) >= 2 * count:
                kept, every = kept[::2], 2 * every
    if not kept:
        return None
    picked = [kept[place] for place in np.linspace(0, len(kept) - 1, min(count, len(kept))).round().astype(int)]
    return cast(AnomalyBatch, {key: torch.cat([dict(parts_of(one))[key] for one in picked]) for key in picked[0]})


def parts_of(batch: AnomalyBatch) -> Iterable[tuple[str, Tensor]]:
    """The tensors of a batch by name."""
    return cast(Iterable[tuple[str, Tensor]], batch.items())


def with_anomalies(
    normal: AnomalyBatch, seed: int = 0, polarity: str | None = None, channels: int | None = None
) -> tuple[AnomalyBatch, list[str]]:
    """Normal images with an anomaly each, and of which of FAMILIES it is; they take turns.

    `mask`: the foreground pixels that it has altered visibly. An image that nothing can be pasted into, as it is of one value,
    is left out. What is pasted depends on the images, on seed and on an image's place alone. polarity: see DatasetConfig;
    nothing is altered the other way. channels: of a slice, where images have neighbours: an anomaly goes through all of them,
    and what it has altered in the middle counts. It goes through all slices of a volume as well, and counts in all of them.
    """
    signs = {"bright": (1,), "dark": (-1,)}.get(polarity or "", (-1, 1))
    slices, inside = slices_of(normal["image"]).numpy(), slices_of(normal["foreground"]).numpy()
    depth, size = len(slices) // len(normal["image"]), slices.shape[2:]
    pixels = np.moveaxis(slices, 1, -1)[inside[:, 0]]
    sd = pixels.std(axis=0)[:, None, None] if len(pixels) else np.ones((slices.shape[1], 1, 1), np.float32)
    sd = np.tile(sd, (depth, 1, 1))
    low, high = (pixels.min(), pixels.max()) if len(pixels) else (0, 0)
    image, foreground = (part.reshape(-1, depth * part.shape[1], *size) for part in (slices, inside))
    channels = slices.shape[1] if channels is None else channels
    first = (image.shape[1] - channels * depth) // 2
    counted = slice(first, first + channels * depth)  # of the slice in the middle, or of all
    subjects, names = normal["subject"].numpy(), list(FAMILIES)
    images, masks, places, families = [], [], [], []
    for place in range(len(image)):
        random = np.random.default_rng([seed, place])
        strangers = np.flatnonzero(subjects != subjects[place])
        name = names[place % len(names)]
        for _ in range(DRAWS):
            donor = random.choice(strangers) if len(strangers) else random.integers(len(image))
            canvas = Canvas(image[place], foreground[place].any(0), image[donor], sd, signs, channels)
            soft = region(canvas, random)
            pasted = np.clip(FAMILIES[name](canvas, soft, random), low, high)
            if len(signs) == 1:
                pasted = (np.maximum if signs[0] > 0 else np.minimum)(pasted, image[place])
            changed = (np.abs(pasted - image[place]) > CHANGED * sd)[counted].reshape(depth, channels, *size).any(1)
            mask = (soft > 0) & foreground[place] & changed
            if mask.sum() >= LEAST:
                images.append(np.where(foreground[place].repeat(len(pasted) // depth, 0), pasted, image[place]))
                masks.append(mask)
                places.append(place)
                families.append(name)
                break
    taken = torch.tensor(places, dtype=torch.long)
    kept = cast(AnomalyBatch, {key: value[taken] for key, value in parts_of(normal)})
    if places:
        parts = (np.stack(part).reshape(-1, len(part[0]) // depth, *size) for part in (images, masks))
        changed_images, mask = (like(torch.from_numpy(part), kept["image"]) for part in parts)
        kept["image"], kept["mask"], kept["region_weight"] = changed_images.float(), mask, region_weight(mask)
    return kept, families


def region(canvas: Canvas, random: np.random.Generator) -> Array:
    """Where an anomaly is, (H, W) in [0, 1]: an uneven ellipse around a foreground pixel, with an edge of a pixel or two."""
    height, width = canvas.foreground.shape
    inside = np.argwhere(canvas.foreground)
    centre = inside[random.integers(len(inside))] if len(inside) else np.array([height // 2, width // 2])
    share = np.exp(random.uniform(*np.log(SHARES)))
    radius, long, turn = np.sqrt(share * height * width / np.pi), random.uniform(1, 2), random.uniform(0, np.pi)
    y, x = np.mgrid[:height, :width] - centre[:, None, None]
    across, along = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    distance = np.hypot(across / np.sqrt(long), along * np.sqrt(long)) / radius
    uneven = 0.6 * smooth_noise((height, width), max(radius, 2), random)
    return gaussian_filter((distance + uneven < 1).astype(np.float32), 0.5)


def smooth_noise(size: tuple[int, int], scale: float, random: np.random.Generator) -> Array:
    """Noise (H, W) in [-1, 1] whose features are about `scale` pixels wide."""
    grid = random.uniform(-1, 1, [max(2, round(length / scale) + 2) for length in size])
    fine = zoom(grid, [length / (cells - 1) + 1e-6 for length, cells in zip(size, grid.shape, strict=True)], order=1)
    return fine[: size[0], : size[1]].astype(np.float32)


def patch(canvas: Canvas, soft: Array, random: np.random.Generator) -> Array:
    """The same place of another subject, blended in (Tan et al. 2021, foreign patch interpolation, arXiv 2011.04197)."""
    share = random.uniform(0.3, 1) * soft
    return (1 - share) * canvas.image + share * canvas.other


def blob(canvas: Canvas, soft: Array, random: np.random.Generator) -> Array:
    """Brighter or darker by 0.75 to 3 sd, the same way in all channels, by another amount in each."""
    amounts = random.choice(canvas.signs) * random.uniform(0.75, 3, (canvas.channels, 1, 1))
    amounts = np.tile(amounts, (len(canvas.image) // canvas.channels, 1, 1))
    return canvas.image + amounts.astype(np.float32) * canvas.sd * soft


def warp(canvas: Canvas, soft: Array, random: np.random.Generator) -> Array:
    """The image pulled to the side and swollen or shrunk within the region, as mass effect does."""
    size = max(2.0, np.sqrt((soft > 0).sum() / np.pi))
    strength = gaussian_filter(soft, size / 3)
    strength = strength / max(strength.max(), 1e-6)
    y, x = np.mgrid[: soft.shape[0], : soft.shape[1]].astype(np.float32)
    total = max(soft.sum(), 1e-6)
    centre = (y * soft).sum() / total, (x * soft).sum() / total
    swell, turn = random.choice([-0.6, 0.6]), random.uniform(0, 2 * np.pi)
    pull = 0.5 * size * np.array([np.sin(turn), np.cos(turn)])
    moved = [
        place + strength * (swell * (place - middle) + shift)
        for place, middle, shift in zip((y, x), centre, pull, strict=True)
    ]
    warped = np.stack([map_coordinates(channel, moved, order=1, mode="nearest") for channel in canvas.image])
    return np.where(soft > 0, warped, canvas.image)


def texture(canvas: Canvas, soft: Array, random: np.random.Generator) -> Array:
    """Another place of another image, mirrored, under smooth noise (as Zavrtanik et al. 2021, DRAEM, arXiv 2108.07610)."""
    height, width = soft.shape
    moved = np.roll(canvas.other, (random.integers(height), random.integers(width)), axis=(1, 2))
    moved = np.flip(moved, axis=tuple(axis for axis in (1, 2) if random.random() < 0.5))
    holes = smooth_noise((height, width), max(2.0, np.sqrt(soft.sum()) / 3), random) > -0.3
    share = random.uniform(0.4, 1) * soft * holes
    return (1 - share) * canvas.image + share * moved


FAMILIES: dict[str, Callable[[Canvas, Array, np.random.Generator], Array]] = {
    "patch": patch,
    "blob": blob,
    "warp": warp,
    "texture": texture,
}
