import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from scipy import ndimage

from data_modules.base.config import default_preprocess
from data_modules.base.errors import DataError
from data_modules.transforms.brain import BrainMaskd, CropToBraind, HeadMaskd, ScaleInBraind, bounding_box, otsu, select
from data_modules.transforms.percentiles import percentiles
from data_modules.transforms.preprocess import Preprocess
from data_modules.transforms.scan import Scan, blank, copied

AFFINE = np.array([[1.0, 0, 0, -5], [0, 2.0, 0, 7], [0, 0, 3.0, 1], [0, 0, 0, 1]])


def head(seed=0, dtype=np.int16, channels=1):
    """A scan with an ellipsoid of noise, background 0 and a lesion of 3×3×2 voxels; stored against two of its axes."""
    rng = np.random.default_rng(seed)
    shape = (14, 18, 12)
    grid = np.stack(np.meshgrid(*(np.linspace(-1.3, 1.3, n) for n in shape), indexing="ij"))
    inside = (grid**2).sum(0) < 1
    image = [(inside * rng.integers(50, 150, shape)).astype(dtype, order="F")[::-1, ::-1] for _ in range(channels)]
    label = np.zeros(shape, np.uint8)
    label[6:9, 8:11, 5:7] = 1
    return Scan(image, AFFINE.copy(), [f"channel{index}" for index in range(channels)], label)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32])
@pytest.mark.parametrize("count", [1, 2, 3, 1000, 70_000, 300_000])
@pytest.mark.parametrize("q", [[1, 99], [0, 100], [50, 50.5], [0.01, 99.99], [33, 66.6]])
def test_percentiles_are_those_of_numpy(dtype, count, q):
    rng = np.random.default_rng(count)
    for values in (rng.gamma(2, 20, count), np.sort(rng.normal(100, 30, count)), np.full(count, 7)):
        values = values.clip(0, 250).astype(dtype)
        assert percentiles(values, q) == np.percentile(values.astype(np.float32), q).tolist()


def test_percentiles_do_not_depend_on_a_sample_that_misleads():
    values = np.random.default_rng(0).random(200_000).astype(np.float32)
    values[::24] = -1  # all of the sample
    assert percentiles(values, [1, 30, 99]) == np.percentile(values, [1, 30, 99]).tolist()
    assert percentiles(-values, [1, 30, 99]) == np.percentile(-values, [1, 30, 99]).tolist()


def test_views_are_copied_and_read_in_the_order_of_memory():
    array = np.arange(60).reshape(3, 4, 5, order="F")[::-1, :, ::-1].transpose(2, 0, 1)
    assert blank(array, np.float32).shape == array.shape
    assert [np.sign(stride) for stride in blank(array, bool).strides] == [np.sign(stride) for stride in array.strides]
    np.testing.assert_array_equal(copied(array), array)
    np.testing.assert_array_equal(select(array, array > 20), np.arange(21, 60))
    box = bounding_box(array == 41)
    assert [part.start for part in box] == np.argwhere(array == 41)[0].tolist()
    assert [part.stop - part.start for part in box] == [1, 1, 1]
    assert bounding_box(array < 0) is None


@pytest.mark.parametrize("margin", [0, 2, 99])
def test_the_box_holds_what_is_inside_and_its_margin(margin):
    inside = np.zeros((20, 21, 22), bool)
    inside[3:6, 7:15, 2:22] = np.random.default_rng(0).random((3, 8, 20)) > 0.5
    inside[3, 7, 2] = inside[5, 14, 21] = True
    expected = tuple(
        slice(max(start - margin, 0), min(stop + margin, length))
        for start, stop, length in zip((3, 7, 2), (6, 15, 22), inside.shape, strict=True)
    )
    assert bounding_box(inside, margin) == expected
    flipped = bounding_box(inside[::-1], margin)[0]
    assert (flipped.start, flipped.stop) == (20 - expected[0].stop, 20 - expected[0].start)


def test_the_brain_is_what_is_not_zero_in_some_modality_and_what_is_anomalous():
    scan = head(channels=2)
    scan.image[0][7, 9, 6] = 0
    scan.image[1][1, 9, 6] = 3
    scan.label[0, 0, 0], scan.label[0, 0, 1] = 1, 2
    expected = (scan.image[0] != 0) | (scan.image[1] != 0) | (scan.label == 1)
    BrainMaskd().apply(scan)
    np.testing.assert_array_equal(scan.brain, expected)
    assert scan.brain[0, 0, 0]
    assert not scan.brain[0, 0, 1]


