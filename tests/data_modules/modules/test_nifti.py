from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fakes import brain, write_volume
from monai.transforms import LoadImage, Orientation

from data_modules.base.config import LayoutConfig, NiftiConfig, default_preprocess
from data_modules.base.errors import DataError
from data_modules.modules.nifti import NiftiDataModule
from data_modules.transforms.slicing import CHUNK, planes
from tests.helpers.data.nifti_slices import LAYOUT, module


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


def plainly(folder, subject, channels, size, min_foreground, step):
    """Slices of a subject by the definition, on whole volumes: image, mask, foreground and numbers."""

    def load(kind):
        loaded = LoadImage(reader="NibabelReader", image_only=True, ensure_channel_first=True, dtype=np.float32)(
            folder / subject / f"{subject}_{kind}.nii.gz"
        )
        return Orientation(axcodes="RAS", labels=None)(loaded).as_subclass(torch.Tensor)[0]

    images, mask = torch.stack([load(kind) for kind in channels]), load("seg") > 0
    inside = images.ne(0).any(0) | mask
    scaled = []
    for image in images:
        low, high = np.percentile(image[inside].numpy(), [1, 99])
        scaled.append(((image - float(low)) / (float(high) - float(low))).clamp(0, 2) * inside)
    everything = torch.cat([torch.stack(scaled), torch.stack([inside, mask])]).permute(3, 0, 2, 1).flip(2)
    rows, columns = (everything[:, -2].any(0).any(axis).nonzero().flatten() for axis in (1, 0))
    (top, bottom), (left, right) = rows[[0, -1]].tolist(), columns[[0, -1]].tolist()
    side = round(max(bottom - top + 1, right - left + 1) * 1.08)
    top, left = (top + bottom + 1 - side) // 2, (left + right + 1 - side) // 2
    height, width = everything.shape[2:]
    cropped = F.pad(everything, (-left, left + side - width, -top, top + side - height))
    number = (cropped[:, -2].mean((1, 2)) >= min_foreground).nonzero().flatten()[::step]
    kept = cropped[number]
    small = F.interpolate(kept[:, -2:], size=size, mode="nearest-exact") > 0
    foreground = small[:, :1] | small[:, 1:]
    image = F.interpolate(kept[:, :-2], size=size, mode="bilinear", antialias=True) * foreground
    return image, small[:, 1:], foreground, number


@pytest.mark.parametrize("channels", [["flair"], ["flair", "t1"]])
@pytest.mark.parametrize(
    "affine", [np.diag([-1.0, -1, 1, 1]), np.array([[0, 0, 1.0, 1], [-1, 0, 0, 2], [0, 2, 0, 3], [0, 0, 0, 1]])]
)
def test_slices_are_those_of_the_definition(tmp_path, cache, channels, affine):
    for seed, kind in enumerate(("flair", "t1")):
        volume, label = brain(seed, (30, 34, 26))
        write_volume(tmp_path / f"a/a_{kind}.nii.gz", volume.round().astype(np.int16 if seed else np.float32), affine)
    write_volume(tmp_path / "a/a_seg.nii.gz", label, affine)
    layout = LayoutConfig({k: "{subject}/{subject}_" + k + ".nii.gz" for k in ("flair", "t1")}, LAYOUT.label)
    config = NiftiConfig("x", "nifti", "medical", root=str(tmp_path), layouts={"a": layout}, modality=channels)
    config.size, config.min_foreground, config.slice_step = [16, 20], 0.1, 2
    data = NiftiDataModule(config, cache_dir=cache)
    slices = data.read_case(data.find_cases()[0])
    expected = plainly(tmp_path, "a", channels, (16, 20), 0.1, 2)
    assert len(expected[3]) > 4
    assert expected[1].any()
    for found, wanted in zip((slices.image, slices.mask, slices.foreground, slices.number), expected, strict=True):
        assert torch.equal(found, wanted)


def test_several_threads_read_what_one_reads(brats_root, cache):
    data = module(brats_root, cache)
    one = [data.read_case(case).image for case in data.cases]
    with ThreadPoolExecutor(4) as pool:
        many = list(pool.map(lambda case: data.read_case(case).image, data.cases * 3))
    assert all(torch.equal(first, second) for first, second in zip(one * 3, many, strict=True))


