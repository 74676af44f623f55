import json

import numpy as np
import pytest
import torch
from fakes import pictures_config, volumes_config
from PIL import Image
from scipy import ndimage

from data_modules.base.config import NiftiConfig, default_preprocess
from data_modules.cases.case import Case
from data_modules.inspect.contact_sheet import _cut, _font, _spread, contact_sheet
from data_modules.inspect.describe import channel_names, describe, size_bins, summarize
from data_modules.inspect.histograms import draw_histograms
from data_modules.inspect.tiles import ANOMALY, DIRECTIONS, fit, marked, pointers
from data_modules.modules.nifti import NiftiDataModule
from data_modules.modules.pictures import PictureDataModule
from data_modules.transforms.slicing import planes


@pytest.fixture
def volumes(brats_root, cache):
    config = volumes_config(brats_root, size=[16, 20])
    data = NiftiDataModule(config, cache_dir=cache)
    data.prepare_data()
    data.setup()
    return data


@pytest.fixture
def pictures(mvtec_root, cache):
    data = PictureDataModule(pictures_config(mvtec_root), cache_dir=cache)
    data.prepare_data()
    data.setup()
    return data


def everything(data):
    return data.store.batch(np.arange(len(data.store)))


@pytest.mark.parametrize("kind", ["volumes", "pictures"])
def test_counts_and_shares_are_those_of_the_pixels(kind, request):
    data = request.getfixturevalue(kind)
    found, batch = describe(data), everything(data)
    whole = found.parts["all"]
    assert whole.slices == len(data.store)
    assert whole.foreground_pixels == int(batch["foreground"].sum())
    assert whole.anomalous_pixels == int(batch["mask"].sum())
    assert whole.share == pytest.approx(float(batch["mask"].sum() / batch["foreground"].sum()))
    for key in ("subjects", "slices", "normal", "anomalous", "foreground_pixels", "anomalous_pixels"):
        assert getattr(whole, key) == sum(getattr(found.parts[part], key) for part in ("train", "val", "test")), key
    assert found.parts["train"].normal == len(data.indices["train"])
    assert found.parts["test"].slices == len(data.indices["test"])
    assert found.parts["test"].subjects == len(data.split["test"])


def test_what_the_split_leaves_out_is_a_part_of_its_own(mvtec_root, cache):
    good = mvtec_root / "tile/train/good"
    (good / "001.png").write_bytes((good / "000.png").read_bytes())
    data = PictureDataModule(pictures_config(mvtec_root, duplicates="drop"), cache_dir=cache)
    data.setup()
    parts = describe(data).parts
    assert parts["left out"].subjects == 1
    assert parts["all"].subjects == sum(part.subjects for name, part in parts.items() if name != "all")


def test_region_sizes_are_those_that_scipy_finds(volumes):
    sizes: dict[int, int] = {}
    for mask in everything(volumes)["mask"][:, 0].numpy():
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        for size in np.bincount(labels.ravel())[1 : count + 1].tolist():
            sizes[size] = sizes.get(size, 0) + 1
    assert describe(volumes).regions == dict(sorted(sizes.items()))
    assert sum(sizes.values()) > 0


def test_intensity_histograms_hold_every_foreground_pixel_once(pictures):
    found, batch = describe(pictures), everything(pictures)
    assert [one.channel for one in found.intensities] == ["red", "green", "blue"]
    for channel, one in enumerate(found.intensities):
        image = batch["image"][:, channel]
        for counts, chosen in ((one.normal, ~batch["mask"]), (one.anomalous, batch["mask"])):
            values = image[(batch["foreground"] & chosen)[:, 0]].numpy()
            assert counts == np.histogram(values, np.array(one.edges))[0].tolist()
            assert sum(counts) == len(values) > 0


def test_progress_ends_at_its_total_and_the_description_is_json(pictures):
    steps = []
    found = describe(pictures, lambda done, total: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1] == len(steps)
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["parts"]["all"]["share"] == found.parts["all"].share
    assert plain["sources"] == {"24×24 pixels": 34}
    assert plain["attributes"]["category"] == {"counts": {"tile": 34}, "missing": 0}


def test_volumes_say_the_size_of_their_files_and_of_what_is_sliced(volumes, brats_root, cache):
    found = describe(volumes)
    assert found.sources == found.grids == {"20×24×10 voxels of 1×1×1 mm": 8}
    steps = {**default_preprocess(), "spacing": {"use": "Spacingd", "pixdim": [2.0, 2.0, 1.0]}}
    data = NiftiDataModule(volumes_config(brats_root, preprocess=steps, min_foreground=0.05), cache_dir=cache)
    data.prepare_data()
    data.setup()
    found = describe(data)
    assert found.sources == {"20×24×10 voxels of 1×1×1 mm": 8}
    assert all(size.endswith(" voxels of 2×2×1 mm") for size in found.grids)


