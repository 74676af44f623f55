"""The values of single predictors, and of what can stand around any of them."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from small_vae import blobs, evidence_of, images, maps, trained
from torchmetrics.functional.image import structural_similarity_index_measure

from anomaly_bench.models import VAE
from anomaly_bench.predictors import Combination, Gradient, Intensity, LocalContrast, Reconstruction
from anomaly_bench.predictors.evidence import Evidence, frozen
from anomaly_bench.predictors.filters import (
    equalise,
    eroded,
    gaussian_smooth,
    local_contrast,
    lowered_outside,
    median_filter,
    min_pool,
    ssim_map,
)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize(("window", "sigma", "extent"), [(11, 1.5, 1.0), (9, 1.0, 2.0)])
def test_ssim_is_that_of_torchmetrics(window, sigma, extent):
    a, b = extent * torch.rand(2, 3, 32, 32), extent * torch.rand(2, 3, 32, 32)
    _, expected = structural_similarity_index_measure(a, b, data_range=extent, sigma=sigma, return_full_image=True)
    found = ssim_map(a, b, extent, window, sigma)
    assert torch.allclose(found[..., 5:-5, 5:-5], expected[..., 5:-5, 5:-5], atol=1e-4)
    assert torch.allclose(ssim_map(a, a, extent, window, sigma), torch.ones_like(a), atol=1e-4)


def test_the_errors_of_a_reconstruction_are_those_of_their_names():
    model, batch = trained(), images(3)
    with frozen(model):
        evidence = evidence_of(model, batch)
        first, second = (batch - evidence.reconstruction).abs().unbind(dim=1)
        assert torch.allclose(Reconstruction(smooth=0.0, error="l1")(evidence), ((first + second) / 2)[:, None])
        squared = ((batch - evidence.reconstruction) ** 2).mean(dim=1, keepdim=True)
        assert torch.allclose(Reconstruction(smooth=0.0, error="l2")(evidence), squared)
        similar = ssim_map(batch, evidence.reconstruction, 0.5, 7, 1.0).mean(dim=1, keepdim=True)
        custom = Reconstruction(smooth=0.0, error="ssim", data_range=0.5, window=7, sigma=1.0)
        assert torch.allclose(custom(evidence), 1 - similar)


def test_weighted_is_l2_over_the_variance_and_with_one_variance_a_multiple_of_l2():
    model, batch = trained(), images(3)
    assert torch.allclose(
        maps(model, batch, Reconstruction(smooth=0.0, error="weighted")),
        maps(model, batch, Reconstruction(smooth=0.0, error="l2")) / 0.1**2,
    )
    model, batch = VAE((1, 16, 16), latent=2, channels=(4,), variance="pixel"), torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        found, log_sigma = model.decode_with_scale(model.encode(batch)[0])
    expected = (batch - found) ** 2 / log_sigma.exp() ** 2
    assert torch.allclose(maps(model, batch, Reconstruction(smooth=0.0, error="weighted")), expected)
    assert (expected / (batch - found) ** 2).std() > 0


def test_the_combination_is_the_product_or_the_sum_of_maps_that_go_from_0_to_1():
    model, batch = trained(), blobs(images(3))
    foreground = torch.zeros(3, 1, 32, 32, dtype=torch.bool)
    foreground[..., 4:28, 4:28] = True
    with frozen(model):
        evidence = Evidence(model, batch, foreground)
        error, gradient = (batch - evidence.reconstruction).abs(), evidence.grad_kl.abs()
        product, added = Combination(smooth=0.0)(evidence), Combination(smooth=0.0, how="sum", weight=3.0)(evidence)
    assert torch.allclose(product, (error * gradient).mean(dim=1, keepdim=True))
    for index in range(3):
        inside = foreground[index]
        parts = [part[index].mean(dim=0, keepdim=True) for part in (error, gradient)]
        one, other = ((part - part[inside].min()) / (part[inside].max() - part[inside].min()) for part in parts)
        assert torch.allclose(added[index], one + 3 * other, atol=1e-5)


@pytest.mark.parametrize("of", ["rec", "kl", "elbo"])
def test_smoothgrad_averages_signed_gradients_and_takes_their_size_after_that(of):
    model, batch = trained(), blobs(images(2))
    with frozen(model):
        evidence = evidence_of(model, batch)
        gradients = torch.stack([getattr(evidence.noisy(number, 0.2), f"grad_{of}") for number in range(4)])
        signed = Gradient(smooth=0.0, of=of, noise_samples=4, noise=0.2)(evidence)
        size = Gradient(smooth=0.0, of=of, noise_samples=4, noise=0.2, average_of="size")(evidence)
    assert torch.allclose(signed, gradients.mean(dim=0).abs().mean(dim=1, keepdim=True), rtol=1e-4)
    assert torch.allclose(size, gradients.abs().mean(dim=(0, 2))[:, None], rtol=1e-4)
    assert (signed <= size + 1e-4).all()
    assert signed.mean() < 0.99 * size.mean()


def test_maps_are_averaged_over_noisy_images_and_latent_samples():
    model, batch = trained(), images(2)
    with frozen(model):
        evidence = evidence_of(model, batch)
        views = [evidence.noisy(number, 0.1).sampled(sample) for number in range(2) for sample in range(3)]
        expected = torch.stack([(view.image - view.reconstruction).abs() for view in views]).mean(dim=(0, 2))[:, None]
        assert torch.allclose(
            Reconstruction(smooth=0.0, noise_samples=2, noise=0.1, latent_samples=3)(evidence), expected
        )
        alone = torch.stack([(batch - evidence.sampled(sample).reconstruction).abs() for sample in range(3)])
        assert torch.allclose(Reconstruction(smooth=0.0, latent_samples=3)(evidence), alone.mean(dim=(0, 2))[:, None])


def test_smoothing_keeps_flat_maps_and_mass_and_spreads_a_point_like_a_gaussian():
    assert torch.allclose(gaussian_smooth(torch.full((1, 1, 20, 20), 3.0), 2.0), torch.full((1, 1, 20, 20), 3.0))
    point = torch.zeros(1, 1, 41, 41)
    point[0, 0, 20, 20] = 1
    smooth = gaussian_smooth(point, 2.0)
    offsets = torch.arange(41) - 20.0
    assert smooth.sum() == pytest.approx(1.0, abs=1e-5)
    assert (smooth[0, 0].sum(0) * offsets**2).sum() == pytest.approx(4.0, rel=0.05)
    assert torch.equal(gaussian_smooth(point, 0.0), point)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_median_min_pool_and_erosion_are_those_of_scipy(size):
    image = torch.randn(2, 1, 12, 15)
    window = (1, 1, size, size)
    median = scipy.ndimage.median_filter(image.numpy(), size=window, mode="nearest")
    assert torch.equal(median_filter(image, size), torch.from_numpy(median))
    lowest = scipy.ndimage.minimum_filter(image.numpy(), size=window, mode="constant", cval=np.inf)
    assert torch.equal(min_pool(image, size), torch.from_numpy(lowest))
    foreground = image > -1.5
    square = np.ones((1, 1, size, size), bool)
    inner = scipy.ndimage.binary_erosion(foreground.numpy(), square, border_value=1)
    assert torch.equal(eroded(foreground, size // 2), torch.from_numpy(inner))


def test_what_stands_around_a_predictor_comes_in_the_documented_order():
    model, batch = trained(), blobs(images(2))
    foreground = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    foreground[..., 5:25, 5:25] = True
    with frozen(model):
        evidence = Evidence(model, batch, foreground)
        raw = Reconstruction(smooth=0.0)(evidence)
        found = Reconstruction(smooth=1.0, median=3, min_pool=5, erode=2)(evidence)
    expected = min_pool(median_filter(gaussian_smooth(raw, 1.0), 3), 5)
    assert torch.equal(found[..., 7:23, 7:23], expected[..., 7:23, 7:23])
    least = expected[..., 5:25, 5:25].flatten(1).amin(1)
    found[..., 7:23, 7:23] = least.view(2, 1, 1, 1)
    assert torch.equal(found, least.view(2, 1, 1, 1).expand(2, 1, 32, 32))


def test_pixels_outside_the_eroded_foreground_rank_last_and_stay_finite():
    score = torch.randn(2, 1, 9, 9)
    foreground = torch.zeros(2, 1, 9, 9, dtype=torch.bool)
    foreground[0, :, 1:8, 1:8] = True
    low = lowered_outside(score, eroded(foreground, 2), foreground)
    rim = foreground[0] & ~eroded(foreground, 2)[0]
    assert (low[0][rim] == score[0][foreground[0]].min()).all()
    assert (low[1] == score[1].min()).all()
    everywhere = torch.ones(2, 1, 9, 9, dtype=torch.bool)
    assert torch.equal(lowered_outside(score, eroded(everywhere, 3), everywhere), score)


def test_equalising_gives_the_rank_of_each_foreground_pixel():
    image = torch.tensor([[[[5.0, 1.0], [3.0, 9.0]]]])
    foreground = torch.tensor([[[[True, True], [True, False]]]])
    assert torch.allclose(equalise(image, foreground), torch.tensor([[[[1.0, 1 / 3], [2 / 3, 0.0]]]]))


def test_equalised_intensity_ranks_as_intensity_does_within_an_image():
    model, batch = trained(), images(2)
    plain, equalised = (maps(model, batch, Intensity(smooth=0.0, equalised=flag)) for flag in (False, True))
    for one, other in zip(plain, equalised, strict=True):
        assert torch.equal(one.flatten().argsort(stable=True), other.flatten().argsort(stable=True))
        assert other.max() == 1


def test_local_contrast_is_the_formula_pixel_by_pixel():
    image = torch.rand(2, 1, 10, 11, dtype=torch.float64)
    foreground = torch.rand(2, 1, 10, 11) > 0.2
    found = local_contrast(image, foreground, sigma=1.2, window=5)
    offsets = torch.arange(-2, 3).double()
    kernel = torch.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.2**2))

    def around(values, index, row, column):
        """Kernel-weighted mean of the foreground pixels around, those beyond the edge being copies of the edge's."""
        total = weight = 0.0
        for down, right in np.ndindex(5, 5):
            at = min(max(row + down - 2, 0), 9), min(max(column + right - 2, 0), 10)
            share = kernel[down, right] * foreground[index, 0][at]
            total, weight = total + share * values[at], weight + share
        return total / weight

    for index in range(2):
        centred, spread = torch.zeros(10, 11).double(), torch.zeros(10, 11).double()
        inside = foreground[index, 0]
        for at in inside.nonzero().tolist():
            centred[tuple(at)] = image[index, 0][tuple(at)] - around(image[index, 0], index, *at)
        for at in inside.nonzero().tolist():
            spread[tuple(at)] = around(centred**2, index, *at).sqrt()
        expected = centred.abs() / spread.maximum(spread[inside].mean())
        assert torch.allclose(found[index, 0], expected.where(inside, 0.0))


def test_local_contrast_does_not_change_with_brightness_and_contrast_and_ignores_the_background():
    model, batch = trained(), blobs(images(2))
    score = maps(model, batch, LocalContrast(smooth=0.0))
    assert torch.allclose(maps(model, 3 * batch + 2, LocalContrast(smooth=0.0)), score, atol=1e-3)
    foreground = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    foreground[..., 8:24, 8:24] = True
    other = batch.where(foreground, 100.0)
    with frozen(model):
        first, second = (LocalContrast(smooth=0.0)(Evidence(model, x, foreground)) for x in (batch, other))
    assert torch.allclose(first, second)
    assert (maps(model, torch.full((1, 2, 32, 32), 0.7), LocalContrast(smooth=0.0)) < 1).all()
