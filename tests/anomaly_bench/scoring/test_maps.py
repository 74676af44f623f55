"""What `anomaly-bench score` makes of formats and numbers that are easily misread, against the array they were made of."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from anomaly_bench.scoring.maps import read_map, read_mask
from anomaly_bench.scoring.score import score
from data_modules.base.errors import DataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 200, (20, 24)).astype(np.uint8)
AFFINE = np.array([[-1.0, 0, 0, 50], [0, 2, 0, -30], [0, 0, 3, 10], [0, 0, 0, 1]])


def picture(values: np.ndarray, path: Path, **how) -> Path:
    Image.fromarray(values).save(path, **how)
    return path


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    shuffled = RNG.permutation(256).astype(np.uint8)
    indices = np.argsort(shuffled)[GREY].astype(np.uint8)
    for name in ("a.png", "a.tif"):
        image = Image.fromarray(indices)
        image.putpalette(np.repeat(shuffled, 3).tolist())
        image.save(tmp_path / name)
        assert np.array_equal(read_map(tmp_path / name)[0], GREY)
    image.putpalette([0, 0, 0, 255, 0, 0] + [7] * 762)
    image.save(tmp_path / "red.png")
    with pytest.raises(DataError, match=r"red\.png: a mask with the numbers 0, 7, 76, .*; give --mask-threshold"):
        read_mask(tmp_path / "red.png", Path("a"), (1, 20, 24))


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4", "<f4"])
def test_deep_tiff_keeps_its_numbers(tmp_path: Path, dtype: str) -> None:
    values = (GREY.astype(np.float64) * 257 - (3e6 if dtype == "<i4" else 0)).astype(dtype)
    picture(values, tmp_path / "a.tif")
    assert np.array_equal(read_map(tmp_path / "a.tif")[0], values)


def test_unsigned_tiff_of_32_bits_is_not_signed(tmp_path: Path) -> None:
    values = GREY.astype(np.uint32) << 24
    path = picture(values.view(np.int32), tmp_path / "a.tif")
    signed, unsigned = (np.array([339, 3, 1, 0, kind, 0], "<u2") for kind in (2, 1))  # SampleFormat, one short
    signed[2:4], unsigned[2:4] = (1, 0), (1, 0)
    data = path.read_bytes()
    assert data.count(signed.tobytes()) == 1
    path.write_bytes(data.replace(signed.tobytes(), unsigned.tobytes()))
    assert np.array_equal(read_map(path)[0], values)


def test_pages_are_planes_of_one_size(tmp_path: Path) -> None:
    pages = [Image.fromarray(GREY + np.float32(k)) for k in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert np.array_equal(read_map(tmp_path / "a.tif"), np.stack([GREY + np.float32(k) for k in range(3)]))
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=[pages[0].resize((12, 10))])
    with pytest.raises(DataError, match=r"b\.tif: has pages of 2 sizes"):
        read_map(tmp_path / "b.tif")


def test_grey_in_colours_is_read_and_colours_are_not(tmp_path: Path) -> None:
    opaque = np.full_like(GREY, 255)
    for planes in ([GREY] * 3, [GREY] * 3 + [opaque], [GREY, opaque]):
        assert np.array_equal(read_map(picture(np.stack(planes, -1), tmp_path / "a.png"))[0], GREY)
    Image.fromarray(np.stack([GREY] * 4, -1), mode="CMYK").save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="a picture in CMYK colours"):
        read_map(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [">f4", "<f2", ">f2", ">f8", "<i8", "u1", "?"])
@pytest.mark.parametrize("exact", [False, True])
def test_numbers_of_every_type_and_order_rank_alike(tmp_path: Path, dtype: str, exact: bool) -> None:
    mask = np.zeros(GREY.shape, bool)
    mask[3:9, 4:12] = True
    values = (GREY + 40 * mask).astype(dtype)
    for folder, array in (("maps", np.asfortranarray(values)), ("masks", mask)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "a.npy", array)
    report = score(tmp_path / "maps", tmp_path / "masks", exact=exact, resamples=0)
    assert report.metrics["auroc"] == pytest.approx([roc_auc_score(mask.ravel(), values.ravel())] * 3, abs=1e-9)


def volumes(root: Path, affine: np.ndarray = AFFINE) -> tuple[np.ndarray, np.ndarray]:
    """A map and a mask in one grid."""
    mask = np.zeros((10, 12, 10), np.uint8)
    mask[2:5, 3:6, 2:5] = 1
    scores = (RNG.normal(size=mask.shape) + mask).astype(np.float32)
    for folder, array in (("maps", scores), ("masks", mask)):
        (root / folder).mkdir()
        nibabel.save(nibabel.Nifti1Image(array, affine), root / folder / "a.nii.gz")
    return scores, mask


@pytest.mark.parametrize("axes", ["LAS", "RAS", "PSR", "IPL"])
def test_a_volume_is_turned_to_its_mask(tmp_path: Path, axes: str) -> None:
    scores, _ = volumes(tmp_path)
    image = nibabel.Nifti1Image(scores, AFFINE)
    orientations = nibabel.io_orientation(AFFINE), nibabel.orientations.axcodes2ornt(axes)
    turned = image.as_reoriented(nibabel.orientations.ornt_transform(*orientations))
    assert "".join(nibabel.aff2axcodes(turned.affine)) == axes
    nibabel.save(turned, tmp_path / "maps/a.nii.gz")
    read = read_map(tmp_path / "maps/a.nii.gz", tmp_path / "masks/a.nii.gz")
    assert np.array_equal(read, np.moveaxis(scores, -1, 0))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("shift", r"lies on another grid than \S*masks/a\.nii\.gz: corners are up to 1 mm apart; resample it"),
        ("spacing", r"lies on another grid than .*apart"),
        ("eye", r"or, if its voxels are those of the other file and only its affine is wrong"),
        ("size", r"has 10×12×9 voxels along the axes along which \S*masks/a\.nii\.gz has 10×12×10; resample it"),
        ("array", r"maps/a\.npy: does not say which axis of \S*masks/a\.nii\.gz is which; save it as NIfTI"),
        ("time", r"has shape \(10, 12, 10, 2\); expected a picture or a volume"),
    ],
)
def test_another_grid_is_refused(tmp_path: Path, kind: str, said: str) -> None:
    scores, _ = volumes(tmp_path)
    affine = AFFINE.copy()
    if kind == "shift":
        affine[0, 3] += 1
    if kind == "spacing":
        affine[0, 0] *= 1.03
    if kind == "size":
        scores = scores[..., 1:]
    if kind == "time":
        scores = np.stack([scores] * 2, -1)
    path = tmp_path / "maps/a.nii.gz"
    path.unlink()
    if kind == "array":
        np.save(tmp_path / "maps/a.npy", scores)
    else:
        nibabel.save(nibabel.Nifti1Image(scores, np.eye(4) if kind == "eye" else affine), path)
    with pytest.raises(DataError, match=rf"maps/a\.n.*{said}" if kind != "array" else said):
        score(tmp_path / "maps", tmp_path / "masks", resamples=0)


def test_a_flat_volume_is_a_picture(tmp_path: Path) -> None:
    for name, array in (("map", GREY), ("mask", GREY[:, ::-1, None])):
        affine = np.diag([1.0, 1 if name == "map" else -1, 1, 1])
        affine[1, 3] = 0 if name == "map" else 23
        nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / f"{name}.nii")
    assert np.array_equal(read_map(tmp_path / "map.nii")[0], GREY)
    assert np.array_equal(read_map(tmp_path / "map.nii", tmp_path / "mask.nii")[0], GREY[:, ::-1])