def test_a_given_mask_is_the_brain_and_strip_sets_what_is_outside_to_zero():
    scan = head()
    scan.brain = np.zeros(scan.shape, bool)
    scan.brain[5:9, 5:9, 5:9] = True
    expected = scan.brain | (scan.label == 1)
    BrainMaskd().apply(scan)
    np.testing.assert_array_equal(scan.brain, expected)
    assert scan.image[0][~expected].any()
    before = scan.image[0].copy()
    BrainMaskd(strip=True).apply(scan)
    np.testing.assert_array_equal(scan.image[0], np.where(expected, before, 0))


def test_a_crop_moves_the_affine_with_the_voxels():
    scan, whole = head(), head()
    CropToBraind().apply(scan)
    first = np.argwhere(whole.image[0] != 0).min(axis=0)
    np.testing.assert_array_equal(scan.affine @ [0, 0, 0, 1], AFFINE @ [*first, 1])
    np.testing.assert_array_equal(scan.image[0][scan.image[0] != 0], whole.image[0][whole.image[0] != 0])
    extent = np.ptp(np.argwhere(whole.image[0] != 0), axis=0) + 1
    assert scan.shape == scan.label.shape == tuple(extent)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_percentile_scaling_is_the_formula(dtype):
    scan = head(dtype=dtype)
    BrainMaskd().apply(scan)
    values = scan.image[0].astype(np.float64)
    low, high = np.percentile(values[scan.brain], [10, 90])
    expected = np.clip((values - low) / (high - low), 0, 0.8) * scan.brain
    ScaleInBraind(percentiles=[10, 90], clip=0.8).apply(scan)
    scan.settle()
    np.testing.assert_allclose(scan.image[0], expected, atol=1e-6)
    assert scan.image[0].dtype == np.float32
    assert (scan.image[0] == np.float32(0.8)).any()


@pytest.mark.parametrize(("clip", "low", "high"), [(None, -np.inf, np.inf), (1.5, -1.5, 1.5), ([-1, 2], -1, 2)])
def test_zscore_scaling_is_the_formula(clip, low, high):
    scan = head()
    BrainMaskd().apply(scan)
    values = scan.image[0].astype(np.float64)
    inside = values[scan.brain]
    expected = ((values - inside.mean()) / inside.std()).clip(low, high) * scan.brain
    ScaleInBraind(method="zscore", clip=clip).apply(scan)
    scan.settle()
    np.testing.assert_allclose(scan.image[0], expected, atol=1e-5)


def test_scaling_twice_scales_what_was_scaled():
    once, twice = head(), head()
    for scan, number in ((once, 1), (twice, 2)):
        BrainMaskd().apply(scan)
        for _ in range(number):
            ScaleInBraind(percentiles=[0, 100], clip=None).apply(scan)
        scan.settle()
    np.testing.assert_allclose(once.image[0][once.brain], twice.image[0][twice.brain], atol=1e-6)


def test_ours_work_in_a_compose_of_monai():
    scan, data = head(channels=2), {**head(channels=2).tensors(), "subject": "a"}
    steps = [BrainMaskd(), CropToBraind(margin=1), ScaleInBraind()]
    result = Compose(steps)(data)
    for step in steps:
        step.apply(scan)
    expected = scan.tensors()
    assert result["subject"] == "a"
    for key, tensor in expected.items():
        assert isinstance(result[key], MetaTensor)
        assert torch.equal(result[key], tensor), key
        assert torch.equal(result[key].affine, tensor.affine)
    assert [result[key].dtype for key in ("image", "label", "brain")] == [torch.float32, torch.uint8, torch.bool]


def test_an_empty_volume_and_one_of_one_intensity_are_named():
    empty, flat = head(), head()
    empty.image[0] = empty.image[0] * 0
    with pytest.raises(DataError, match=r"channel0: no brain voxel \(all background\)"):
        BrainMaskd().apply(empty)
    flat.image[0] = (flat.image[0] > 0).astype(np.int16) * 7
    BrainMaskd().apply(flat)
    flat.brain &= flat.image[0] > 0
    with pytest.raises(DataError, match="channel0: the brain has the one intensity 7"):
        ScaleInBraind().apply(flat)


