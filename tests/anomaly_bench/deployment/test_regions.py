"""Regions against a count of voxels, one by one."""

import numpy as np
import pytest

from anomaly_bench.deployment.outputs import as_csv
from anomaly_bench.deployment.regions import AREAS, VOLUMES, regions_of


def test_regions_of_a_volume_touch_at_corners_and_lie_in_millimetres():
    raw = np.random.default_rng(0).random((6, 7, 8)).astype(np.float32)
    segmentation = np.zeros(raw.shape, bool)
    one, two = [(0, 0, 0), (1, 1, 1), (2, 1, 1)], [(5, 5, 5), (5, 5, 6)]
    segmentation[tuple(np.transpose(one + two))] = True
    raw[5, 5, 5] = 2
    affine = np.array([[0, -2.0, 0, 10], [3, 0, 0, 20], [0, 0, 1.5, 30], [0, 0, 0, 1]])
    rows = regions_of(segmentation, raw, raw / 2, affine)
    assert [row["region"] for row in rows] == [1, 2]
    for row, voxels in zip(rows, (two, one), strict=True):
        scores = [raw[voxel] for voxel in voxels]
        assert (row["voxels"], row["volume_mm3"]) == (len(voxels), pytest.approx(9 * len(voxels)))
        place = np.mean([affine[:3, :3] @ voxel + affine[:3, 3] for voxel in voxels], axis=0)
        assert [row[f"centroid_{axis}_mm"] for axis in "xyz"] == pytest.approx(place)
        assert row["peak_score"] == pytest.approx(max(scores))
        assert row["mean_score"] == pytest.approx(np.mean(scores))
        assert row["peak_share"] == pytest.approx(max(scores) / 2)
        assert set(row) == set(VOLUMES)


def test_regions_of_a_picture_are_in_pixels_and_none_is_none():
    segmentation = np.zeros((5, 9), bool)
    segmentation[1:3, 4:7] = segmentation[3, 3] = True
    raw = segmentation.astype(np.float32)
    (row,) = regions_of(segmentation, raw, raw)
    assert (row["area_px"], set(row)) == (7, set(AREAS))
    assert row["centroid_row_px"] == pytest.approx((1 * 3 + 2 * 3 + 3) / 7)
    assert row["centroid_column_px"] == pytest.approx((2 * 15 + 3) / 7)
    assert regions_of(np.zeros((5, 9), bool), raw, raw) == []
    assert as_csv([], AREAS).decode().strip() == ",".join(AREAS)
