"""Images that are slices of a volume: with their neighbours as more channels, or several of them as a volume."""

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


def slices_of(volumes: Tensor) -> Tensor:
    """The slices of volumes (B, C, D, H, W), one after the other, (B · D, C, H, W); images (B, C, H, W) as they are."""
    return volumes if volumes.ndim == 4 else volumes.transpose(1, 2).flatten(0, 1)


def like(slices: Tensor, images: Tensor) -> Tensor:
    """The inverse of `slices_of`: maps (B · D, 1, H, W) as volumes where the images that they are of are such."""
    return slices if images.ndim == 4 else slices.unflatten(0, (images.shape[0], -1)).transpose(1, 2)
