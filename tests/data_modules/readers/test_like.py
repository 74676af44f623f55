"""Arrays written as their source lies: axes, header, and the place of each voxel."""

import json

import nibabel as nib
import numpy as np
import pytest

from data_modules.base.errors import DataError
from data_modules.readers.like import read_source
from data_modules.readers.volumes import read_volume
from tests.helpers.data.scans import oblique, write_scan


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_a_volume_read_and_written_is_the_same_in_any_orientation(tmp_path, axes, flips):
    values = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    affine = oblique((1.0, 2.0, 3.0), 8.0)[:, [*axes, 3]] * [*flips, 1]
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "a.nii.gz")
    source, volume = read_source(str(tmp_path / "a.nii.gz")), read_volume(tmp_path / "a.nii.gz")
    assert source.ras_shape == volume.voxels.shape
    np.testing.assert_allclose(source.ras_affine, volume.affine)
    (tmp_path / "b.nii.gz").write_bytes(source.encoded(volume.voxels))
    back = nib.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(back.get_fdata(dtype=np.float32), values)
    np.testing.assert_array_equal(back.affine, nib.load(tmp_path / "a.nii.gz").affine)


def test_the_header_is_the_sources_without_its_scale_its_range_and_its_extensions(tmp_path):
    write_scan(tmp_path / "a.nii.gz", np.ones((4, 5, 6)) * 20, oblique((1.0, 1.5, 2.0)))
    image = nib.load(tmp_path / "a.nii.gz")
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"patient"))
    image.header["cal_max"] = 90
    nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj), None, image.header), tmp_path / "a.nii.gz")
    source = read_source(str(tmp_path / "a.nii.gz"))
    (tmp_path / "b.nii.gz").write_bytes(source.encoded(np.zeros(source.ras_shape, np.float32)))
    one, two = (nib.load(tmp_path / name).header for name in ("a.nii.gz", "b.nii.gz"))
    for key in ("sform_code", "qform_code", "xyzt_units", "pixdim", "srow_x", "srow_y", "srow_z", "quatern_c", "dim"):
        np.testing.assert_array_equal(one[key], two[key])
    assert (int(two["sform_code"]), int(two["qform_code"])) == (1, 2)
    assert (two.get_data_dtype(), float(two["cal_max"]), len(two.extensions)) == (np.float32, 0, 0)
    scale = nib.load(tmp_path / "b.nii.gz").dataobj
    assert (scale.slope, scale.inter) == (1, 0)


def test_axes_of_length_one_stay_and_a_frame_of_several_is_one_volume(tmp_path):
    values = np.random.default_rng(1).normal(size=(4, 5, 6, 1)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "one.nii.gz")
    nib.save(nib.Nifti1Image(values.repeat(2, -1), np.eye(4)), tmp_path / "two.nii.gz")
    assert read_source(str(tmp_path / "one.nii.gz")).shape == (4, 5, 6, 1)
    assert read_source(f"{tmp_path / 'two.nii.gz'}#1").shape == (4, 5, 6)


def test_of_analyze_and_of_a_pair_of_files_the_place_is_kept(tmp_path):
    affine = np.diag([-2.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = 10, -20, 5
    for kind, name in ((nib.Nifti1Pair, "pair.img"), (nib.Spm2AnalyzeImage, "spm.img"), (nib.Nifti2Image, "two.nii")):
        nib.save(kind(np.zeros((4, 5, 6), np.float32), affine), tmp_path / name)
        source = read_source(str(tmp_path / name))
        (tmp_path / "b.nii.gz").write_bytes(source.encoded(np.ones(source.ras_shape, np.uint8)))
        back = nib.load(tmp_path / "b.nii.gz")
        np.testing.assert_allclose(back.affine, nib.load(tmp_path / name).affine)
        assert (back.get_fdata() == 1).all()


def test_of_metaimage_the_place_is_kept_in_mm(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6), np.int16))
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetOrigin((5.0, 6.0, 7.0))
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    source, volume = read_source(str(tmp_path / "a.mha")), read_volume(tmp_path / "a.mha")
    np.testing.assert_allclose(source.ras_affine, volume.affine)
    (tmp_path / "b.nii.gz").write_bytes(source.encoded(volume.voxels))
    header = nib.load(tmp_path / "b.nii.gz").header
    assert (header.get_data_shape(), header.get_xyzt_units()[0]) == ((6, 5, 4), "mm")
    np.testing.assert_allclose(header.get_best_affine() @ [0, 0, 0, 1], [-5, -6, 7, 1])


def test_a_file_that_is_no_volume_is_named(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"no volume")
    with pytest.raises(DataError, match=r"a\.nii\.gz: cannot be read as a volume: it is a text file"):
        read_source(str(tmp_path / "a.nii.gz"))


def test_of_an_mgh_file_shape_and_place_are_kept_and_json_can_hold_them(tmp_path):
    for name in ("a.mgz", "b.mgh"):
        nib.save(nib.MGHImage(np.zeros((4, 5, 6), np.float32), oblique((1.0, 1.5, 2.0))), tmp_path / name)
        source = read_source(str(tmp_path / name))
        assert json.loads(json.dumps(source.shape)) == [4, 5, 6]
        (tmp_path / "c.nii.gz").write_bytes(source.encoded(np.ones(source.ras_shape, np.uint8)))
        np.testing.assert_allclose(nib.load(tmp_path / "c.nii.gz").affine, oblique((1.0, 1.5, 2.0)), atol=1e-5)


def test_a_hash_in_the_name_of_a_file_is_no_frame(tmp_path):
    write_scan(tmp_path / "v#1.nii.gz", np.ones((4, 5, 6)) * 20, np.eye(4))
    assert read_volume(tmp_path / "v#1.nii.gz").voxels.shape == (4, 5, 6)
    assert read_source(str(tmp_path / "v#1.nii.gz")).shape == (4, 5, 6)
