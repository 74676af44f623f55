"""Pure functions on maps and images (B, C, H, W): Gaussian smoothing, SSIM, histogram equalisation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_kernel(sigma: float, radius: int, like: Tensor) -> Tensor:
    """A Gaussian of 2·radius + 1 values that sum to 1."""
    offsets = torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    return weights / weights.sum()


def gaussian_smooth(image: Tensor, sigma: float, radius: int | None = None) -> Tensor:
    """Every channel smoothed with a Gaussian of `sigma` pixels, cut off at 3 sigma (or `radius`), edges repeated."""
    if sigma == 0:
        return image
    radius = max(1, round(3 * sigma)) if radius is None else radius
    kernel = gaussian_kernel(sigma, radius, image)
    channels = image.shape[1]
    padded = F.pad(image, [radius] * 4, mode="replicate")
    across = F.conv2d(padded, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(across, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def ssim_map(a: Tensor, b: Tensor, data_range: float = 1.0) -> Tensor:
    """Local structural similarity of images (B, C, H, W), in [-1, 1], same shape.

    Gaussian window of 11×11 pixels, sigma 1.5, K1 = 0.01, K2 = 0.03 (Wang et al. 2004; Bergmann et al. 2018, arXiv 1807.02011).
    """
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2

    def local_mean(x: Tensor) -> Tensor:
        return gaussian_smooth(x, 1.5, radius=5)

    mean_a, mean_b = local_mean(a), local_mean(b)
    var_a, var_b = local_mean(a * a) - mean_a**2, local_mean(b * b) - mean_b**2
    covariance = local_mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance * (2 * covariance + c2) / (var_a + var_b + c2)


def equalise(image: Tensor, foreground: Tensor) -> Tensor:
    """Per image, the share of foreground pixels that are no brighter, in [0, 1]: (B, 1, H, W) to (B, 1, H, W).

    The histogram equalisation of each image by itself; 0 outside the foreground.
    """
    equalised = torch.zeros_like(image)
    for one, inside, out in zip(image, foreground, equalised, strict=True):
        values = one[inside]
        out[inside] = torch.searchsorted(values.sort().values, values, right=True) / max(len(values), 1)
    return equalised
