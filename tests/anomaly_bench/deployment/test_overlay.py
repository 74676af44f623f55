"""The overlay: which slices it shows, on which side is what, what its colours say."""

import io

import numpy as np
import pytest
from PIL import Image

from anomaly_bench.config.load import load_config
from anomaly_bench.deployment.inputs import find_items
from anomaly_bench.deployment.opened import Opener
from anomaly_bench.deployment.overlay import GAP, HEADER, MARGIN, TILE, draw_overlay, place_text, strongest
from data_modules.base.errors import stop
from tests.helpers.data.scans import block, oblique, write_scan


def test_the_strongest_slices_are_no_neighbours_and_have_enough_brain():
    raw, looked = np.zeros((24, 5, 5)), np.ones((24, 5, 5), bool)
    raw[4, 0, 0], raw[5, 1, 1], raw[12, 2, 2], raw[17, 1, 1], raw[23, 0, 0] = 9, 8, 7, 6, 10
    looked[23] = False
    looked[23, 0, :2] = True
    chosen = strongest(raw, looked)
    assert set(chosen) >= {4, 12, 17}
    assert 5 not in chosen
    assert 23 not in chosen
    assert chosen == sorted(chosen)
    assert len(chosen) == 4
    assert strongest(raw[:1], looked[:1]) == [0]


def test_what_is_all_is_rounded_down():
    assert [place_text(share) for share in (0.97, 0.9999, 1.0)] == ["97 % of", "99.9 % of", "all"]


@pytest.mark.parametrize(("plane", "left", "top"), [("axial", "R", "A"), ("coronal", "R", "S"), ("sagittal", "A", "S")])
def test_left_and_right_are_as_radiologists_see_them(tmp_path, plane, left, top):
    """What lies at the right, the front and the top of the head is drawn where the letters of these are."""
    shape = (48, 48, 48)
    affine = oblique((1.0, 1.0, 1.0), 4.0)  # voxel indices run to the left, the back and the top
    values = block(0, shape)
    write_scan(tmp_path / "scan.nii.gz", values, affine)
    config = load_config(
        ["dataset=brats", f"dataset.plane={plane}", "dataset.size=[32,32]", f"cache_dir={tmp_path / 'cache'}"]
    )
    (item,) = find_items([str(tmp_path / "scan.nii.gz")], config.dataset, None, stop)
    opened = Opener(config)(item)
    share = np.zeros(shape, np.float32)
    share[32:40, 32:40, 32:40] = 1  # RAS: at the right, the front and the top
    found = {"image_score": 1.0, "higher_than": 1.0}
    png = draw_overlay(opened, "rec_l1", found, share, share, share > 0.5, None)
    drawn = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    lower = drawn[HEADER + TILE + GAP : HEADER + 2 * TILE + GAP]
    tiles = [lower[:, first : first + TILE] for first in range(MARGIN, MARGIN + 4 * (TILE + GAP), TILE + GAP)]
    hot = max((np.argwhere((tile[..., 0] - tile[..., 2]) > 60) for tile in tiles), key=len)
    assert len(hot) > 500
    row, column = hot.mean(0) / TILE
    assert column < 0.4
    assert row < 0.4
    assert opened.view(opened.as_planes(opened.back.looked))[2][::2] == left + top


def test_a_mask_is_outlined_too(tmp_path):
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / "a.png")
    config = load_config(["dataset=mvtec_ad", "dataset.size=[32,32]", f"cache_dir={tmp_path / 'cache'}"])
    (item,) = find_items([str(tmp_path / "a.png")], config.dataset, None, stop)
    opened, nothing = Opener(config)(item), np.zeros((40, 60), np.float32)
    mask = nothing > 0
    mask[10:20, 30:50] = True
    found = {"image_score": 0.1, "higher_than": 0.5}
    bare, outlined = (
        np.asarray(Image.open(io.BytesIO(draw_overlay(opened, "p", found, nothing, nothing, nothing > 0, truth))))
        for truth in (None, (mask, ~mask | mask))
    )
    rows, columns = np.nonzero((bare != outlined).any(-1)[:-30])
    width = 1.4 * TILE / 60
    first = MARGIN + round(1.4 * TILE) + GAP
    assert abs(columns.min() - (first + 30 * width)) <= 4
    assert abs(columns.max() - (first + 50 * width)) <= 4
    assert abs(rows.min() - (HEADER + 10 * width)) <= 4
