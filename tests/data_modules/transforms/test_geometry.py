import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from data_modules.transforms.geometry import region_weights, resize_anomalies, resize_images, resize_masks, square_box


def test_region_weights_sum_to_one_per_region_and_join_diagonal_neighbours():
    masks = np.zeros((2, 1, 6, 6), bool)
    masks[0, 0, 0, 0] = masks[0, 0, 1, 1] = True
    masks[0, 0, 4:6, 4:6] = True
    weights = region_weights(masks)
    assert weights[0, 0, 0, 0] == weights[0, 0, 1, 1] == 0.5
    assert weights[0, 0, 4:6, 4:6].tolist() == [[0.25, 0.25], [0.25, 0.25]]
    assert weights.sum() == pytest.approx(2.0)
    assert not weights[1].any()


def test_resizing_keeps_a_flat_image_flat_and_the_mean():
    flat = torch.full((1, 2, 30, 50), 0.7)
    assert torch.allclose(resize_images(flat, (16, 16)), torch.full((1, 2, 16, 16), 0.7))
    noise = torch.rand(1, 1, 64, 64)
    assert resize_images(noise, (16, 16)).mean() == pytest.approx(noise.mean().item(), abs=0.02)


def test_no_anomalous_region_vanishes_by_resizing():
    masks = torch.zeros(2, 1, 60, 60, dtype=torch.bool)
    masks[0, 0, 0, 0] = masks[0, 0, 30, 59] = True
    masks[:, 0, 12:30, 12:30] = True
    assert resize_masks(masks, (10, 10))[0].sum() == 9
    small = resize_anomalies(masks, (10, 10))
    assert small[0].sum() == 11
    assert small[0, 0, 0, 0]
    assert small[0, 0, 5, 9]
    assert torch.equal(small[1], resize_masks(masks, (10, 10))[1])


def test_the_square_box_holds_the_foreground_and_may_reach_outside():
    assert square_box(slice(2, 18), slice(0, 10), margin=0.0) == (2, -3, 16)
    assert square_box(slice(2, 18), slice(0, 10), margin=0.125) == (0, -5, 20)


@pytest.mark.parametrize("size", [(5, 7), (16, 16), (40, 50)])
def test_each_region_of_each_mask_is_resized_as_by_itself(size):
    rng = np.random.default_rng(0)
    masks = np.zeros((6, 1, 30, 34), dtype=bool)
    masks[1:5, 0, 9:27, 4:31] = rng.random((4, 18, 27)) > 0.9
    expected = F.interpolate(torch.from_numpy(masks).float(), size=size, mode="nearest-exact") > 0
    for index in range(6):
        labels, count = ndimage.label(masks[index, 0], structure=np.ones((3, 3)))
        for region in range(1, count + 1):
            alone = torch.from_numpy(labels == region)[None, None].float()
            if not F.interpolate(alone, size=size, mode="nearest-exact").any():
                middle = (np.argwhere(labels == region).mean(axis=0) + 0.5) * np.array(size) / (30, 34)
                expected[index, 0, int(middle[0]), int(middle[1])] = True
    assert torch.equal(resize_anomalies(torch.from_numpy(masks), size), expected)
    nearest = F.interpolate(torch.from_numpy(masks).float(), size=size, mode="nearest-exact") > 0
    assert torch.equal(resize_masks(torch.from_numpy(masks), size), nearest)
