"""Images that are slices of a volume, with their neighbours as more channels."""

from torch import Tensor


def middle_of(image: Tensor, channels: int) -> Tensor:
    """The channels in the middle of images (…, C', H, W), (…, channels, H, W): the slice whose neighbours lie around it."""
    return image.narrow(-3, (image.shape[-3] - channels) // 2, channels)


def in_place(middle: Tensor, image: Tensor) -> Tensor:
    """Images with neighbours, (B, (2k + 1) · C, H, W), that have these (B, C, H, W) in their middle."""
    if middle.shape == image.shape:
        return middle
    placed = image.clone()
    middle_of(placed, middle.shape[1]).copy_(middle)
    return placed
