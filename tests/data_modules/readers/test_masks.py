"""The rule for masks, by masks that are written and read again: what is anomalous is a rectangle in the middle."""

import nibabel
import numpy as np
import pytest
from PIL import Image, ImageFilter

from anomaly_bench.scoring.maps import read_map
from anomaly_bench.scoring.maps import read_mask as read_scored
from data_modules.base.errors import DataError
from data_modules.modules.nifti import label_of
from data_modules.readers.masks import anomalous_in
from data_modules.readers.pictures import read_mask
from data_modules.readers.volumes import Volume, read_volume

TRUTH = np.zeros((48, 48), bool)
TRUTH[10:24, 12:30] = True
ONES, WHITE = TRUTH.astype(np.uint8), TRUTH * np.uint8(255)
CLASSES = ONES.copy()
CLASSES[10:15, 12:20], CLASSES[20:22, 22:27] = 2, 4
MIXED = CLASSES * np.uint8(1)
MIXED[10:12, 12:20] = 255
SOFT = np.asarray(Image.fromarray(WHITE).filter(ImageFilter.GaussianBlur(1.3)))
COLOUR = np.zeros((48, 48, 3), np.uint8)
COLOUR[TRUTH] = (200, 10, 30)
CUT = np.dstack([np.full((48, 48, 3), 255, np.uint8), WHITE])


def in_palette(colours):
    picture = Image.fromarray(CLASSES, "P")
    picture.putpalette([value for colour in colours for value in colour])
    return picture


READ = {
    "ones": Image.fromarray(ONES),
    "white": Image.fromarray(WHITE),
    "a hundred": Image.fromarray(ONES * np.uint8(100)),
    "classes": Image.fromarray(CLASSES),
    "sixteen bits": Image.fromarray(ONES.astype(np.uint16) * np.uint16(40000)),
    "sixteen bits of classes": Image.fromarray(CLASSES.astype(np.uint16)),
    "one bit": Image.fromarray(TRUTH),
    "one colour": Image.fromarray(COLOUR),
    "white in colours": Image.fromarray(np.dstack([WHITE] * 3)),
    "transparent": Image.fromarray(CUT),
    "palette": in_palette([(0, 0, 0), (128, 0, 0), (128, 0, 0), (0, 0, 0), (128, 0, 0)]),
}
REFUSED = {
    "classes and 255": (Image.fromarray(MIXED), "numbers 0, 1, 2, 4, … 255, of which it is not said"),
    "many classes and 255": (
        Image.fromarray(np.where(MIXED == 255, 255, (np.arange(48) % 20 + 1) * ONES).astype(np.uint8)),
        "numbers 0, 1, 2, 3, … 255, of which",
    ),
    "two greys": (
        Image.fromarray(np.maximum(ONES * np.uint8(128), (CLASSES > 1) * np.uint8(255))),
        "numbers 0, 128, 255",
    ),
    "a picture": (Image.fromarray(np.add.outer(np.arange(48), 4 * np.arange(48)).astype(np.uint8)), "numbers 0, 1, 2"),
    "colours": (in_palette([(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 0), (0, 0, 255)]), "numbers 0, 29, 76, 150"),
    "inverted": (Image.fromarray(255 - WHITE), "89% of the mask is anomalous, its border too, as if it were inverted"),
    "no normal number": (Image.fromarray(ONES + np.uint8(1)), "100% of the mask is anomalous"),
    "black and transparent": (
        Image.fromarray(CUT * np.uint8([0, 0, 0, 1])),
        "black, and differs in transparency alone",
    ),
}


@pytest.mark.parametrize("name", READ)
def test_a_run_and_score_read_one_mask_alike(tmp_path, name):
    READ[name].save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", None)[0], TRUTH)
    np.testing.assert_array_equal(read_scored(tmp_path / "a.png", tmp_path, (1, 48, 48))[0], TRUTH)


def by_a_run(path):
    return read_mask(path, None)


def by_score(path):
    return read_scored(path, path, (1, 48, 48))


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("read", [by_a_run, by_score])
def test_what_leaves_a_doubt_is_refused_by_the_key_that_decides(tmp_path, name, read):
    picture, said = REFUSED[name]
    picture.save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: ") as caught:
        read(tmp_path / "a.png")
    assert said in str(caught.value)
    key = "dataset.mask_threshold" if read is by_a_run else "--mask-threshold"
    assert key in str(caught.value) or name == "black and transparent"


def test_the_threshold_decides_what_is_ambiguous(tmp_path):
    REFUSED["classes and 255"][0].save(tmp_path / "a.png")
    for threshold, expected in ((0.0, MIXED > 0), (0.5, MIXED > 127)):
        np.testing.assert_array_equal(read_mask(tmp_path / "a.png", threshold)[0], expected)
        read = read_scored(tmp_path / "a.png", tmp_path, (1, 48, 48), threshold=threshold)
        np.testing.assert_array_equal(read[0], expected)
    REFUSED["inverted"][0].save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", 0.5)[0], ~TRUTH)


