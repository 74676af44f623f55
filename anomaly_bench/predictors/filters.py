"""Pure functions on maps and images (B, C, H, W): smoothing, local statistics, SSIM, equalisation, erosion."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from anomaly_bench.models.slices import like, slices_of

CACHED = 2**19  # values of an image that are worked on at once
BLOCK = 32  # pixels of a line that one product gives
WIDE = 9  # values of a kernel from which on products are quicker than shifted copies


def gaussian_kernel(sigma: float, radius: int, dtype: torch.dtype = torch.float32) -> list[float]:
    """A Gaussian of 2·radius + 1 values that sum to 1."""
    offsets = torch.arange(-radius, radius + 1, dtype=dtype)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    values: list[float] = (weights / weights.sum()).tolist()
    return values


def each(values: Tensor, images: Tensor) -> Tensor:
    """A value of each image (B,) in as many dimensions as the images or volumes (B, …) have."""
    return values.view(-1, *[1] * (images.ndim - 1))


def slice_by_slice(function: Callable[..., Tensor], *images: Tensor) -> Tensor:
    """function(*images), of images (B, C, H, W), on volumes (B, C, D, H, W) too, whose slices are images to it."""
    return like(function(*map(slices_of, images)), images[0])


def gaussian_smooth(image: Tensor, sigma: float, radius: int | None = None) -> Tensor:
    """Every channel smoothed with a Gaussian of `sigma` pixels, cut off at 3 sigma (or `radius`), edges repeated."""
    if sigma == 0:
        return image
    radius = max(1, round(3 * sigma)) if radius is None else radius
    kernel = gaussian_kernel(sigma, radius, image.dtype)
    return in_cache(lambda part: smoothed(part, kernel), image)


def smoothed(image: Tensor, kernel: list[float]) -> Tensor:
    """`weighted_window` to rounding; on a CPU wide kernels by matrix products, which take down to a third of its time.

    Products add zeros of pixels that a window does not reach, where what is not finite would spread, and have no gradient: such
    images go the other way.
    """
    narrow = len(kernel) < WIDE or image.device.type != "cpu"
    if narrow or image.requires_grad or not bool(image.sum().isfinite()):
        return weighted_window(image, kernel)
    height, width = image.shape[2:]
    lines = image.reshape(-1, width)
    across = torch.empty_like(lines)
    for reach, part, weights in banded(width, tuple(kernel), image.dtype):
        torch.mm(lines[:, reach], weights, out=across[:, part])
    planes = across.view(-1, height, width)
    blocks = banded(height, tuple(kernel), image.dtype)
    down = [torch.bmm(weights.T.expand(len(planes), -1, -1), planes[:, reach]) for reach, _, weights in blocks]
    return torch.cat(down, dim=1).view_as(image)


@lru_cache(maxsize=64)
def banded(length: int, kernel: tuple[float, ...], dtype: torch.dtype) -> list[tuple[slice, slice, Tensor]]:
    """A correlation along a line of so many pixels, edges repeated, in blocks of what it gives.

    Of each the pixels that it needs, those that it gives, and the weights (needed, given) to multiply the former by.
    """
    radius = len(kernel) // 2
    with torch.inference_mode(False), torch.no_grad():
        lines = F.pad(torch.eye(length, dtype=torch.float64)[None], [radius, radius], mode="replicate")[0]
        shifted = [lines[:, shift : shift + length] * weight for shift, weight in enumerate(kernel)]
        matrix = torch.stack(shifted).sum(dim=0).to(dtype)
        blocks = []
        for start in range(0, length, BLOCK):
            part = slice(start, min(start + BLOCK, length))
            reach = slice(max(start - radius, 0), min(part.stop + radius, length))
            blocks.append((reach, part, matrix[reach, part].contiguous()))
    return blocks


def in_cache(function: Callable[..., Tensor], *images: Tensor, held: int = 1) -> Tensor:
    """function(*images), which treats each image by itself; on a CPU few at a time, whose values stay in its cache.

    held: how many times the size of an image the function works on at once.
    """
    count = len(images[0])
    size = max(1, CACHED // (held * max(images[0][:1].numel(), 1)))
    if images[0].is_cuda or size >= count:
        return function(*images)
    return torch.cat([function(*parts) for parts in zip(*(image.split(size) for image in images), strict=True)])


def weighted_window(image: Tensor, kernel: list[float]) -> Tensor:
    """The correlation of every channel with the kernel along rows and columns, edges repeated.

    A sum of shifted copies: the same numbers as a convolution gives, which on CPUs takes several times as long for so few
    channels, and on GPUs may round to 10 bits.
    """
    padded = F.pad(image, [len(kernel) // 2] * 4, mode="replicate")
    return weighted_shifts(weighted_shifts(padded, kernel, 3), kernel, 2)


def weighted_shifts(values: Tensor, kernel: list[float], dim: int) -> Tensor:
    """The correlation of values with the kernel along a dimension, which gets shorter by len(kernel) − 1."""
    length = values.shape[dim] - len(kernel) + 1
    total = values.narrow(dim, 0, length) * kernel[0]
    for shift, weight in enumerate(kernel[1:], start=1):
        total.add_(values.narrow(dim, shift, length), alpha=weight)
    return total


def median_filter(image: Tensor, size: int) -> Tensor:
    """Every pixel the median of the `size` × `size` pixels around it, edges repeated; size is odd."""
    rows = F.pad(image, [size // 2] * 4, mode="replicate").unfold(2, size, 1).unfold(3, size, 1)
    windows = rows.flatten(-2)
    if image.device.type == "cpu":
        return windows.median(dim=-1).values
    return windows.sort(dim=-1).values[
        ..., windows.shape[-1] // 2
    ]  # a median of CUDA is none of its deterministic operations


def min_pool(image: Tensor, size: int) -> Tensor:
    """Every pixel the least of the `size` × `size` pixels around it, as many as the image has; size is odd."""
    return -F.max_pool2d(-image, size, stride=1, padding=size // 2)


def eroded(foreground: Tensor, radius: int) -> Tensor:
    """The foreground (B, 1, H, W) without what is within `radius` rows and columns of the background.

    The edge of the image is no background, so that a foreground of the whole image stays whole.
    """
    background = F.max_pool2d((~foreground).float(), 2 * radius + 1, stride=1, padding=radius)
    return background == 0


def lowered_outside(score: Tensor, inside: Tensor, foreground: Tensor) -> Tensor:
    """The map (B, 1, H, W) with all pixels but `inside` set to the least score in the image's own foreground.

    Thus they rank last in their image and remain ordinary scores, which metrics count like any other. An image without
    foreground keeps its least score everywhere.
    """
    candidates = score.masked_fill(~foreground, torch.inf).flatten(1).amin(dim=1)
    least = torch.where(candidates.isinf(), score.flatten(1).amin(dim=1), candidates)
    return torch.where(inside, score, least.view(-1, 1, 1, 1))


def ssim_map(a: Tensor, b: Tensor, data_range: float = 1.0, window: int = 11, sigma: float = 1.5) -> Tensor:
    """Local structural similarity of images (B, C, H, W), in [-1, 1], same shape.

    Gaussian window of 11×11 pixels, sigma 1.5, K1 = 0.01, K2 = 0.03 (Wang et al. 2004; Bergmann et al. 2018, arXiv 1807.02011).
    window: its side, odd. data_range: how far the values of images reach, max − min.
    """
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    kernel = gaussian_kernel(sigma, window // 2, a.dtype)

    def similarity(a: Tensor, b: Tensor) -> Tensor:
        mean_a, mean_b = smoothed(a, kernel), smoothed(b, kernel)
        spread, covariance = smoothed(a.square().addcmul_(b, b), kernel), smoothed(a * b, kernel)
        product, squares = mean_a * mean_b, mean_a.square().addcmul_(mean_b, mean_b)
        spread.sub_(squares).add_(c2)  # in place: memory is what takes the time
        structure = covariance.sub_(product).mul_(2).add_(c2)
        luminance = product.mul_(2).add_(c1).div_(squares.add_(c1))
        return luminance.mul_(structure).div_(spread)

    return in_cache(similarity, a, b, held=2)


def local_contrast(image: Tensor, foreground: Tensor, sigma: float, window: int) -> Tensor:
    """|x − m| / max(s, c) of images (B, C, H, W), same shape, 0 outside the foreground (B, 1, H, W).

    m and s are mean and standard deviation of the foreground pixels around, under a Gaussian window; c is the mean of s
    over the image's foreground (Jarrett et al. 2009, who sum over channels where this keeps them apart).
    """
    inside = foreground.to(image)

    def local_mean(values: Tensor) -> Tensor:
        return gaussian_smooth(values * inside, sigma, window // 2) / weight

    weight = gaussian_smooth(inside, sigma, window // 2).clamp(min=torch.finfo(image.dtype).tiny)
    centred = (image - local_mean(image)) * inside
    spread = local_mean(centred.square()).sqrt() * inside
    count = inside.flatten(2).sum(dim=2).clamp(min=1)
    floor = (spread.flatten(2).sum(dim=2) / count)[..., None, None]
    return centred.abs() / spread.maximum(floor).clamp(min=torch.finfo(image.dtype).eps)


def equalise(image: Tensor, foreground: Tensor) -> Tensor:
    """Per image, the share of foreground pixels that are no brighter, in [0, 1]: (B, 1, H, W) to (B, 1, H, W).

    The histogram equalisation of each image, or of each volume, by itself; 0 outside the foreground.
    """
    equalised = torch.zeros_like(image)
    for plane, inside, out in zip(image, foreground, equalised, strict=True):
        values = plane[inside]
        ranks = torch.searchsorted(values.sort().values, values, right=True) / max(len(values), 1)
        out[inside] = ranks.to(image).masked_fill(values.isnan(), torch.nan)
    return equalised


def total_variation(image: Tensor, soft: float) -> Tensor:
    """Sum of sqrt(d² + soft²) − soft over differences d of neighbours in rows and columns: (B, C, H, W) to (B,).

    Of volumes the sum over their slices.
    """
    rows, columns = ((d.square() + soft**2).sqrt() - soft for d in (image.diff(dim=-2), image.diff(dim=-1)))
    return rows.flatten(1).sum(dim=1) + columns.flatten(1).sum(dim=1)