def test_slices_of_a_plane_have_the_top_or_the_front_on_top():
    volume = np.zeros((4, 5, 6))
    volume[3, 4, 2] = 1  # right, front, third from below
    assert planes(volume, "axial")[2, 0, 3] == 1
    assert planes(volume, "coronal")[4, 3, 3] == 1
    assert planes(volume, "sagittal")[3, 3, 4] == 1


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_geometry_maps_a_pixel_back_to_millimetres(brats_root, cache, plane):
    data = module(brats_root, cache, plane=plane, min_foreground=0.01, size=[32, 48])
    slices = data.read_case(data.cases[0])
    geometry = slices.geometry
    assert geometry["plane"] == plane
    assert geometry["shape"] == [20, 24, 10]
    axes = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}[plane]
    top, left, side = geometry["box"]
    found = []
    for row, _, i, j in slices.mask.nonzero().tolist():
        voxel = np.zeros(3)
        voxel[axes[0]] = int(slices.number[row])
        voxel[axes[1]] = geometry["shape"][axes[1]] - 0.5 - (top + (i + 0.5) * side / 32)
        voxel[axes[2]] = left + (j + 0.5) * side / 48 - 0.5
        found.append(np.array(geometry["affine"]) @ [*voxel, 1])
    stored = np.argwhere(brain(0)[1] > 0)
    truth = np.array([-1, -1, 1]) * stored  # write_volume stores LPS
    np.testing.assert_allclose(np.mean(found, axis=0)[:3], truth.mean(axis=0), atol=0.3)
    assert {int(n) for n in slices.number} <= set(range(geometry["shape"][axes[0]]))


def test_what_preprocessing_says_decides_the_fingerprint_and_so_does_its_order(brats_root, cache):
    def fingerprint(**steps):
        return module(brats_root, cache, preprocess=default_preprocess() | steps).fingerprint

    plain = fingerprint()
    assert fingerprint(crop=None) != plain
    assert fingerprint(scale={"use": "ScaleInBraind", "percentiles": [2.0, 98.0]}) != plain
    shift = {"a": {"use": "ShiftIntensityd", "offset": 1.0}, "b": {"use": "ScaleIntensityd", "minv": 0.0, "maxv": 1.0}}
    assert fingerprint(**shift) != fingerprint(**dict(reversed(shift.items())))
    assert module(brats_root, cache, modality="flair").fingerprint == plain


def test_resampled_slices_lie_on_the_new_grid(brats_root, cache):
    steps = default_preprocess() | {"spacing": {"use": "Spacingd", "pixdim": [2, 2, 1]}}
    data = module(brats_root, cache, preprocess=steps, min_foreground=0.05)
    slices = data.read_case(data.cases[0])
    affine = np.array(slices.geometry["affine"])
    assert np.diag(affine)[:3].tolist() == [2, 2, 1]
    assert slices.geometry["shape"] == [10, 12, 8]  # of the brain's box, 20, 24 and 8 voxels of 1 mm
    assert slices.mask.any()


def test_a_crop_leaves_numbers_and_geometry_as_they_are(brats_root, cache):
    cropped, whole = (
        module(brats_root, cache, preprocess=default_preprocess() | {"crop": crop})
        for crop in ({"use": "CropToBraind"}, None)
    )
    for case in whole.cases:
        one, other = cropped.read_case(case), whole.read_case(case)
        assert one.geometry == other.geometry
        assert torch.equal(one.number, other.number)
        assert torch.equal(one.image, other.image)


def test_without_a_brain_step_all_voxels_count(brats_root, cache):
    data = module(brats_root, cache, preprocess={"scale": {"use": "ScaleInBraind", "method": "zscore"}})
    slices = data.read_case(data.cases[0])
    side = slices.geometry["box"][2]
    assert slices.foreground.float().mean() == pytest.approx(20 * 24 / side**2, abs=0.1)


def test_a_volume_of_a_4d_file_is_a_channel(tmp_path, cache):
    volume, label = brain(0)
    write_volume(tmp_path / "images/a.nii.gz", np.stack([volume * 0 + 5, volume, volume * 2], axis=-1))
    write_volume(tmp_path / "labels/a.nii.gz", label)
    layout = LayoutConfig(
        {"t1": "images/{subject}.nii.gz#1", "t2": "images/{subject}.nii.gz#2"}, "labels/{subject}.nii.gz"
    )
    config = NiftiConfig("x", "nifti", "medical", root=str(tmp_path), layouts={"a": layout}, modality=["t2", "t1"])
    config.preprocess = {"brain": {"use": "BrainMaskd"}}
    data = NiftiDataModule(config, cache_dir=cache)
    (case,) = data.find_cases()
    assert case.images == {"t2": "images/a.nii.gz#2", "t1": "images/a.nii.gz#1"}
    image = data.read_case(case).image
    assert torch.allclose(image[:, 0], image[:, 1] * 2)
    assert image.max() > 50


