"""tiny_brain on disk: the layout of BraTS, reproducible bytes, and masks that say exactly where a lesion is."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from data_modules.embedded.brain_anatomy import draw_anatomy, load_template
from data_modules.embedded.tiny_brain import Phantom, is_lesion_free, render_subject, write_tiny_brain

pytestmark = pytest.mark.slow

SUBJECTS = 4
SEED = 3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("brain")
    write_tiny_brain(folder, subjects=SUBJECTS, seed=SEED)
    return folder


@pytest.fixture(scope="module")
def sick() -> tuple[Phantom, Phantom]:
    """The same scan with and without its lesions."""
    index = next(i for i in range(10) if not is_lesion_free(SEED, i))
    return render_subject(SEED, index), render_subject(SEED, index, with_lesions=False)


def _tree_bytes(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_tree_has_the_layout_of_brats(root: Path) -> None:
    names = [f"TinyBrain_{i:05d}" for i in range(SUBJECTS)]
    assert sorted(_tree_bytes(root)) == sorted(f"{n}/{n}_{k}.nii.gz" for n in names for k in ("flair", "t1", "seg"))


def test_volumes_are_lps_of_two_millimetres_and_share_one_grid(root: Path) -> None:
    for path in root.rglob("*.nii.gz"):
        image = nib.Nifti1Image.from_filename(path)
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
        assert image.header.get_zooms() == (2.0, 2.0, 2.0)
        assert image.shape == load_template().t1.shape
        assert image.get_data_dtype() == (np.uint8 if path.name.endswith("_seg.nii.gz") else np.int16)


def test_a_reader_that_orients_gets_back_what_was_rendered(root: Path) -> None:
    phantom = render_subject(SEED, 1)
    image = nib.as_closest_canonical(
        nib.Nifti1Image.from_filename(root / "TinyBrain_00001" / "TinyBrain_00001_flair.nii.gz")
    )
    np.testing.assert_array_equal(np.asarray(image.dataobj), phantom.flair)
    np.testing.assert_allclose(image.affine, load_template().affine)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(root: Path, tmp_path: Path) -> None:
    write_tiny_brain(tmp_path / "again", subjects=2, seed=SEED)
    write_tiny_brain(tmp_path / "other", subjects=2, seed=SEED + 1)
    first, again, other = _tree_bytes(root), _tree_bytes(tmp_path / "again"), _tree_bytes(tmp_path / "other")
    assert all(first[name] == content for name, content in again.items())  # though there were more subjects in `first`
    scans = [name for name in again if not name.endswith("_seg.nii.gz")]
    assert all(again[name] != other[name] for name in scans)


def test_subjects_differ_in_shape_and_units(root: Path) -> None:
    scans = [nib.Nifti1Image.from_filename(path).get_fdata() for path in sorted(root.rglob("*_flair.nii.gz"))]
    brains = [scan > 0 for scan in scans]
    overlaps = [2 * (a & b).sum() / (a.sum() + b.sum()) for i, a in enumerate(brains) for b in brains[:i]]
    assert max(overlaps) < 0.99
    assert min(overlaps) > 0.8
    means = [scan[brain].mean() for scan, brain in zip(scans, brains, strict=True)]
    assert max(means) > 1.3 * min(means)


def test_a_lesion_changes_the_scan_inside_its_mask_and_one_voxel_around_only(sick: tuple[Phantom, Phantom]) -> None:
    with_lesions, without = sick
    mask = with_lesions.seg > 0
    reach = ndimage.binary_dilation(mask, np.ones((3, 3, 3)))
    assert not without.seg.any()
    for kind in ("flair", "t1"):
        changed = getattr(with_lesions, kind) != getattr(without, kind)
        assert not (changed & ~reach).any()
        assert changed[mask].mean() > 0.9
    change = np.abs(with_lesions.flair.astype(float) - without.flair)
    assert change[mask].mean() > 3 * change[reach & ~mask].mean()


def test_lesions_lie_inside_the_brain_and_have_the_labels_of_brats() -> None:
    labels: set[int] = set()
    white_inside, white_outside = [], []
    for index in range(8):
        phantom = render_subject(SEED, index)
        brain = phantom.flair > 0
        assert not (phantom.seg[~brain]).any()
        np.testing.assert_array_equal(brain, phantom.t1 > 0)
        labels |= set(np.unique(phantom.seg).tolist())
        white = draw_anatomy(np.random.default_rng([SEED, index, 0])).white
        white_inside += white[phantom.seg > 0].tolist()
        white_outside.append(white[brain].mean())
    assert labels == {0, 1, 2, 4}
    assert np.mean(white_inside) > np.mean(white_outside) + 0.1


def test_about_a_third_of_the_subjects_has_no_lesion() -> None:
    free = [is_lesion_free(0, index) for index in range(36)]
    assert 9 <= sum(free) <= 13
    phantom = render_subject(0, free.index(True))
    assert not phantom.seg.any()
    assert render_subject(0, free.index(False)).seg.any()


def test_tissue_shares_sum_to_one_inside_the_brain_only() -> None:
    anatomy = draw_anatomy(np.random.default_rng(0))
    total = anatomy.csf + anatomy.gray + anatomy.white
    np.testing.assert_allclose(total[anatomy.brain], 1, atol=1e-5)
    assert not total[~anatomy.brain].any()
    assert all(np.isfinite(getattr(anatomy, name)).all() for name in ("detail", "caps", "plexus"))


def test_flair_shows_gray_matter_above_white_matter_above_csf_and_t1_the_opposite() -> None:
    phantom = render_subject(SEED, 0, with_lesions=False)
    anatomy = draw_anatomy(np.random.default_rng([SEED, 0, 0]))
    tissues = [tissue > 0.9 for tissue in (anatomy.csf, anatomy.white, anatomy.gray)]
    csf, white, gray = (float(np.median(phantom.flair[tissue])) for tissue in tissues)
    assert csf < white < gray
    csf, white, gray = (float(np.median(phantom.t1[tissue])) for tissue in tissues)
    assert csf < gray < white


def test_progress_counts_every_subject(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_tiny_brain(tmp_path, subjects=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