def test_attributes_are_counted_or_summed_up_as_numbers():
    def case(index, **attributes):
        return Case(str(index), {"image": str(index)}, attributes=attributes)

    cases = [case(i, age=str(20 + i), sex="FM"[i % 2]) for i in range(11)] + [case(11, age="n/a")]
    found = summarize(cases)
    assert found["age"] == {"min": 20.0, "median": 25.0, "max": 30.0, "missing": 1}
    assert found["sex"] == {"counts": {"F": 6, "M": 5}, "missing": 1}


def test_size_bins_double():
    assert size_bins({1: 4, 2: 1, 3: 1, 9: 2}) == [(1, 1, 4), (2, 3, 2), (4, 7, 0), (8, 15, 2)]
    assert size_bins({}) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["volumes", "pictures"])
def test_the_sheet_has_a_row_per_subject_or_folder_and_outlines_anomalies(kind, request, tmp_path):
    data = request.getfixturevalue(kind)
    contact_sheet(data, tmp_path / "sheet.png")
    draw_histograms(describe(data), tmp_path / "histograms.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    outlined_rows = np.flatnonzero((sheet == np.array(ANOMALY)).all(-1)[80:].any(1))
    assert len(outlined_rows) > 0
    rows = {"volumes": 8, "pictures": 3}[kind]
    heights = {"volumes": 166, "pictures": 208}[kind] + 32
    assert sheet.shape[0] == pytest.approx(98 + rows * heights, abs=rows)
    assert Image.open(tmp_path / "histograms.png").size[0] > 400


def test_the_outline_surrounds_the_region_and_covers_none_of_it():
    picture = np.full((16, 16, 3), 100, np.uint8)
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[4:6, 7] = True
    drawn, scale = marked(picture, mask), fit((16, 16))[0] // 16
    region = np.zeros(drawn.shape[:2], bool)
    region[4 * scale : 6 * scale, 7 * scale : 8 * scale] = True
    line = (drawn == np.array(ANOMALY)).all(-1)
    near = ndimage.binary_dilation(region)
    assert (drawn[near] == 100).all()
    assert (line == (ndimage.binary_dilation(region, iterations=3) & ~near)).all()


def test_arrows_point_at_the_middle_of_few_small_anomalies_alone():
    mask = torch.zeros(104, 104, dtype=torch.bool)  # of which a tile makes 208 x 208
    mask[10:12, 20:24] = True
    mask[50, 60] = True
    assert pointers(mask) == [(44, 22), (121, 101)]
    mask[80:90, 80:84] = True
    assert pointers(mask) == []
    assert pointers(torch.zeros(8, 8, dtype=torch.bool)) == []


def test_the_directions_on_a_slice_are_those_of_its_affine():
    """A bright voxel at the right front top ends in the corner that the letters name."""
    volume = np.zeros((4, 5, 6), np.float32)
    volume[-1, -1, -1] = 1.0  # RAS: the last index is the right, the front, the top
    for plane, letters in DIRECTIONS.items():
        rows, columns = np.nonzero(planes(volume, plane)[-1])
        seen = planes(volume, plane).shape[1:]
        side = letters[0] if columns[0] == 0 else letters[1]
        end = letters[2] if rows[0] == 0 else letters[3]
        assert columns[0] in (0, seen[1] - 1)
        assert side in "RA"
        assert end in "AS"


def test_long_captions_are_cut_in_the_middle_to_their_width():
    font = _font(12)
    cut = _cut("a_very_long_subject_name_that_goes_on_and_on_0042", font, 100)
    assert font.getlength(cut) <= 100
    assert cut.startswith("a_very")
    assert cut.endswith("0042")
    assert _cut("short", font, 100) == "short"


def test_rows_are_spread_evenly():
    assert _spread(list(range(5)), 12) == [0, 1, 2, 3, 4]
    assert _spread(list(range(100)), 3) in ([0, 50, 99], [0, 49, 99])


def test_channels_of_a_dataset_without_modality_are_those_of_its_patterns(tmp_path):
    for image, names in (
        ("{subject}.nii", ["image"]),
        ({"t1": "{subject}.nii", "t2": "{subject}_2.nii"}, ["t1", "t2"]),
    ):
        config = NiftiConfig("mine", "nifti", "medical", root=str(tmp_path), image=image)
        assert channel_names(NiftiDataModule(config, cache_dir=tmp_path)) == names
