import gzip
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fakes import brain, write_volume
from monai.transforms import LoadImage, Orientation

from data_modules.base.config import LayoutConfig, NiftiConfig, SplitConfig, default_preprocess
from data_modules.base.errors import DataError
from data_modules.modules.nifti import NiftiDataModule
from data_modules.transforms.slicing import CHUNK, planes

LAYOUT = LayoutConfig(image={"flair": "{subject}/{subject}_flair.nii.gz"}, label="{subject}/{subject}_seg.nii.gz")


def module(root, cache, **changes):
    config = NiftiConfig(
        name="brats",
        kind="nifti",
        domain="medical",
        root=str(root),
        layouts={"a": LAYOUT},
        modality=["flair"],
        size=[16, 16],
        split=SplitConfig(val=0.3, test=0.3, salt="b"),
    )
    for key, value in changes.items():
        setattr(config, key, value)
    data = NiftiDataModule(config, cache_dir=cache, batch_size=8)
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


@pytest.mark.parametrize("storage", ["float16", "uint8"])
def test_slices_come_with_their_neighbours_in_the_volume_whatever_step_and_brain(brats_root, cache, storage):
    plain = module(brats_root, cache, slice_step=2, storage=storage)
    data = module(brats_root, cache, slice_step=2, context=1, storage=storage)
    every = module(brats_root, cache, min_foreground=1e-9)  # all slices, each an image of its own
    assert data.fingerprint == plain.fingerprint
    assert data.image_shape == plain.image_shape == (1, 16, 16)
    whole = every.store.batch(np.arange(len(every.store)))
    places = zip(whole["subject"].tolist(), whole["slice"].tolist(), strict=True)
    images = dict(zip(places, whole["image"][:, 0], strict=True))
    for got, flat in zip(data.test_dataloader(), plain.test_dataloader(), strict=True):
        for key in flat:
            expected = got[key][:, 1:2] if key == "image" else got[key]
            assert torch.equal(flat[key], expected), key
        for s, n, image in zip(got["subject"].tolist(), got["slice"].tolist(), got["image"], strict=True):
            for side, place in ((-1, 0), (1, 2)):
                beside = images.get((s, n + side), images[s, n])
                assert storage == "uint8" or torch.equal(
                    image[place], beside
                )  # 8 bits are spread over the images alone


def test_no_normal_image_has_an_anomaly_beside_it_but_in_the_test(brats_root, cache):
    data = module(brats_root, cache, context=1)
    slices = zip(data.store.subject.tolist(), data.store.slice.tolist(), strict=True)
    labelled = {place for place, normal in zip(slices, data.store.normal, strict=True) if not normal}
    beside = 0
    for loader, hidden in ((data.train_dataloader(), True), (data.test_dataloader(), False)):
        for batch in loader:
            for s, n, image in zip(batch["subject"].tolist(), batch["slice"].tolist(), batch["image"], strict=True):
                if (s, n + 1) in labelled and (s, n) not in labelled:
                    beside += 1
                    assert torch.equal(image[2], image[1]) == hidden
    assert beside > 1


def test_neighbours_are_augmented_as_the_slice_in_the_middle_is(brats_root, cache):
    flip = {"flip": {"use": "RandFlipd", "prob": 1.0, "spatial_axis": 1}}
    plain, flipped = (module(brats_root, cache, context=1, augment=augment) for augment in ({}, flip))
    before, after = (next(iter(data.train_dataloader())) for data in (plain, flipped))
    assert torch.equal(after["image"], before["image"].flip(3))
    assert torch.equal(after["foreground"], before["foreground"].flip(3))


@pytest.mark.parametrize("step", [1, 2])
def test_volumes_are_of_the_same_slices_each_of_which_counts_once(brats_root, cache, step):
    plain, data = (module(brats_root, cache, slice_step=step, **depth) for depth in ({}, {"depth": 3}))
    assert data.fingerprint == plain.fingerprint
    assert data.image_shape == (1, 3, 16, 16)
    assert re.search(
        r"; as volumes of 3 slices: \d+ train, \d+ normal and \d+ anomalous val, \d+ test", data.describe()
    )
    every = plain.store.batch(np.arange(len(plain.store)))
    images = dict(
        zip(zip(every["subject"].tolist(), every["slice"].tolist(), strict=True), every["image"], strict=True)
    )
    pairs = [
        (plain.test_dataloader(), data.test_dataloader()),
        *zip(plain.val_dataloader(), data.val_dataloader(), strict=True),
        (plain.normal_dataloader(10**6), data.normal_dataloader(10**6)),
    ]
    shared = 0
    for slices, volumes in pairs:
        flat = {key: torch.cat([batch[key] for batch in slices]) for key in every}
        found = {key: torch.cat([batch[key] for batch in volumes]) for key in every}
        counting = found["foreground"].flatten(3).any(3)[:, 0]
        shared += int((~counting).sum())
        assert not found["mask"][:, 0][~counting].any()
        for key in ("image", "mask", "foreground", "region_weight"):
            assert torch.equal(found[key].transpose(1, 2)[counting], flat[key]), key
        assert torch.equal(found["slice"][counting], flat["slice"])
        assert torch.equal(found["subject"][:, None].expand(-1, 3)[counting], flat["subject"])
        for subject, numbers, volume in zip(found["subject"].tolist(), found["slice"], found["image"], strict=True):
            assert {*numbers.diff().tolist()} <= {step, 0}
            for place, number in enumerate(numbers.tolist()):
                assert torch.equal(volume[:, place], images[subject, number])
    assert shared > 3


def test_no_volume_to_train_on_has_an_anomalous_slice_and_each_is_augmented_as_one(brats_root, cache):
    flip = {"flip": {"use": "RandFlipd", "prob": 1.0, "spatial_axis": 1}}
    plain, flipped = (module(brats_root, cache, depth=3, augment=augment) for augment in ({}, flip))
    store = plain.store
    slices = zip(store.subject.tolist(), store.slice.tolist(), store.normal.tolist(), strict=True)
    normal = {(subject, number) for subject, number, fine in slices if fine}
    for before, after in zip(plain.train_dataloader(), flipped.train_dataloader(), strict=True):
        places = zip(before["subject"].tolist(), before["slice"].tolist(), strict=True)
        assert {(subject, number) for subject, numbers in places for number in numbers} <= normal
        assert torch.equal(after["image"], before["image"].flip(4))
        assert torch.equal(after["foreground"], before["foreground"].flip(4))


def test_volumes_have_no_other_neighbours(brats_root, cache):
    with pytest.raises(
        DataError, match=r"dataset\.depth=3, dataset\.context=1: .*; set dataset\.context=0, or dataset"
    ):
        module(brats_root, cache, depth=3, context=1)
