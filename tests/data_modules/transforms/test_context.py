import numpy as np
import torch

from data_modules.transforms.context import neighbours, with_context

SUBJECT, NUMBER = np.array([0, 0, 0, 0, 1, 1]), np.array([3, 4, 5, 7, 8, 9])


def test_neighbours_are_those_of_the_volume_and_its_last_slice_where_it_ends():
    assert neighbours(SUBJECT, NUMBER, 0).tolist() == [[0], [1], [2], [3], [4], [5]]
    assert neighbours(SUBJECT, NUMBER, 2).tolist() == [
        [0, 0, 0, 1, 2],
        [0, 0, 1, 2, 2],
        [0, 1, 2, 2, 2],  # 6 is missing, and 7 beyond it
        [3, 3, 3, 3, 3],
        [4, 4, 4, 5, 5],  # 7 is another subject's
        [4, 4, 5, 5, 5],
    ]


def test_nothing_is_seen_of_what_counts_as_beyond_the_end():
    beyond = np.array([False, False, True, False, False, False])
    assert neighbours(SUBJECT, NUMBER, 2, beyond)[:2].tolist() == [[0, 0, 0, 1, 1], [0, 0, 1, 1, 1]]


def test_channels_of_neighbours_stand_side_by_side():
    image = torch.arange(4 * 2.0).view(4, 2, 1, 1)
    own = torch.tensor([False, True, False, True])
    found = with_context(image, torch.arange(4), own, 1)
    assert found[..., 0, 0].tolist() == [[0, 1, 2, 3, 4, 5], [4, 5, 6, 7, 6, 7]]
