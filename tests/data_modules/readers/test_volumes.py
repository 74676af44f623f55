import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import LoadImage, Orientation
from nibabel.orientations import axcodes2ornt, ornt_transform

from data_modules.base.errors import DataError
from data_modules.readers.volumes import Volume, check_grid, read_volume, read_volumes

OBLIQUE = np.array([[-0.9, 0.1, 0.05, 10], [0.12, 1.1, -0.2, -20], [0.03, 0.2, 2.0, 5], [0, 0, 0, 1]])
SHAPE = (5, 6, 7)


def monai(path: Path) -> torch.Tensor:
    """What MONAI's reader makes of a file, in RAS."""
    loaded = LoadImage(reader="NibabelReader", image_only=True, ensure_channel_first=True, dtype=np.float32)(path)
    return Orientation(axcodes="RAS", labels=None)(loaded)


def voxels(dtype, shape=SHAPE):
    rng = np.random.default_rng(0)
    return rng.normal(0, 50, shape).astype(dtype) if np.dtype(dtype).kind != "u" else rng.integers(0, 99, shape, dtype)


def assert_equal_to_monai(path: Path) -> Volume:
    volume, expected = read_volume(path), monai(path)
    np.testing.assert_array_equal(np.asarray(volume.voxels, np.float32), expected[0].numpy())
    np.testing.assert_array_equal(volume.affine, expected.affine.numpy())
    return volume


@pytest.mark.parametrize("affine", [np.eye(4), OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SAL", "IRP"])
def test_any_orientation_gives_the_voxels_and_affine_of_monai(tmp_path, axes, affine):
    image = nib.Nifti1Image(voxels(np.int16), affine)
    image = image.as_reoriented(ornt_transform(nib.io_orientation(affine), axcodes2ornt(axes)))
    nib.save(image, tmp_path / "v.nii.gz")
    assert nib.aff2axcodes(image.affine) == tuple(axes)
    volume = assert_equal_to_monai(tmp_path / "v.nii.gz")
    assert volume.voxels.dtype == np.int16
    assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8", ">i2", ">f4"])
@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_any_type_gives_the_values_of_monai_and_small_integers_stay_so(tmp_path, dtype, name):
    image = nib.Nifti1Image(voxels(np.dtype(dtype).newbyteorder("=")), OBLIQUE, dtype=np.dtype(dtype))
    if dtype.startswith(">"):
        image = nib.Nifti1Image(np.asarray(image.dataobj), OBLIQUE, image.header.as_byteswapped(">"))
    nib.save(image, tmp_path / name)
    volume = assert_equal_to_monai(tmp_path / name)
    assert volume.voxels.dtype == (dtype if dtype in ("u1", "i1", "i2", "u2") else np.float32)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image, nib.Nifti1Pair, nib.Spm2AnalyzeImage, nib.MGHImage])
def test_scaled_integers_and_other_formats_give_the_values_of_monai(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("data_modules.readers.volumes.CHUNK", 64)  # several pieces
    image = kind(voxels(np.float32), np.diag([2.0, 2, 2, 1]))
    if kind is not nib.MGHImage:
        image.set_data_dtype(np.int16)  # nibabel chooses slope and intercept
    ending = {nib.Nifti1Pair: "img", nib.Spm2AnalyzeImage: "img", nib.MGHImage: "mgz"}.get(kind, "nii.gz")
    nib.save(image, tmp_path / f"v.{ending}")
    volume = assert_equal_to_monai(tmp_path / f"v.{ending}")
    assert np.ptp(volume.voxels) > 100


def test_a_header_whose_two_affines_disagree_is_read_as_monai_does(tmp_path):
    image = nib.Nifti1Image(voxels(np.int16), np.eye(4))
    image.set_sform(np.diag([3.0, 3, 3, 1]), code=1)
    image.set_qform(np.diag([2.0, 2, 2, 1]), code=1)
    nib.save(image, tmp_path / "v.nii.gz")
    assert assert_equal_to_monai(tmp_path / "v.nii.gz").affine[0, 0] == 2


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_a_volume_of_a_4d_file_is_chosen_by_its_number(tmp_path, dtype, name):
    array = voxels(dtype, (*SHAPE, 3))
    nib.save(nib.Nifti1Image(array, OBLIQUE), tmp_path / name)
    expected = monai(tmp_path / name).numpy()
    path = str(tmp_path / name)
    third, first, again = read_volumes([f"{path}#2", f"{path}#0", f"{path}#2"])
    np.testing.assert_array_equal(third.voxels, expected[2])
    np.testing.assert_array_equal(first.voxels, expected[0])
    np.testing.assert_array_equal(again.voxels, expected[2])
    assert third.source == f"{path}#2"


def test_a_last_axis_of_one_needs_no_number(tmp_path):
    nib.save(nib.Nifti1Image(voxels(np.int16, (*SHAPE, 1)), OBLIQUE), tmp_path / "v.nii.gz")
    volume = assert_equal_to_monai(tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(read_volume(f"{tmp_path / 'v.nii.gz'}#0").voxels, volume.voxels)


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64, np.uint8])
def test_metaimage_and_nifti_of_one_volume_agree(tmp_path, dtype):
    import SimpleITK as sitk  # noqa: N813

    affine = np.array([[0, -2.0, 0, 4], [-1.0, 0, 0, 5], [0, 0, 3.0, 6], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(voxels(dtype), affine), tmp_path / "v.nii.gz")
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "v.nii.gz")), str(tmp_path / "v.mha"))
    mha, expected = read_volume(tmp_path / "v.mha"), monai(tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(np.asarray(mha.voxels, np.float32), expected[0].numpy())
    np.testing.assert_allclose(mha.affine, expected.affine.numpy(), atol=1e-6)


def test_a_compressed_file_of_several_members_is_read_as_one(tmp_path):
    raw = nib.Nifti1Image(voxels(np.int16), OBLIQUE).to_bytes()
    half = len(raw) // 2
    (tmp_path / "v.nii.gz").write_bytes(gzip.compress(raw[:half]) + gzip.compress(raw[half:]))
    assert_equal_to_monai(tmp_path / "v.nii.gz")


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-40])