def test_a_changed_file_is_read_again(brats_root, cache):
    before = module(brats_root, cache).fingerprint
    assert module(brats_root, cache).fingerprint == before
    volume, _ = brain(99)
    write_volume(brats_root / "BraTS2021_00001/BraTS2021_00001_flair.nii.gz", volume)
    assert module(brats_root, cache).fingerprint != before


def test_only_chosen_label_values_are_anomalous(brats_root, cache):
    nowhere = (
        r"no subject of the dataset has an anomalous pixel by dataset\.anomalous_labels=\[1\]; set it to the values"
    )
    with pytest.raises(DataError, match=nowhere):
        module(brats_root, cache, anomalous_labels=[1])
    write_volume(brats_root / "BraTS2021_00001/BraTS2021_00001_seg.nii.gz", brain(1)[1] // 2)
    data = module(brats_root, cache, anomalous_labels=[2])
    labelled = ~data.store.normal
    assert (labelled & ~data.store.anomalous).sum() > 0
    assert not labelled[data.indices["train"]].any()
    assert not labelled[data.indices["val_normal"]].any()


def test_anomalous_voxels_in_slices_left_out_are_counted(brats_root, cache):
    volume, label = brain(0)
    label[9, 11, 9] = 1
    volume[9, 11, 9] = 200
    write_volume(brats_root / "BraTS2021_00000/BraTS2021_00000_flair.nii.gz", volume)
    write_volume(brats_root / "BraTS2021_00000/BraTS2021_00000_seg.nii.gz", label)
    assert module(brats_root, cache).store.dropped == pytest.approx(1 / (8 * 18 + 1))


def test_other_pathology_is_neither_normal_nor_anomalous(tmp_path, cache):
    for index in range(8):
        volume, label = brain(index)
        label[8:11, 10:13] = 0
        label[8:11, 10:13, 3:7] = 2
        label[12:14, 10:13, 6] = 1
        write_volume(tmp_path / f"s{index}/s{index}_flair.nii.gz", volume)
        write_volume(tmp_path / f"s{index}/s{index}_seg.nii.gz", label)
    changes = {"layouts": {"a": LAYOUT}, "modality": "flair", "min_foreground": 0.1}
    data, whole = (module(tmp_path, cache, **changes, anomalous_labels=labels, size=[26, 26]) for labels in ([1], None))
    numbers = data.store.slice[data.indices["test"]]
    assert {3, 4, 5}.isdisjoint(numbers)
    assert {2, 6, 7} <= set(numbers.tolist())
    assert {3, 4, 5} <= set(whole.store.slice[whole.indices["test"]].tolist())
    case = data.cases[0]
    one, other = data.read_case(case), whole.read_case(case)
    assert torch.equal(one.image, other.image)
    assert torch.equal(one.foreground, other.foreground & ~(other.mask & ~one.mask))
    assert (other.mask & ~one.mask).sum() == 4 * 9  # the box of 26 pixels a side is not resized
    assert one.foreground[one.mask].all()


def test_many_slices_are_resized_as_one_batch_would_be(tmp_path, cache):
    for seed, kind in enumerate(("flair", "t1")):
        write_volume(tmp_path / f"a/a_{kind}.nii.gz", brain(seed, (30, 34, 70))[0])
    layout = LayoutConfig({k: "{subject}/{subject}_" + k + ".nii.gz" for k in ("flair", "t1")})
    config = NiftiConfig("x", "nifti", "medical", root=str(tmp_path), layouts={"a": layout}, modality=["flair", "t1"])
    config.size, config.min_foreground = [16, 20], 0.1
    write_volume(tmp_path / "a/a_seg.nii.gz", np.zeros((30, 34, 70), np.uint8))
    data = NiftiDataModule(config, cache_dir=cache)
    slices = data.read_case(data.find_cases()[0])
    expected = plainly(tmp_path, "a", ["flair", "t1"], (16, 20), 0.1, 1)
    assert len(slices.image) > 3 * CHUNK
    assert torch.equal(slices.image, expected[0])
