import gzip

import nibabel as nib
import numpy as np
import pytest

from data_modules.readers.gzipped import decompressed, open_gzip
from data_modules.readers.volumes import read_volume

CONTENT = np.random.default_rng(0).integers(0, 50, 5000, np.uint8).tobytes()


@pytest.mark.parametrize("size", [1, len(CONTENT) // 2, len(CONTENT)])
def test_a_sound_file_of_at_least_that_size_is_decompressed_whole(tmp_path, size):
    (tmp_path / "f.gz").write_bytes(gzip.compress(CONTENT))
    assert decompressed(tmp_path / "f.gz", size) == CONTENT


@pytest.mark.parametrize(
    ("packed", "size"),
    [
        (gzip.compress(CONTENT), len(CONTENT) + 1),
        (gzip.compress(CONTENT), 1 << 32),
        (gzip.compress(CONTENT) + gzip.compress(CONTENT), 2 * len(CONTENT)),
        (gzip.compress(CONTENT) + gzip.compress(CONTENT[:100]), len(CONTENT)),
        (gzip.compress(CONTENT[:100]) + gzip.compress(CONTENT), len(CONTENT)),
        (gzip.compress(bytes(1 << 17)), 1),
        (gzip.compress(CONTENT)[:-8] + bytes(4) + gzip.compress(CONTENT)[-4:], len(CONTENT)),
        (gzip.compress(CONTENT)[:-100], len(CONTENT)),
        (b"", len(CONTENT)),
        (CONTENT[:-4] + len(CONTENT).to_bytes(4, "little"), len(CONTENT)),
    ],
    ids=[
        "shorter",
        "4 GiB",
        "two members",
        "a short second member",
        "a short first member",
        "much longer",
        "checksum",
        "cut",
        "empty",
        "no gzip",
    ],
)
def test_what_is_not_a_single_sound_member_of_that_size_is_left_to_the_stream(tmp_path, packed, size):
    (tmp_path / "f.gz").write_bytes(packed)
    assert decompressed(tmp_path / "f.gz", size) is None


def test_a_file_of_several_members_is_read_as_one(tmp_path):
    voxels = np.random.default_rng(0).integers(-99, 99, (5, 6, 7), np.int16)
    raw = nib.Nifti1Image(voxels, np.eye(4)).to_bytes()
    half = len(raw) // 2
    (tmp_path / "v.nii.gz").write_bytes(gzip.compress(raw[:half]) + gzip.compress(raw[half:]))
    np.testing.assert_array_equal(read_volume(tmp_path / "v.nii.gz").voxels, voxels)
    with open_gzip(tmp_path / "v.nii.gz") as stream:
        assert stream.read() == raw