def flip_a_bit(path):
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-3] ^= 1
    good = path.read_bytes()
    path.write_bytes(gzip.compress(bytes(content), mtime=0)[:-8] + good[-8:])


def say_more_voxels(path):
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[46:48] = (9).to_bytes(2, "little")
    path.write_bytes(gzip.compress(bytes(content)))


def no_volume(path):
    path.write_bytes(gzip.compress(b"no volume"))


def empty(path):
    path.write_bytes(b"")


def gone(path):
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut_short, r": it is cut off, after \d+ bytes; copy"),
        (flip_a_bit, ": it is damaged within its compressed data; copy"),
        (say_more_voxels, r" \(the file ends before its last voxel\); it is damaged or no volume: copy"),
        (no_volume, ": it is a text file that gzip has packed; copy"),
        (empty, ": it is empty, 0 bytes long; copy"),
        (gone, r" \(No such file or no access: v\.nii\.gz\); it is damaged"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, damage, said):
    nib.save(nib.Nifti1Image(voxels(np.int16), OBLIQUE), tmp_path / "v.nii.gz")
    read_volume(tmp_path / "v.nii.gz")
    damage(tmp_path / "v.nii.gz")
    with pytest.raises(DataError, match=rf"v\.nii\.gz: cannot be read as a volume{said}"):
        read_volume(tmp_path / "v.nii.gz")


@pytest.mark.slow
def test_damage_behind_the_volume_that_was_asked_for_is_noticed(tmp_path):
    array = np.random.default_rng(0).integers(0, 9, (64, 64, 64, 8)).astype(np.int16)
    nib.save(nib.Nifti1Image(array, OBLIQUE), tmp_path / "v.nii.gz")
    read_volume(f"{tmp_path / 'v.nii.gz'}#0")
    flip_a_bit(tmp_path / "v.nii.gz")
    with pytest.raises(
        DataError, match=r"v\.nii\.gz: cannot be read as a volume: it is damaged within its compressed data"
    ):
        read_volume(f"{tmp_path / 'v.nii.gz'}#0")


@pytest.mark.parametrize(
    ("array", "channel", "message"),
    [
        (np.zeros((4, 5), np.int16), "", r"v\.nii: expected one 3D volume, found shape \(4, 5\)"),
        (np.zeros((4, 5, 6, 2), np.int16), "", r"\(4, 5, 6, 2\); choose one in its pattern: 'v\.nii#0' to 'v\.nii#1'"),
        (np.zeros((4, 5, 6, 2), np.int16), "#2", r"v\.nii#2: the file has 2 volumes.*the last is #1"),
        (np.zeros((4, 5, 6), np.int16), "#t1", "expected the number of a volume after '#'"),
        (np.zeros((4, 5, 6), np.complex64), "", "expected one number per voxel, found the type complex64"),
        (np.full((4, 5, 6), np.nan, np.float32), "", r"v\.nii: holds NaN or infinite voxels"),
        (np.full((4, 5, 6), np.inf, np.float64), "", r"v\.nii: holds NaN or infinite voxels"),
    ],
)
def test_what_is_no_volume_is_named(tmp_path, array, channel, message):
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "v.nii")
    with pytest.raises(DataError, match=message):
        read_volume(f"{tmp_path / 'v.nii'}{channel}")


@pytest.mark.parametrize(
    ("change", "away"),
    [
        (lambda affine: affine.__setitem__((slice(3), 3), [0.3, 0, 0.4]), 0.5),  # shifted
        (lambda affine: affine.__setitem__((0, 0), 1.001), 0.1),  # wider: 0.001 mm in each of 100 steps
        (lambda affine: affine.__setitem__((1, 0), 0.001), 0.1),  # sheared
    ],
    ids=["shift", "spacing", "shear"],
)
def test_grids_may_differ_by_the_tolerance_at_their_farthest_corner(change, away):
    moved = np.eye(4)
    change(moved)
    reference = Volume(np.zeros((101, 3, 4)), np.eye(4), "folder/first")
    check_grid(Volume(reference.voxels, moved, "other"), reference, 1.001 * away)
    with pytest.raises(DataError, match=rf"other: its affine .* than first, up to {away} mm away; .*affine_tolerance"):
        check_grid(Volume(reference.voxels, moved, "other"), reference, 0.999 * away)


def test_volumes_of_other_shapes_or_spacings_are_refused():
    reference = Volume(np.zeros((2, 3, 4)), np.eye(4), "first")
    with pytest.raises(DataError, match=r"other: \(2, 3, 5\) voxels, but first has \(2, 3, 4\); .*resample"):
        check_grid(Volume(np.zeros((2, 3, 5)), np.eye(4), "other"), reference, 9)
    with pytest.raises(DataError, match=r"its voxels are 1×1×2 mm, those of first 1×1×1 mm; .*resample"):
        check_grid(Volume(reference.voxels, np.diag([1.0, 1, 2, 1]), "other"), reference, 2)
