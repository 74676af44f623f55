"""tiny_texture on disk: the layout of MVTec AD, reproducible bytes, exact masks, and no free win for brightness."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from scipy.stats import mannwhitneyu

from data_modules.embedded.texture_defects import DEFECTS, EDGE
from data_modules.embedded.texture_materials import MATERIALS
from data_modules.embedded.tiny_texture import render_photo, write_tiny_texture

pytestmark = pytest.mark.slow

TRAIN, TEST = 6, 24


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texture")
    write_tiny_texture(folder, train=TRAIN, test=TEST, seed=1)
    return folder


def _tree_bytes(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.png")}


def test_the_tree_has_the_layout_of_mvtec(root: Path) -> None:
    expected = []
    for texture in MATERIALS:
        expected += [f"{texture}/train/good/{i:03d}.png" for i in range(TRAIN)]
        expected += [f"{texture}/test/good/{i:03d}.png" for i in range(TEST // 3)]
        for defect in DEFECTS:
            expected += [f"{texture}/test/{defect}/{i:03d}.png" for i in range(TEST // 6)]
            expected += [f"{texture}/ground_truth/{defect}/{i:03d}_mask.png" for i in range(TEST // 6)]
    assert sorted(_tree_bytes(root)) == sorted(expected)


def test_pictures_are_rgb_and_masks_are_0_or_255(root: Path) -> None:
    for path in root.rglob("*.png"):
        with Image.open(path) as picture:
            is_mask = "ground_truth" in path.parts
            assert picture.size == (64, 64)
            assert picture.mode == ("L" if is_mask else "RGB")
            values = set(np.unique(np.asarray(picture)).tolist())
            assert (values == {0, 255}) if is_mask else (len(values) > 50)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(root: Path, tmp_path: Path) -> None:
    write_tiny_texture(tmp_path / "again", train=2, test=12, seed=1)
    write_tiny_texture(tmp_path / "other", train=2, test=12, seed=2)
    first, again, other = _tree_bytes(root), _tree_bytes(tmp_path / "again"), _tree_bytes(tmp_path / "other")
    assert all(first[name] == content for name, content in again.items())  # though there were more pictures in `first`
    assert all(other[name] != content for name, content in again.items())


@pytest.mark.parametrize("texture", MATERIALS)
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_changes_its_mask_and_its_soft_edge_only(texture: str, defect: str) -> None:
    box = np.ones((2 * EDGE + 1, 2 * EDGE + 1))
    for index in range(4):
        broken = render_photo(0, texture, "test", defect, index)
        whole = render_photo(0, texture, "test", defect, index, with_defect=False)
        assert not whole.mask.any()
        assert 0 < broken.mask.mean() < 0.25
        change = np.abs(broken.image.astype(int) - whole.image).max(axis=-1)
        reach = ndimage.binary_dilation(broken.mask, box)
        assert not change[~reach].any()
        assert (change[broken.mask] > 0).mean() > 0.85


@pytest.mark.parametrize("texture", MATERIALS)
@pytest.mark.parametrize("defect", DEFECTS)
def test_brightness_alone_hardly_finds_a_defect(texture: str, defect: str) -> None:
    photos = [render_photo(0, texture, "test", defect, index) for index in range(20)]
    brightness = np.concatenate([photo.image.mean(axis=-1).ravel() for photo in photos])
    mask = np.concatenate([photo.mask.ravel() for photo in photos])
    bad, good = brightness[mask], brightness[~mask]
    auroc = mannwhitneyu(bad, good).statistic / (bad.size * good.size)
    assert 0.35 < auroc < 0.65


@pytest.mark.parametrize("texture", MATERIALS)
def test_pictures_of_a_material_are_alike_but_not_the_same(texture: str) -> None:
    photos = np.stack([render_photo(0, texture, "train", "good", i).image.astype(float) for i in range(12)])
    residual = (photos - photos.mean(axis=0)).std()
    assert 5 < residual < 0.9 * photos.std()


def test_progress_counts_every_picture(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_tiny_texture(tmp_path, train=1, test=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 8) for n in range(1, 9)]
