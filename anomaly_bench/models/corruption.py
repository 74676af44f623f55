"""Corrupted copies of training images: what a denoising or context-encoding model is shown in their place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from anomaly_bench.base.errors import ConfigError


@dataclass(frozen=True)
class Corruption:
    """Takes images (B, C, H, W) to copies with squares erased and Gaussian noise added; to themselves if there is none of both.

    noise: standard deviation in units of the intensity. masks: each image loses 0 to this many squares (Zimmerer et al.
    2018, arXiv 1812.05941), their sides from 1 pixel to the share `mask_size` of the longer side, cut off at the border;
    each is filled with one value between the batch's lowest and highest, as in the authors' public code.
    Raises ConfigError for values that are none of this.
    """

    noise: float
    masks: int
    mask_size: float

    def __post_init__(self) -> None:
        if self.noise < 0 or self.masks < 0 or not 0 < self.mask_size <= 1:
            raise ConfigError(
                f"model.noise={self.noise}, model.masks={self.masks}, model.mask_size={self.mask_size}: expected noise and "
                "masks of 0 or more, and mask_size as a share of the image's side, above 0 and up to 1"
            )

    def __call__(self, image: Tensor) -> Tensor:
        if self.masks:
            image = erase_squares(image, self.masks, self.mask_size)
        return image + self.noise * torch.randn_like(image) if self.noise else image


def erase_squares(image: Tensor, masks: int, mask_size: float) -> Tensor:
    """The masking part of a Corruption: (B, C, H, W) to the same, and volumes, through whose slices a square goes."""
    if image.ndim == 5:
        return erase_squares(image.flatten(1, 2), masks, mask_size).view(image.shape)
    count, _, height, width = image.shape

    def draw() -> Tensor:
        return torch.rand(count, masks, 1, 1, 1, device=image.device, dtype=image.dtype)

    number = torch.randint(0, masks + 1, (count, 1, 1, 1, 1), device=image.device)
    used = torch.arange(masks, device=image.device).view(1, masks, 1, 1, 1) < number
    side = 1 + draw() * (max(1.0, mask_size * max(height, width)) - 1)
    top, left = draw() * height - side / 2, draw() * width - side / 2
    rows = torch.arange(height, device=image.device).view(height, 1)
    columns = torch.arange(width, device=image.device).view(1, width)
    inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side) & used
    value = image.amin() + draw() * (image.amax() - image.amin())
    for square in range(masks):
        image = torch.where(inside[:, square], value[:, square], image)
    return image
