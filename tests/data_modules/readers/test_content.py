"""A file that is not what its name says: what it is, and the remedy; and names that are unusual but right."""

import gzip
import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from data_modules.base.errors import DataError
from data_modules.readers.headers import header_size
from data_modules.readers.pictures import read_picture
from data_modules.readers.volumes import read_volume

VOXELS = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
NIFTI = nib.Nifti1Image(VOXELS, np.diag([-1.0, 1, 1, 1])).to_bytes()
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
PAGE = b"\n<!DOCTYPE html><html><body>Sign in</body></html>"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.nii.gz", POINTER, "it is a pointer of git-lfs in place of the file; run git lfs pull"),
        ("a.nii", POINTER, "it is a pointer of git-lfs"),
        ("a.nii.gz", PAGE, "it is an HTML page, such as a server gives in place of a file; copy it again"),
        ("a.nii.gz", b"<?xml version='1.0'?><Error/>", "it is an XML file"),
        ("a.nii.gz", NIFTI, "it is a NIfTI file that is not compressed; call it a.nii"),
        ("a.nii", gzip.compress(NIFTI), "it is a file packed by gzip with another ending; call it a.nii.gz"),
        ("a.png", gzip.compress(NIFTI), "it is a file packed by gzip with another ending; unpack it with gunzip"),
        ("a.nii.gz", gzip.compress(b"\x89PNG\r\n" + bytes(400)), "it is a PNG picture that gzip has packed"),
        ("a.nii.gz", gzip.compress(gzip.compress(NIFTI)), "it is a file packed by gzip that gzip has packed"),
        ("a.nii.gz", gzip.compress(NIFTI)[:-30], "it is cut off, after"),
        ("a.nii.gz", gzip.compress(NIFTI)[:40], "it is cut off, after 40 bytes"),
        ("a.nii.gz", b"PK\x03\x04" + bytes(40), "it is a zip archive"),
        ("a.nii.gz", bytes(range(200)), "it is not compressed by gzip, as its ending says"),
        ("a.nii.gz", b"", "it is empty, 0 bytes long"),
        ("a.nii", bytes(128) + b"DICM" + bytes(99), "it is a DICOM file"),
        ("a.nii", b"\x89PNG\r\n" + bytes(400), "it is a PNG picture"),
        ("a.mha", POINTER, "it is a pointer of git-lfs"),
        ("a.png", POINTER, "it is a pointer of git-lfs"),
        ("a.png", PAGE, "it is an HTML page"),
        ("a.png", b"", "it is empty"),
        ("a.png", b"%PDF-1.4" + bytes(40), "it is a PDF file"),
        ("a.jpg", NIFTI, "it is a NIfTI file; give a picture (PNG, JPEG, TIFF), or copy it again if it should be one"),
        ("a.nii.gz.png", b"# Read me", "it is a text file; give a picture (PNG, JPEG, TIFF), or"),
        ("README.md", b"# Read me", "it is a text file; give a volume (NIfTI, MetaImage), or"),
    ],
    ids=lambda value: value if isinstance(value, str) else "bytes",  # which hold the time, and differ by process
)
def test_what_a_file_is_in_place_of_what_its_name_says(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    picture = name.endswith(("png", "jpg"))
    with pytest.raises(
        DataError, match=rf"{name}: cannot be read as a {'picture' if picture else 'volume'}: "
    ) as caught:
        read_picture(tmp_path / name, color=True) if picture else read_volume(tmp_path / name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_packed_volume_is_no_picture(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(NIFTI))
    with pytest.raises(DataError, match=r"a\.nii\.gz: cannot be read as a picture: it is a NIfTI file; give a picture"):
        read_picture(tmp_path / "a.nii.gz", color=True)


def test_a_folder_called_like_a_file_is_named(tmp_path):
    (tmp_path / "a.nii.gz").mkdir()
    with pytest.raises(DataError, match=r"a\.nii\.gz: cannot be read as a volume: it is a folder"):
        read_volume(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("name", ["C# proj/s05 #2/a.nii.gz", "a#1.nii.gz", "A.NII.GZ", "A.Nii.Gz", "A.NII", "#/A.nIi"])
def test_a_volume_may_have_a_mark_in_its_path_and_capitals_in_its_ending(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(NIFTI) if name.lower().endswith("gz") else NIFTI)
    for source in (path, f"{path}#0"):
        np.testing.assert_array_equal(read_volume(source).voxels, VOXELS[::-1])
        assert header_size(source) == "3×4×5 voxels of 1×1×1 mm"


def test_slices_and_metaimage_files_may_too(tmp_path):
    folder = tmp_path / "C# proj"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(np.full((4, 3), number, np.uint8)).save(folder / f"a_{number}.tif")
    np.testing.assert_array_equal(read_volume(folder / "a_{slice}.tif").voxels[0, 0], [0, 1])
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS.T.copy()), str(folder / "a.mha"))
    shutil.move(folder / "a.mha", folder / "A.MHA")
    assert read_volume(folder / "A.MHA").voxels.shape == VOXELS.shape
