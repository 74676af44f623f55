import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from fakes import brain, write_volume

from data_modules.config import LayoutConfig, NiftiConfig, SplitConfig
from data_modules.errors import DataError
from data_modules.nifti import NiftiDataModule, axial, read_volume, scale_intensity

LAYOUT = LayoutConfig(image={"flair": "{subject}/{subject}_flair.nii.gz"}, label="{subject}/{subject}_seg.nii.gz")


def module(root, cache, **changes):
    config = NiftiConfig(
        name="brats",
        kind="nifti",
        domain="medical",
        root=str(root),
        layouts={"a": LAYOUT},
        channels=["flair"],
        size=[16, 16],
        split=SplitConfig(val=0.3, test=0.3, salt="b"),
    )
    for key, value in changes.items():
        setattr(config, key, value)
    data = NiftiDataModule(config, cache, batch_size=8)
    data.prepare_data()
    data.setup()
    return data


def test_train_has_normal_slices_only_and_subjects_stay_apart(brats_root, cache):
    data = module(brats_root, cache)
    seen = {}
    loaders = {
        "train": data.train_dataloader(),
        "normal": data.val_dataloader()[0],
        "bad": data.val_dataloader()[1],
        "test": data.test_dataloader(),
    }
    for name, loader in loaders.items():
        batches = list(loader)
        seen[name] = {int(s) for batch in batches for s in batch["subject"]}
        flags = [bool(m.any()) for batch in batches for m in batch["mask"]]
        assert flags
        assert {"train": not any(flags), "normal": not any(flags), "bad": all(flags), "test": any(flags)}[name]
    assert not seen["train"] & (seen["normal"] | seen["bad"] | seen["test"])
    assert not seen["test"] & (seen["normal"] | seen["bad"])


def test_images_are_scaled_in_the_brain_and_zero_outside(brats_root, cache):
    data = module(brats_root, cache)
    batch = next(iter(data.test_dataloader()))
    assert batch["image"].min() >= 0
    assert batch["image"].max() <= 2
    assert not batch["image"][~batch["foreground"]].any()
    assert batch["foreground"][batch["mask"]].all()
    inside = batch["image"][batch["foreground"]]
    assert 0.2 < inside.median() < 0.8


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SAL"])
def test_any_orientation_gives_the_same_ras_volume(tmp_path, axes):
    volume = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    image = nib.Nifti1Image(volume, np.eye(4))
    turned = image.as_reoriented(
        nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes))
    )
    nib.save(turned, tmp_path / "v.nii.gz")
    assert np.allclose(read_volume(tmp_path / "v.nii.gz").voxels.numpy(), volume)


def test_axial_slices_have_the_front_on_top_and_the_right_on_the_right():
    volume = torch.zeros(1, 4, 5, 6)
    volume[0, 3, 4, 2] = 1  # right, front, third from below
    assert axial(volume)[2, 0, 0, 3] == 1


def test_metaimage_and_nifti_of_one_volume_agree(tmp_path):
    import SimpleITK as sitk  # noqa: N813

    volume = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    affine = np.diag([-2.0, -1.0, 3.0, 1.0])
    write_volume(tmp_path / "v.nii.gz", volume, affine)
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "v.nii.gz")), str(tmp_path / "v.mha"))
    mha, nifti = read_volume(tmp_path / "v.mha"), read_volume(tmp_path / "v.nii.gz")
    assert np.allclose(mha.voxels, nifti.voxels)
    assert np.allclose(mha.affine, nifti.affine)


def test_scaling_puts_the_percentiles_at_zero_and_one():
    volume = torch.rand(9, 9, 9) * 50 + 7
    inside = torch.ones(9, 9, 9, dtype=torch.bool)
    scaled = scale_intensity(volume, inside, [10, 90], 2.0, Path("v"))
    assert (scaled == 0).float().mean() == pytest.approx(0.1, abs=0.01)
    assert (scaled >= 1).float().mean() == pytest.approx(0.1, abs=0.01)


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
    assert not list((cache / "stores").glob("*")) if (cache / "stores").exists() else True


def test_a_changed_file_is_read_again(brats_root, cache):
    before = module(brats_root, cache).fingerprint
    assert module(brats_root, cache).fingerprint == before
    volume, _ = brain(99)
    write_volume(brats_root / "BraTS2021_00001/BraTS2021_00001_flair.nii.gz", volume)
    assert module(brats_root, cache).fingerprint != before


def test_only_chosen_label_values_are_anomalous(brats_root, cache):
    with pytest.raises(DataError, match="no anomalous pixel"):
        module(brats_root, cache, anomalous_labels=[1])
    write_volume(brats_root / "BraTS2021_00001/BraTS2021_00001_seg.nii.gz", brain(1)[1] // 2)
    data = module(brats_root, cache, anomalous_labels=[2])
    labelled = ~data.store.normal
    assert (labelled & ~data.store.anomalous).sum() > 0
    assert not labelled[data.indices["train"]].any()
    assert not labelled[data.indices["val_normal"]].any()


def test_two_releases_in_one_folder_are_refused(brats_root, cache):
    other = LayoutConfig(image={"flair": "{subject}/{subject}_seg.nii.gz"}, label=None)
    with pytest.raises(DataError, match="files fit the layouts a and b"):
        module(brats_root, cache, layouts={"a": LAYOUT, "b": other})


def test_anomalous_voxels_in_slices_left_out_are_counted(brats_root, cache):
    volume, label = brain(0)
    label[9, 11, 9] = 1
    volume[9, 11, 9] = 200
    write_volume(brats_root / "BraTS2021_00000/BraTS2021_00000_flair.nii.gz", volume)
    write_volume(brats_root / "BraTS2021_00000/BraTS2021_00000_seg.nii.gz", label)
    assert module(brats_root, cache).store.dropped == pytest.approx(1 / (8 * 18 + 1))


def test_layouts_and_channels_that_do_not_fit_are_named(brats_root, cache):
    other = LayoutConfig(image={"flair": "{subject}/{subject}-t2f.nii.gz"}, label=None)
    with pytest.raises(DataError, match="no file fits a layout of dataset brats; tried b"):
        module(brats_root, cache, layouts={"b": other})
    assert module(brats_root, cache, layouts={"b": other, "a": LAYOUT}).store.anomalous.any()
    with pytest.raises(DataError, match=r"no channel 't9'; it has \['flair'\]"):
        module(brats_root, cache, channels=["t9"])
