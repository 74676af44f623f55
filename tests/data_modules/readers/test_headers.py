"""Affines that say nothing are refused alike by all who read a header; those that leave a doubt say so."""

import nibabel as nib
import numpy as np
import pytest

from data_modules.base.errors import DataError
from data_modules.readers.headers import header_size
from data_modules.readers.like import read_source
from data_modules.readers.volumes import read_volume

VOXELS = np.zeros((3, 4, 5), np.int16)
LAS = np.diag([-1.0, 1, 1, 1])


def written(path, sform=None, qform=None):
    """A NIfTI file with these affines: an unset one has the code 0; nibabel would not write all of them."""
    header = nib.Nifti1Image(VOXELS, LAS).header
    header.set_sform(None, 0)
    header.set_qform(qform, 1 if qform is not None else 0)
    if sform is not None:
        header["sform_code"] = 1
        for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
            header[name] = sform[row]
    header["vox_offset"], header["magic"] = 352, b"n+1"
    path.write_bytes(header.binaryblock + bytes(4) + VOXELS.tobytes())
    return path


@pytest.mark.parametrize(
    "sform",
    [
        np.diag([1.0, 1, 0, 1]),
        np.full((4, 4), np.nan),
        np.diag([1.0, np.inf, 1, 1]),
        np.array([[1.0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        np.zeros((4, 4)),
    ],
    ids=["null axis", "nan", "inf", "mixed axes", "zero"],
)
def test_an_affine_without_places_is_refused_by_every_reader_of_headers(tmp_path, sform):
    path = written(tmp_path / "a.nii", sform)
    for read in (read_volume, header_size, read_source):
        with pytest.raises(
            DataError, match=r"a\.nii: its affine does not say where its voxels lie \(.*\); repair its header"
        ):
            read(str(path))


def test_a_null_axis_beside_a_whole_qform_is_read_by_that_one(tmp_path):
    volume = read_volume(written(tmp_path / "a.nii", np.full((4, 4), np.nan), LAS))
    np.testing.assert_allclose(np.abs(volume.affine[:3, :3]), np.eye(3))
    assert volume.doubt == "its sform does not say where its voxels lie, and its qform is read"


@pytest.mark.parametrize(
    ("sform", "qform", "doubt"),
    [
        (LAS, LAS, ""),
        (LAS, None, ""),
        (None, LAS, ""),
        (LAS, np.diag([-1.0, 1, 1, 1]) + np.array([0, 0, 0, 0.01] * 3 + [0] * 4).reshape(4, 4), ""),
        (None, None, "both sform_code and qform_code are 0"),
        (LAS, np.diag([1.0, 1, 1, 1]), "its sform and its qform put a voxel up to 4 mm apart, and say LAS and RAS"),
        (LAS, LAS + np.eye(4, 4, 3) * 7, "put a voxel up to 7 mm apart"),
    ],
)
def test_what_a_header_leaves_open_is_said(tmp_path, sform, qform, doubt):
    said = read_volume(written(tmp_path / "a.nii", sform, qform)).doubt
    assert (doubt in said) if doubt else not said
