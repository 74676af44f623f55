"""Reconstruction error of normal pixels beside an anomaly, against loops over pixels."""

import numpy as np
import pytest
import torch

from anomaly_bench.localization.tallies.surroundings import REACH, RIM, Surroundings


def test_means_are_those_of_a_loop_over_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    error = torch.rand(3, 1, 24, 20, generator=generator)
    mask = torch.zeros(3, 1, 24, 20, dtype=torch.bool)
    mask[0, 0, 3:5, 2:4] = mask[0, 0, 20, 19] = mask[1, 0, 10, 10] = True  # the third image is normal
    foreground = torch.rand(3, 1, 24, 20, generator=generator) < 0.7
    near, far = [], []
    for image, row, column in np.ndindex(3, 24, 20):
        hits = mask[image, 0].nonzero()
        if not len(hits) or not foreground[image, 0, row, column]:
            continue
        away = int((hits - torch.tensor([row, column])).abs().amax(1).min())
        if away > RIM:
            (near if away <= REACH else far).append(float(error[image, 0, row, column]))
    counted = Surroundings()
    counted.update(error[:2], mask[:2], foreground[:2])
    counted.update(error[2:], mask[2:], foreground[2:])
    assert counted.means()["normal_error_near"] == pytest.approx(np.mean(near), rel=1e-6)
    assert counted.means()["normal_error_far"] == pytest.approx(np.mean(far), rel=1e-6)


def test_without_anomalies_there_is_no_mean() -> None:
    counted = Surroundings()
    counted.update(torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.bool), torch.ones(1, 1, 4, 4).bool())
    assert counted.means() == {"normal_error_near": None, "normal_error_far": None}
