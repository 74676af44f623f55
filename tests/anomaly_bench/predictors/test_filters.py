"""Smoothing by matrix products gives what the sum of shifted copies does, and a convolution."""

import pytest
import scipy.ndimage
import torch

from anomaly_bench.predictors.filters import gaussian_kernel, gaussian_smooth, smoothed, ssim_map, weighted_window


@pytest.mark.parametrize("shape", [(3, 1, 64, 64), (2, 3, 33, 70), (1, 1, 5, 100), (1, 2, 1, 7)], ids=str)
@pytest.mark.parametrize(("sigma", "radius"), [(0.5, 2), (2.0, 6), (1.5, 5), (15.0, 45)])
def test_smoothing_is_that_of_scipy_at_any_shape_and_width(shape, sigma, radius):
    image = torch.randn(shape, dtype=torch.float64)
    expected = scipy.ndimage.gaussian_filter(
        image.numpy(), (0, 0, sigma, sigma), mode="nearest", radius=(0, 0, radius, radius)
    )
    kernel = gaussian_kernel(sigma, radius, torch.float64)
    torch.testing.assert_close(smoothed(image, kernel), torch.from_numpy(expected), rtol=0, atol=1e-12)
    torch.testing.assert_close(weighted_window(image, kernel), torch.from_numpy(expected), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        gaussian_smooth(image.float(), sigma, radius).double(), smoothed(image, kernel), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_within_its_window(value):
    image = torch.zeros(2, 1, 40, 40)
    image[0, 0, 20, 20] = value
    reached = ~gaussian_smooth(image, 1.0).isfinite()
    assert reached[0, 0, 17:24, 17:24].all()
    assert reached.sum() == 49


def test_a_map_can_be_smoothed_under_autograd_and_in_inference_mode():
    image = torch.rand(1, 1, 40, 40, dtype=torch.float64, requires_grad=True)
    with torch.inference_mode():
        found = gaussian_smooth(image, 1.25)
    again = gaussian_smooth(image, 1.25)
    (gradient,) = torch.autograd.grad(again.sum() + ssim_map(image, image.square()).sum(), image)
    assert gradient.isfinite().all()
    torch.testing.assert_close(found, again.detach(), rtol=0, atol=1e-12)
