"""Maps back on the grid of their source: exact at pixel centres, against SciPy's interpolation between them."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from data_modules.transforms.back import ToPicture, ToVolume
from data_modules.transforms.brain import CropToBraind
from data_modules.transforms.scan import Scan
from data_modules.transforms.slicing import PLANES, Grid, Slicing, cut, planes
from tests.helpers.data.scans import block, oblique


def sliced(plane, step=1, size=(16, 16)):
    """Slices of a cuboid brain that was cropped, whose square box has 48 pixels along a side, and its volume's grid."""
    volume = block(0, (46, 50, 46)).astype(np.float32)
    grid = Grid(volume.shape, np.diag([1.0, 1.0, 1.0, 1.0]))
    scan = Scan([volume], grid.affine, ["scan.nii.gz"], brain=volume != 0)
    CropToBraind().apply(scan)
    return cut(scan, grid, Slicing(plane, size, 0.1, step), "s"), grid


@pytest.mark.parametrize("plane", PLANES)
def test_slices_come_back_where_they_were_cut_and_nothing_is_elsewhere(plane):
    slices, grid = sliced(plane, step=2)
    scores = torch.rand(slices.foreground.shape, generator=torch.Generator().manual_seed(0)) + 1
    back = ToVolume(slices.foreground, slices.number, slices.geometry, grid)
    volume = planes(back(scores), plane)
    top, left, side = slices.geometry["box"]
    assert side == 48
    rows, columns = (first + 3 * np.arange(16) + 1 for first in (top, left))  # the centres of pixels
    for position, number in enumerate(slices.number.tolist()):
        inside = slices.foreground[position, 0].numpy()
        there = volume[number][np.ix_(rows.clip(0, volume.shape[1] - 1), columns.clip(0, volume.shape[2] - 1))]
        np.testing.assert_allclose(there[inside], scores[position, 0].numpy()[inside], rtol=1e-6)
    between = np.setdiff1d(np.arange(len(volume)), slices.number)
    assert not volume[between].any()
    np.testing.assert_array_equal(volume != 0, planes(back.looked, plane))


def test_a_score_outside_of_the_foreground_does_not_reach_into_it():
    slices, grid = sliced("axial")
    scores = torch.where(slices.foreground, 1.0, 1e6)
    back = ToVolume(slices.foreground, slices.number, slices.geometry, grid)
    np.testing.assert_allclose(back(scores)[back.looked], 1, rtol=1e-6)
    brain = block(0, grid.shape) != 0
    assert (brain & back.looked).sum() > 0.9 * brain.sum()
    assert (back.looked & ~ndimage.binary_dilation(brain, np.ones((3, 3, 3)), iterations=2)).sum() == 0


def test_a_resampled_grid_is_undone_by_trilinear_interpolation():
    slices, made = sliced("axial")
    affine = oblique((0.8, 1.3, 2.0))
    affine[:2, :3] *= -1  # as RAS
    source = Grid((60, 40, 30), affine)
    affine[:3, 3] = np.array([2.0, -1.5, 3.0])
    scores = torch.rand(slices.foreground.shape, generator=torch.Generator().manual_seed(1))
    onto_made = ToVolume(slices.foreground, slices.number, slices.geometry, made)
    back = ToVolume(slices.foreground, slices.number, slices.geometry, source)
    index = np.stack(np.meshgrid(*map(np.arange, source.shape), indexing="ij"))
    where = np.tensordot(affine[:3, :3], index, 1) + affine[:3, 3][:, None, None, None]  # made's affine is the identity
    inner = ndimage.minimum_filter(onto_made.looked.astype(np.float32), 3)
    deep = ndimage.map_coordinates(inner, where, order=1, mode="constant") >= 1
    expected = ndimage.map_coordinates(onto_made(scores), where, order=1, mode="constant")
    assert deep.sum() > 500
    np.testing.assert_allclose(back(scores)[deep], expected[deep], atol=1e-5)


def test_a_picture_is_interpolated_between_pixel_centres():
    scores = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    values = ToPicture({"shape": [24, 40]})(scores)
    assert values.shape == (24, 40)
    np.testing.assert_allclose(values[1::3, 2::5], scores[0, 0], rtol=1e-6)
    rows, columns = np.meshgrid((np.arange(24) + 0.5) / 3 - 0.5, (np.arange(40) + 0.5) / 5 - 0.5, indexing="ij")
    expected = ndimage.map_coordinates(scores[0, 0].numpy(), [rows, columns], order=1, mode="nearest")
    np.testing.assert_allclose(values, expected, atol=1e-6)
