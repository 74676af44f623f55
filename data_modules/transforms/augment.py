"""`dataset.augment`: random MONAI transforms of training batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from monai.transforms import Randomizable
from torch import Tensor

from data_modules.base.batch import AnomalyBatch
from data_modules.base.errors import DataError

from .scan import plain
from .steps import Step, build_steps, check_arguments

KEY = "dataset.augment"


def build_augment(mapping: Mapping[str, Any], seed: int) -> Augment | None:
    """A function that augments batches of normal images, or None if the mapping is empty.

    The mapping is like that of dataset.preprocess, with the keys `image` (C, H, W) and `foreground` (1, H, W), of several
    slices side by side (S · C, H, W) and (S, H, W), which are changed alike, and random
    transforms alone: each image of a batch is changed in its own way, together with its foreground; outside of which
    it stays 0. Masks and region weights are handed on, as training images have none. The same seed and the same
    order of batches give the same images. Raises DataError naming the entry, for wrong ones and for those that change the
    size of images.
    """
    steps = build_steps(mapping, KEY, "image", ("foreground",))
    for step in steps:
        if not isinstance(step.transform, Randomizable):
            raise DataError(f"{step.key}: {step.use} is not random; put it in dataset.preprocess, for all splits")
    if not steps:
        return None
    for number, step in enumerate(steps):
        cast(Randomizable, step.transform).set_random_state(seed=(seed + 7919 * number) % 2**32)
    return Augment(steps)


def check_augment(mapping: Mapping[str, Any], shape: tuple[int, int, int]) -> None:
    """Try the transforms, each made to act, on a made-up image (C, H, W): what fails does so before anything is read.

    Raises DataError as build_augment does, and for what it would raise at the first batch.
    """
    check_arguments(mapping, KEY, axes=2)
    augment = build_augment(mapping, seed=0)
    if augment is None:
        return
    for step in augment.steps:
        if hasattr(step.transform, "prob"):
            step.transform.prob = 1.0
    _, height, width = shape
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    inside = torch.from_numpy(x * x + y * y < 0.8)[None]
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * inside
    result = augment.one(image, inside)[0]
    if not bool(torch.isfinite(result).all()):
        raise DataError(f"{KEY}: makes NaN or infinite pixels of an image in [0, 1]; change its arguments")


class Augment:
    """A call from a batch to the augmented one; see build_augment."""

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps

    def __call__(self, batch: AnomalyBatch) -> AnomalyBatch:
        pairs = [self.one(*pair) for pair in zip(batch["image"], batch["foreground"], strict=True)]
        images, foregrounds = (torch.stack(part) for part in zip(*pairs, strict=True))
        return AnomalyBatch(**{**batch, "image": images, "foreground": foregrounds})

    def one(self, image: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor]:
        """An image (S · C, H, W) of S slices and their foregrounds (S, H, W), changed together."""
        data: dict[str, Any] = {"image": image, "foreground": foreground.float()}
        for step in self.steps:
            data = step(data, "a training image")
            for key, before in (("image", image), ("foreground", foreground)):
                if data[key].shape != before.shape:
                    raise DataError(
                        f"{step.key}: {step.use} makes {tuple(data[key].shape)} of the {key}'s {tuple(before.shape)}; "
                        "training images must keep their size"
                    )
        inside = plain(data["foreground"]) > 0.5
        return plain(data["image"]).float() * inside.repeat_interleave(len(image) // len(inside), 0), inside