def test_the_default_is_that_of_the_config_and_its_order_counts():
    steps = Preprocess(default_preprocess()).steps
    assert [step.use for step in steps] == ["BrainMaskd", "CropToBraind", "ScaleInBraind"]
    assert json.dumps(default_preprocess())


SPACING = {"use": "Spacingd", "pixdim": [2, 2, 2]}


def test_spacing_resamples_the_image_linearly_and_the_masks_to_the_nearest():
    given = head(dtype=np.float32)
    given.label *= 2
    scan = Preprocess({"brain": {"use": "BrainMaskd"}, "spacing": SPACING})(given)
    assert nib.affines.voxel_sizes(scan.affine).tolist() == [2, 2, 2]
    whole = head(dtype=np.float32)
    np.testing.assert_allclose(scan.affine[:3, 3], whole.affine[:3, 3])
    coordinates = np.indices(scan.shape).reshape(3, -1)
    at = (np.linalg.inv(whole.affine) @ scan.affine @ np.vstack([coordinates, np.ones(coordinates.shape[1])]))[:3]
    linear = ndimage.map_coordinates(whole.image[0], at, order=1, mode="nearest").reshape(scan.shape)
    np.testing.assert_allclose(scan.image[0], linear, atol=1e-3)
    assert set(np.unique(scan.label)) == {0, 2}
    assert scan.brain.dtype == bool


@pytest.mark.parametrize("value", [1, 2])
def test_a_small_lesion_survives_a_coarse_grid(value):
    scan = head()
    scan.label[:] = 0
    scan.label[7, 4, 6] = scan.label[7, 14, 5] = value
    steps = {"brain": {"use": "BrainMaskd"}, "spacing": {"use": "Spacingd", "pixdim": [5, 5, 5]}}
    after = Preprocess(steps)(scan)
    regions, count = ndimage.label(after.label == value, np.ones((3, 3, 3)))
    assert count == 2
    middles = np.array(ndimage.center_of_mass(after.label == value, regions, [1, 2]))
    found = middles @ after.affine[:3, :3].T + after.affine[:3, 3]
    wanted = np.array([[7, 4, 6], [7, 14, 5]]) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    assert np.abs(found - wanted).max() <= 5
    assert value == 2 or after.brain[after.label == 1].all()


def test_a_lesion_that_a_crop_leaves_out_stays_out():
    scan = head()
    scan.label[:] = 0
    scan.label[4, 9, 6] = 1
    after = Preprocess({"crop": {"use": "SpatialCropd", "roi_start": [6, 0, 0], "roi_end": [14, 18, 12]}})(scan)
    assert after.shape == (8, 18, 12)
    assert not after.label.any()


def test_intensity_transforms_of_monai_change_the_image_alone():
    scan = Preprocess({"brain": {"use": "BrainMaskd"}, "shift": {"use": "ShiftIntensityd", "offset": 5}})(head())
    np.testing.assert_array_equal(scan.image[0], head().image[0] + 5)
    np.testing.assert_array_equal(scan.label, head().label)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"use": "Spacing", "pixdim": [1, 1, 1]}, r"preprocess\.x\.use=Spacing: no such.*did you mean Spacingd\?"),
        ({"use": "ScaleInBrain"}, r"preprocess\.x\.use=ScaleInBrain: no such.*did you mean ScaleInBraind\?"),
        ({"use": "MapTransform"}, r"preprocess\.x\.use=MapTransform"),
        ({"percentiles": [1, 2]}, r"preprocess\.x=.*expected \{use: ClassName"),
        ("Spacingd", r"preprocess\.x=Spacingd: expected"),
        ({"use": "ScaleInBraind", "percentile": [1, 2]}, r"preprocess\.x\.percentile: .*did you mean percentiles\?"),
        ({"use": "ScaleInBraind", "percentiles": [99, 1]}, r"preprocess\.x: .*percentiles=\[99, 1\]: expected two"),
        ({"use": "ScaleInBraind", "percentiles": [1]}, r"percentiles=\[1\]: expected two, the lower first"),
        ({"use": "ScaleInBraind", "clip": 0}, r"clip=\[0\.0, 0\]: expected a number above 0"),
        ({"use": "ScaleInBraind", "method": "zscor"}, "method=zscor: expected percentile or zscore"),
        ({"use": "CropToBraind", "margin": -1}, "margin=-1: expected 0 or more voxels"),
        ({"use": "Spacingd", "pixdm": [1, 1, 1]}, r"preprocess\.x\.pixdm: .*did you mean pixdim\?"),
        ({"use": "Spacingd"}, r"preprocess\.x: Spacingd refuses its arguments \(.*pixdim"),
        ({"use": "Spacingd", "pixdim": [1, 1, 1], "keys": ["imge"]}, r"preprocess\.x\.keys: there is no imge"),
        ({"use": "CastToTyped"}, r"preprocess\.x: say which of image, label, brain it changes"),
        ({"use": "RandFlipd"}, r"preprocess\.x: RandFlipd is random; put it in dataset\.augment"),
    ],
)
def test_a_wrong_entry_is_named(entry, message):
    with pytest.raises(DataError, match=message):
        Preprocess({"x": entry, "gone": None})