@pytest.mark.parametrize("ending", ["jpg", "JPEG", "png", "tif", "gif"])
@pytest.mark.parametrize("quality", [60, 98])
def test_a_jpeg_by_any_name_is_read_above_half(tmp_path, ending, quality):
    Image.fromarray(WHITE).save(tmp_path / "a.jpg", quality=quality)
    file = (tmp_path / "a.jpg").rename(tmp_path / f"a.{ending}")
    np.testing.assert_array_equal(by_a_run(file)[0], TRUTH)
    np.testing.assert_array_equal(by_score(file)[0], TRUTH)
    with pytest.raises(DataError, match=rf"a\.{ending}: is a JPEG file, whose codec changes scores"):
        read_map(file)


def test_a_mask_of_several_pages_is_refused(tmp_path):
    pages = [Image.fromarray(page) for page in (WHITE, WHITE.T)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=r"a\.tif: a mask of 2 pages, of which one would be read"):
        read_mask(tmp_path / "a.tif", None)
    np.testing.assert_array_equal(read_scored(tmp_path / "a.tif", tmp_path, (2, 48, 48)), [TRUTH, TRUTH.T])


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (ONES.astype(np.int16) * np.int16(-1), "a mask with numbers below 0, down to -1"),
        (1 - ONES, "as if it were inverted; .*dataset.anomalous_labels"),
        (MIXED, r"numbers 0, 1, 2, 4, … 255, of which .*set dataset\.anomalous_labels"),
        (SOFT.astype(np.int16), r"numbers 0, .* of which .*set dataset\.anomalous_labels"),
    ],
)
def test_labels_of_volumes_follow_the_same_rule(label, said):
    with pytest.raises(DataError, match=rf"a\.nii: .*{said}"):
        label_of(Volume(label[..., None], np.eye(4), "a.nii"), None)


@pytest.mark.parametrize("label", [ONES, WHITE, CLASSES, WHITE.astype(np.float32), CLASSES.astype(np.int16)])
def test_a_label_is_1_where_it_is_anomalous(label):
    np.testing.assert_array_equal(label_of(Volume(label[..., None], np.eye(4), "a.nii"), None)[..., 0], TRUTH)


def test_other_labels_than_the_chosen_ones_are_neither_normal_nor_anomalous():
    label = label_of(Volume(MIXED.astype(np.int16)[..., None] - 2 * (CLASSES == 4)[..., None], np.eye(4), "a.nii"), [1])
    np.testing.assert_array_equal(label[..., 0], np.where(MIXED == 1, 1, np.where(MIXED > 0, 2, 0)))
    negative = label_of(Volume(np.array([[[-1, 0, 1]]]), np.eye(4), "a.nii"), [1])
    np.testing.assert_array_equal(negative, [[[2, 0, 1]]])


@pytest.mark.parametrize("width", [0.6, 1.3])
def test_soft_edges_are_anomalous_above_half_in_every_kind_of_file(tmp_path, width):
    soft = np.asarray(Image.fromarray(WHITE).filter(ImageFilter.GaussianBlur(width)))
    Image.fromarray(soft).save(tmp_path / "a.png")
    for mask in (
        read_mask(tmp_path / "a.png", None)[0],
        read_scored(tmp_path / "a.png", tmp_path, (1, 48, 48))[0],
        label_of(Volume(soft[..., None], np.eye(4), "a.nii"), None)[..., 0],
        anomalous_in(soft / np.float32(255), "a.npy", ""),
    ):
        np.testing.assert_array_equal(mask, soft > 127)
    with pytest.raises(DataError, match=r"a\.npy: a mask with the numbers 0"):
        anomalous_in(SOFT.astype(np.float64) * 3, "a.npy", "do")


ROUNDED = CLASSES * np.float32(0.9999) + np.float32(2e-4) * (CLASSES == 0)
SMOOTH = np.asarray(Image.fromarray(WHITE).filter(ImageFilter.GaussianBlur(0.6))) / np.float32(255)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (ROUNDED, TRUTH),
        (ROUNDED - np.float32(4e-4), TRUTH),  # down to -2e-4
        (TRUTH * np.float32(0.7), TRUTH),
        (SMOOTH, SMOOTH > 0.5),
        (CLASSES * np.float32(0.3), "numbers 0, 0.3, 0.6, 1.2, of which"),
        (TRUTH * np.float32(-1), "numbers below 0, down to -1"),
        (1 - ROUNDED / 8, "numbers"),
    ],
)
def test_a_volume_of_floats_is_one_mask_for_a_run_and_for_score(tmp_path, numbers, expected):
    file = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(numbers[..., None], np.eye(4)), file)
    readers = (
        lambda: label_of(read_volume(file), None)[..., 0],
        lambda: read_scored(file, file, (1, 48, 48))[0],
    )
    for read in readers:
        if isinstance(expected, str):
            with pytest.raises(DataError, match=rf"a\.nii: a mask with .*{expected}"):
                read()
        else:
            np.testing.assert_array_equal(read(), expected)
