import numpy as np
import pytest
import torch
from monai.transforms import Resized, Spacingd
from scipy.spatial.transform import Rotation

import data_modules.transforms.preprocess
import data_modules.transforms.resample
from data_modules.transforms.preprocess import Preprocess
from data_modules.transforms.scan import Scan

OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", [3, -7, 12], degrees=True).as_matrix() @ np.diag([0.9, 0.95, 1.2])
OBLIQUE[:3, 3] = [-90, -126, -72]


def scan(affine, shape=(19, 16, 13)):
    """Three modalities, one of them mirrored in memory, and a dense label and brain; nothing of it is smooth."""
    rng = np.random.default_rng(0)
    images = [rng.normal(0, 50, shape).astype(dtype) for dtype in (np.float32, np.int16, np.float32)]
    label = rng.integers(0, 3, shape).astype(np.uint8)
    return Scan([images[0], images[1][::-1], images[2]], affine, ["a", "b", "c"], label, rng.random(shape) < 0.7)


@pytest.mark.parametrize(
    ("affine", "arguments"),
    [
        (np.diag([1.0, 1.2, 0.9, 1]), {"pixdim": [1.5, 1.5, 1.5]}),
        (np.eye(4), {"pixdim": [1.5, 1.5, 1.5]}),  # every other place lies half-way between two voxels
        (np.eye(4), {"pixdim": [1.5, 1.5, 1.5], "align_corners": True}),
        (np.diag([0.9, 0.9, 3.0, 1]), {"pixdim": [1, 1, 1]}),
        (OBLIQUE, {"pixdim": [1.5, 1.5, -1]}),
        (OBLIQUE.astype(np.float32).astype(np.float64), {"pixdim": [2, 2, 2], "diagonal": True}),
        (np.diag([1.0, 1, 1.0002, 1]), {"pixdim": [1, 1, 1]}),  # too little for MONAI to do anything
        (np.eye(4), {"pixdim": [2, 2, 2], "dtype": np.float32}),  # MONAI's own, like the next two
        (np.eye(4), {"pixdim": [2, 2, 2], "padding_mode": "zeros"}),
        (np.eye(4), {"pixdim": [2, 2, 2], "mode": [3, "nearest", "nearest"]}),
        (np.eye(4), {"pixdim": [2, 2, 2], "recompute_affine": True}),
    ],
)
def test_slabs_are_what_monai_makes_of_the_whole(affine, arguments, monkeypatch):
    monkeypatch.setattr(data_modules.transforms.resample, "SLAB", 300)
    monkeypatch.setattr(data_modules.transforms.preprocess, "_keep_regions", lambda *given: None)
    how = {"mode": ["bilinear", "nearest", "nearest"], **arguments}
    expected = Spacingd(["image", "label", "brain"], **how)(scan(affine).tensors())
    made = Preprocess({"spacing": {"use": "Spacingd", **arguments}})(scan(affine))
    assert len(made.image) == 3
    for own, channel in zip(made.image, expected["image"], strict=True):
        assert own.dtype == np.float32
        np.testing.assert_allclose(own, channel.numpy(), rtol=2**-23, atol=1e-5)
    np.testing.assert_array_equal(made.label, expected["label"][0].numpy())
    np.testing.assert_array_equal(made.brain, expected["brain"][0].numpy() > 0.5)
    np.testing.assert_allclose(made.affine, expected["image"].affine.numpy(), rtol=1e-14, atol=1e-12)


def test_resampling_never_holds_a_whole_grid(monkeypatch):
    seen, spacing = [], Spacingd.__call__

    def counted(self, data, lazy=None):
        seen.append((lazy, [tensor.untyped_storage().nbytes() for tensor in data.values()]))
        return spacing(self, data, lazy)

    monkeypatch.setattr(Spacingd, "__call__", counted)
    monkeypatch.setattr(torch.nn.functional, "grid_sample", None)
    given = scan(np.eye(4), (40, 40, 40))
    Preprocess({"spacing": {"use": "Spacingd", "pixdim": [0.9, 0.9, 0.9]}})(given)
    assert seen == [(True, [4, 4, 4])]
    assert given.image == []


def test_other_ways_to_resample_take_one_modality_at_a_time(monkeypatch):
    given, seen = scan(np.eye(4)), []
    given.label = given.brain = None
    monkeypatch.setattr(Resized, "__call__", lambda self, data: seen.append(data["image"].shape) or dict(data))
    Preprocess({"size": {"use": "Resized", "spatial_size": [9, 9, 9]}})(given)
    assert seen == [(1, 19, 16, 13)] * 3