def test_a_transform_that_fails_or_separates_the_grids_is_named():
    with pytest.raises(
        DataError, match=r"channel0: dataset\.preprocess\.x \(Resized\) failed: .+; change its arguments"
    ):
        Preprocess({"x": {"use": "Resized", "spatial_size": [5, 5, 5, 5]}})(head())
    entry = {"use": "SpatialCropd", "roi_start": [2, 2, 2], "roi_end": [9, 9, 9], "keys": "image"}
    with pytest.raises(DataError, match=r"dataset\.preprocess\.x leaves the label with \(14, 18, 12\) voxels"):
        Preprocess({"x": entry})(head())
    with pytest.raises(DataError, match=r"dataset\.preprocess\.x makes NaN"):
        Preprocess({"x": {"use": "NormalizeIntensityd", "divisor": float("nan")}})(head())


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"use": "Orientationd", "axcodes": "LPS", "labels": None}, r"\(Orientationd\) leaves the image .* LPS"),
        ({"use": "Flipd", "spatial_axis": 0}, r"\(Flipd\) leaves the image in the orientation LAS"),
        ({"use": "Flipd", "spatial_axis": 1, "keys": ["label"]}, r"\(Flipd\) leaves the label in the orientation RPS"),
        ({"use": "Rotate90d", "spatial_axes": [0, 1]}, r"\(Rotate90d\) leaves the image in the orientation"),
    ],
)
def test_a_step_that_turns_or_mirrors_the_volume_is_refused(entry, message):
    with pytest.raises(DataError, match=r"channel0: dataset\.preprocess\.x " + message):
        Preprocess({"x": entry})(head())


def test_a_label_may_become_a_mask():
    scan = Preprocess({"x": {"use": "LabelToMaskd", "keys": ["label"], "select_labels": [1]}})(head())
    np.testing.assert_array_equal(scan.label, head().label)
    assert scan.label.dtype == np.uint8


def test_the_head_is_found_in_noise_less_its_border_with_what_is_anomalous():
    x, y = np.mgrid[:60, :60] - 30
    radius = np.hypot(x, y)
    slices = np.random.default_rng(0).integers(0, 8, (60, 60, 2)).astype(np.uint8)
    slices[radius < 20] = 100
    slices[(radius < 8)] = 2  # a dark ventricle inside belongs to it
    label = np.zeros(slices.shape, np.uint8)
    label[30, 12, 0] = 1  # in the border
    scan = Scan(image=[slices], affine=np.diag([2.0, 2.0, 5.0, 1.0]), sources=["a"], label=label)
    HeadMaskd(border=10.0).apply(scan)
    assert scan.brain is not None
    assert scan.brain[radius < 14].all()
    assert not scan.brain[radius > 18][:, 1].any()
    assert scan.brain[30, 12, 0]
    assert not scan.brain[30, 12, 1]


def test_otsus_threshold_divides_two_heaps():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(10, 2, 5000), rng.normal(50, 4, 2000)])
    assert 16 < otsu(values) < 40


def test_no_head_is_told():
    scan = Scan(image=[np.zeros((20, 20, 2), np.uint8)], affine=np.eye(4), sources=["a.nii"])
    with pytest.raises(DataError, match=r"a\.nii: no head is found; lower"):
        HeadMaskd().apply(scan)
