"""Configs, volumes and labels that do not fit are refused by name."""

import gzip

import numpy as np
import pytest
import torch
from fakes import brain, write_volume

from data_modules.base.config import LayoutConfig, NiftiConfig
from data_modules.base.errors import DataError
from data_modules.modules.nifti import NiftiDataModule
from tests.helpers.data.nifti_slices import LAYOUT, module


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"plane": "axail"}, r"dataset\.plane=axail: no such plane; did you mean axial\?"),
        ({"modality": []}, "dataset.modality is empty"),
        ({"modality": None}, "dataset.modality is empty"),
        ({"modality": ["flair", "flair"]}, "names one twice"),
        ({"preprocess": {"x": {"use": "Spacing"}}}, r"dataset\.preprocess\.x\.use=Spacing: .*Spacingd"),
    ],
)
def test_a_config_that_cannot_be_is_refused_before_anything_is_read(tmp_path, cache, changes, message):
    with pytest.raises(DataError, match=message):
        module(tmp_path / "gone", cache, **changes)


def break_missing_label(root):
    (root / "BraTS2021_00003/BraTS2021_00003_seg.nii.gz").unlink()


def break_shape(root):
    write_volume(root / "BraTS2021_00003/BraTS2021_00003_seg.nii.gz", np.zeros((20, 24, 9), np.uint8))


def break_truncated(root):
    path = root / "BraTS2021_00003/BraTS2021_00003_flair.nii.gz"
    path.write_bytes(path.read_bytes()[:500])


def break_text(root):
    (root / "BraTS2021_00003/BraTS2021_00003_flair.nii.gz").write_bytes(gzip.compress(b"no volume"))


def break_nan(root):
    volume, _ = brain(3)
    volume[4, 4, 4] = np.nan
    write_volume(root / "BraTS2021_00003/BraTS2021_00003_flair.nii.gz", volume)


def break_background(root):
    write_volume(root / "BraTS2021_00003/BraTS2021_00003_flair.nii.gz", np.zeros((20, 24, 10), np.float32))
    write_volume(root / "BraTS2021_00003/BraTS2021_00003_seg.nii.gz", np.zeros((20, 24, 10), np.uint8))


def break_flair_only(root):
    """The label stays, so the brain would be the lesion alone."""
    write_volume(root / "BraTS2021_00003/BraTS2021_00003_flair.nii.gz", np.zeros((20, 24, 10), np.float32))


def break_constant(root):
    write_volume(root / "BraTS2021_00003/BraTS2021_00003_flair.nii.gz", np.full((20, 24, 10), 7, np.float32))


def break_missing_image(root):
    (root / "BraTS2021_00003/BraTS2021_00003_flair.nii.gz").unlink()


def break_affine(root):
    write_volume(root / "BraTS2021_00003/BraTS2021_00003_seg.nii.gz", brain(3)[1], np.diag([1.0, -1.0, 1.0, 1.0]))


def break_4d(root):
    write_volume(root / "BraTS2021_00003/BraTS2021_00003_flair.nii.gz", np.zeros((20, 24, 10, 2), np.float32))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_missing_label, "subject BraTS2021_00003 has no label"),
        (break_shape, r"_seg\.nii\.gz.*\(20, 24, 9\) voxels"),
        (break_truncated, r"00003_flair\.nii\.gz: cannot be read"),
        (break_text, r"00003_flair\.nii\.gz: cannot be read"),
        (break_nan, r"00003_flair\.nii\.gz: holds NaN"),
        (break_background, r"00003_flair\.nii\.gz: no brain voxel"),
        (break_flair_only, r"00003_flair\.nii\.gz: no brain voxel"),
        (break_constant, r"00003_flair\.nii\.gz: the brain has the one intensity 7"),
        (break_missing_image, "subject BraTS2021_00003 has no image 'flair'"),
        (break_affine, r"00003_seg\.nii\.gz: its affine puts its voxels elsewhere"),
        (break_4d, r"00003_flair\.nii\.gz: expected one 3D volume"),
    ],
)
def test_bad_volumes_are_named(brats_root, cache, damage, message):
    damage(brats_root)
    with pytest.raises(DataError, match=message):
        module(brats_root, cache)
    assert not [path for path in (cache / "stores").glob("*") if not path.name.startswith(".")]


