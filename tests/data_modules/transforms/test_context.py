import numpy as np
import torch

from data_modules.transforms.context import neighbours, windows, with_context

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


def test_volumes_have_each_wanted_slice_once_and_end_where_their_run_of_slices_does():
    subject, number = np.array([0] * 6 + [1] * 3), np.array([2, 4, 6, 8, 10, 14, 2, 4, 6])
    every = np.full(9, True)
    rows, counts = windows(subject, number, 3, 2, every)
    assert rows.tolist() == [[0, 1, 2], [2, 3, 4], [5, 5, 5], [6, 7, 8]]  # 12 is missing
    assert counts.tolist() == [[True] * 3, [False, True, True], [True, False, False], [True] * 3]
    assert rows[counts].tolist() == list(range(9))
    assert windows(subject, number, 3, 1, every)[0].tolist() == [[row] * 3 for row in range(9)]


def test_a_volume_counts_what_is_wanted_and_sees_what_there_is():
    subject, number, wanted = np.zeros(7, int), np.arange(7), np.array([1, 1, 0, 1, 1, 0, 0], bool)
    rows, counts = windows(subject, number, 2, 1, wanted)
    assert rows.tolist() == [[0, 1], [2, 3], [4, 5]]  # a last one with 6, moved back, would count nothing
    assert counts.tolist() == [[True, True], [False, True], [True, False]]
    rows, counts = windows(subject, number, 2, 1, wanted, wanted)
    assert rows.tolist() == [[0, 1], [3, 4]]
    assert counts.all()
    rows, counts = windows(subject, number, 2, 1, wanted, np.zeros(7, bool))
    assert rows.shape == counts.shape == (0, 2)
