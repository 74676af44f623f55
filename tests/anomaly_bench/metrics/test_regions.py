"""Lesion detection against a loop over SciPy's labels."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from anomaly_bench.metrics import LesionDetection, find_regions


def by_loop(called: np.ndarray, mask: np.ndarray, foreground: np.ndarray, share: float) -> list[tuple[int, int]]:
    """(lesions, detected) of the classes 1-3, 4-15 and from 16 pixels on."""
    rows = [[0, 0], [0, 0], [0, 0]]
    for image in range(len(mask)):
        labels, count = ndimage.label(mask[image, 0], np.ones((3, 3)))
        for name in range(1, count + 1):
            own = (labels == name) & foreground[image, 0]
            if not own.any():
                continue
            row = rows[0 if own.sum() < 4 else 1 if own.sum() < 16 else 2]
            row[0] += 1
            row[1] += called[image, 0][own].sum() / own.sum() >= share
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
def test_rates_equal_a_loop_in_any_partition(share: float) -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((8, 1, 30, 30)) < 0.12
    mask[:, :, 5:10, 5:12] = True
    called, foreground = rng.random(mask.shape) < 0.6, rng.random(mask.shape) < 0.95
    expected = by_loop(called, mask, foreground, share)
    detections = [LesionDetection((1, 4, 16), share) for _ in range(2)]
    for part in range(8):
        regions = find_regions(torch.from_numpy(mask[part])).within(torch.from_numpy(foreground[part]))
        detections[part % 2].update(torch.from_numpy(called[part]), regions)
    detections[0].merge(detections[1])
    rows = detections[0].rows()
    assert [(row["lesions"], row["detected"]) for row in rows] == expected
    assert [(row["smallest"], row["largest"]) for row in rows] == [(1, 3), (4, 15), (16, None)]
    assert expected[2][0] > 3


def test_no_lesion_counts_nothing() -> None:
    detection, nothing = LesionDetection(), torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    detection.update(~nothing, find_regions(nothing))
    assert {row["lesions"] for row in detection.rows()} == {0}


def test_arguments_that_do_not_fit_are_refused() -> None:
    for sizes in ((), (0, 3), (5, 2), (2, 2)):
        with pytest.raises(ValueError, match="ascending"):
            LesionDetection(sizes)
    with pytest.raises(ValueError, match="share"):
        LesionDetection(share=0)
    with pytest.raises(ValueError, match="sizes and share"):
        LesionDetection().merge(LesionDetection(share=0.1))
    whole = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    regions = find_regions(whole)
    for other in (whole[..., :4], torch.ones(1, 1, 8, 8, dtype=torch.bool), torch.ones(2, 1, 5, 5, dtype=torch.bool)):
        with pytest.raises(ValueError, match=r"called pixels of \(1, 5, 5\)"):
            LesionDetection().update(other, regions)
        with pytest.raises(ValueError, match=r"a foreground of \(1, 5, 5\)"):
            regions.within(other)