def test_a_label_whose_header_lies_beside_its_image_is_read_where_the_tolerance_allows(brats_root, cache):
    sound, shifted = module(brats_root, cache), np.diag([-1.0, -1.0, 1.0, 1.0])
    shifted[0, 3] = 0.4
    for subject in brats_root.iterdir():
        write_volume(subject / f"{subject.name}_seg.nii.gz", brain(int(subject.name[-1]))[1], shifted)
    with pytest.raises(
        DataError, match=r"_seg\.nii\.gz: its affine puts .* 0\.4 mm away; .*dataset\.affine_tolerance=0\.05"
    ):
        module(brats_root, cache)
    data = module(brats_root, cache, affine_tolerance=0.5)
    rows = np.arange(len(sound.store))
    for name, values in sound.store.batch(rows).items():
        torch.testing.assert_close(data.store.batch(rows)[name], values, rtol=0, atol=0)
    assert module(brats_root, cache, affine_tolerance=0.6).fingerprint != data.fingerprint
    with pytest.raises(DataError, match=r"dataset\.affine_tolerance=-1: expected millimetres, 0 or more"):
        module(brats_root, cache, affine_tolerance=-1)


def test_two_releases_in_one_folder_are_refused(brats_root, cache):
    other = LayoutConfig(image={"flair": "{subject}/{subject}_seg.nii.gz"}, label=None)
    with pytest.raises(DataError, match="files fit the layouts a and b"):
        module(brats_root, cache, layouts={"a": LAYOUT, "b": other})


def test_layouts_and_channels_that_do_not_fit_are_named(brats_root, cache):
    other = LayoutConfig(image={"flair": "{subject}/{subject}-t2f.nii.gz"}, label=None)
    with pytest.raises(
        DataError, match=r"no file fits a layout of dataset brats; tried b.*; there are BraTS.*is dataset\.root right"
    ):
        module(brats_root, cache, layouts={"b": other})
    assert module(brats_root, cache, layouts={"b": other, "a": LAYOUT}).store.anomalous.any()
    with pytest.raises(DataError, match=r"modality=t9: brats has no such modality; there are flair"):
        module(brats_root, cache, modality=["t9"])


def test_a_label_may_miss_whole_numbers_by_rounding_only(tmp_path, cache):
    volume, label = brain(0)
    write_volume(tmp_path / "a/a_flair.nii.gz", volume)
    config = NiftiConfig(
        "x", "nifti", "medical", root=str(tmp_path), layouts={"a": LAYOUT}, modality="flair", size=[16, 16]
    )
    config.anomalous_labels = [1]
    data = NiftiDataModule(config, cache_dir=cache)
    for value in (1.0, 0.9995, 1.0005):
        write_volume(tmp_path / "a/a_seg.nii.gz", (label > 0) * np.float32(value) + np.float32(5e-4) * (label == 0))
        slices = data.read_case(data.find_cases()[0])
        assert (
            slices.number[slices.labelled].tolist() == slices.number[slices.mask.flatten(1).any(1)].tolist() == [6, 7]
        )
    write_volume(tmp_path / "a/a_seg.nii.gz", (label > 0) * np.float32(0.99))
    with pytest.raises(
        DataError, match=r"a_seg\.nii\.gz: 18 of its voxels are no whole numbers, such as 0\.99; .*nearest"
    ):
        data.read_case(data.find_cases()[0])


@pytest.mark.parametrize(
    ("plane", "spacing", "refused"),
    [
        ("axial", (1, 1, 5), False),
        ("axial", (0.96, 0.95, 3), False),
        ("axial", (1, 1.09, 3), False),
        ("axial", (1.2, 0.98, 3), True),
        ("coronal", (1, 1, 5), True),
        ("sagittal", (5, 1, 1), False),
    ],
)
def test_pixels_that_are_not_square_are_refused(tmp_path, cache, plane, spacing, refused):
    for kind, array in zip(("flair", "seg"), brain(0), strict=True):
        write_volume(tmp_path / f"a/a_{kind}.nii.gz", array, np.diag([*spacing, 1.0]))
    config = NiftiConfig(
        "x", "nifti", "medical", root=str(tmp_path), layouts={"a": LAYOUT}, modality="flair", size=[16, 16]
    )
    config.plane, config.min_foreground = plane, 0.05
    data = NiftiDataModule(config, cache_dir=cache)
    if not refused:
        assert len(data.read_case(data.find_cases()[0]).image)
        return
    with pytest.raises(DataError, match=r"a_flair\.nii\.gz: pixels of .* mm wide .*dataset\.preprocess\.spacing="):
        data.read_case(data.find_cases()[0])
    config.preprocess["spacing"] = {"use": "Spacingd", "pixdim": [1, 1, 1]}
    data = NiftiDataModule(config, cache_dir=cache)
    rows, columns = (data.read_case(data.find_cases()[0]).foreground.any(0)[0].any(axis).sum() for axis in (1, 0))
    assert min(rows, columns) >= 5
