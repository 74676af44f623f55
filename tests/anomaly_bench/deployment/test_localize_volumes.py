"""A trained run applied to scans: the same maps as its test's, in the geometry of each scan."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from localized import finished, said
from sklearn.metrics import average_precision_score, roc_auc_score
from small_runs import SMALL

from anomaly_bench.config.load import load_config
from anomaly_bench.deployment import localize_files
from data_modules.transforms.slicing import planes
from tests.helpers.data.scans import blob, block, oblique, write_scan

pytestmark = pytest.mark.slow
FIXED = ["predictors.members.rec_l1.smooth=1.0", "predictors.members.intensity.smooth=0.0"]


def volumes_run(root, *more):
    given = ["dataset=brats", f"dataset.root={root / 'brats'}", "dataset.min_foreground=0.1"]
    split = ["dataset.split.val=0.3", "dataset.split.test=0.3", "dataset.split.salt=b"]
    given += [*split, f"out={root / 'runs'}", f"cache_dir={root / 'cache'}", *SMALL, *more]
    return finished(load_config(given), root)


@pytest.fixture(scope="module", params=["float16", "uint8"])
def volumes(request, tmp_path_factory):
    """A run on every second slice of brains whose square box has three times the run's pixels along a side."""
    root = tmp_path_factory.mktemp("volumes")
    for index in range(8):
        subject = root / "brats" / f"BraTS2021_{index:05d}" / f"BraTS2021_{index:05d}"
        values, label = block(index), np.zeros((46, 50, 8))
        label[20:26, 20:26, 3:6] = 2
        values[label > 0] += 80
        write_scan(Path(f"{subject}_flair.nii.gz"), values, oblique((1.0, 1.05, 3.0)))
        nib.save(nib.Nifti1Image(label.astype(np.uint8), oblique((1.0, 1.05, 3.0))), f"{subject}_seg.nii.gz")
    context = f"dataset.context={int(request.param == 'uint8')}"  # so that one of the two sees neighbours
    folder, seen = volumes_run(root, "dataset.slice_step=2", f"dataset.storage={request.param}", context)
    return root / "brats", folder, seen


def test_a_volume_gets_the_map_that_the_test_saw(volumes, tmp_path):
    root, folder, seen = volumes
    names = list(next(iter(seen.values()))[0])
    subjects = sorted({subject for subject, _ in seen})
    outcome = localize_files(folder, [root / subject for subject in subjects], tmp_path, predictors=names)
    assert not outcome.problems
    compared = 0
    for record, subject in zip(outcome.done, subjects, strict=True):
        assert record["name"] == subject
        for name in names:
            image = nib.load(record["predictors"][name]["files"]["map.nii.gz"])
            there = planes(nib.as_closest_canonical(image).get_fdata(dtype=np.float32), "axial")
            for (one, number), (maps, foreground) in seen.items():
                if one == subject:
                    # the box begins at row 1 and column -1: see scans.block; every third voxel is a pixel's centre
                    at_centres = there[number][2:50:3, 0:46:3]
                    np.testing.assert_allclose(
                        at_centres[foreground],
                        maps[name][foreground].numpy(),
                        rtol=1e-4,  # in other batches rounding differs, and with it where an iteration ends
                        atol=1e-3 * max(1.0, float(maps[name].abs().max())),
                    )
                    compared += 1
    assert compared == len(seen) * len(names)
    assert record["geometry"]["slices"] == 6  # of which the run has seen three


def test_all_slices_are_looked_at_if_asked_for_and_the_others_stay_as_they_are(volumes, tmp_path):
    _, folder, _ = volumes
    scan, affine = tmp_path / "cone.nii.gz", oblique((1.0, 1.05, 3.0))
    values = block(5)
    values[8:, :, 5:] = 0
    write_scan(scan, values, affine)
    given = {"predictors": ["rec_l1"], "overlay": False}
    (some,), (every,) = (
        localize_files(folder, scan, tmp_path / str(wanted), all_slices=wanted, **given).done
        for wanted in (False, True)
    )
    rows = [record["predictors"]["rec_l1"]["slices"] for record in (some, every)]
    assert [row["slice"] for row in rows[0]] == [1, 2, 3, 4]
    assert [row["slice"] for row in rows[1]] == [1, 2, 3, 4, 5, 6]
    assert [row["image_score"] for row in rows[0]] == pytest.approx(
        [row["image_score"] for row in rows[1][:4]], abs=1e-6
    )


def test_a_blob_is_found_at_its_place_in_an_oblique_anisotropic_scan_and_the_header_is_the_sources(tmp_path):
    spacing, shape = (0.9, 1.25, 2.4), (80, 64, 24)
    affine = oblique(spacing)
    for index in range(9):
        subject = tmp_path / "brats" / f"BraTS2021_{index:05d}" / f"BraTS2021_{index:05d}"
        write_scan(Path(f"{subject}_flair.nii.gz"), block(index, shape), affine)
        label = np.zeros(shape, np.uint8)
        label[40:44, 30:34, 10:14] = 1
        nib.save(nib.Nifti1Image(label, affine), f"{subject}_seg.nii.gz")
    resampled = "dataset.preprocess.spacing={use: Spacingd, pixdim: [1.0, 1.0, 1.0]}"
    folder, _ = volumes_run(tmp_path, resampled, "dataset.size=[48,48]", "predictors.only=[intensity,rec_l1]", *FIXED)
    centre = affine[:3, :3] @ [51.3, 24.6, 9.2] + affine[:3, 3]
    values = block(77, shape) + 300 * blob(shape, affine, centre, 5.0)
    scan = tmp_path / "scan.nii.gz"
    write_scan(scan, values, affine)
    outcome = localize_files(folder, scan, tmp_path / "maps", predictors=["intensity", "rec_l1"])
    (record,) = outcome.done
    source = nib.load(scan)
    assert (source.dataobj.slope, source.dataobj.inter, source.get_data_dtype()) == (0.5, 10, np.int16)
    for name, found in record["predictors"].items():
        region = found["regions"][0]
        place = [region[f"centroid_{axis}_mm"] for axis in "xyz"]
        assert np.all(np.abs(np.linalg.inv(affine[:3, :3]) @ (place - centre)) <= 1), name
        for end, kind in (("map", np.float32), ("calibrated", np.float32), ("segmentation", np.uint8)):
            image = nib.load(found["files"][f"{end}.nii.gz"])
            assert (image.shape, image.get_data_dtype()) == (shape, kind)
            np.testing.assert_array_equal(image.affine, source.affine)
            for key in ("sform_code", "qform_code", "xyzt_units", "pixdim", "srow_x", "quatern_b", "qoffset_z"):
                np.testing.assert_array_equal(image.header[key], source.header[key])
            assert image.dataobj.slope == 1
            assert image.dataobj.inter == 0
            assert not image.get_fdata()[values == 0].all()
        voxels = nib.load(found["files"]["segmentation.nii.gz"]).get_fdata().sum()
        assert found["anomalous"] == pytest.approx(voxels * np.prod(spacing))
        assert sum(region["volume_mm3"] for region in found["regions"]) == pytest.approx(found["anomalous"])


def test_the_mask_gives_the_metrics_of_scikit_learn_on_the_sources_grid(volumes, tmp_path):
    root, folder, seen = volumes
    subject = next(iter(seen))[0]
    pattern = str(root / "{folder}" / "{folder}_seg.nii.gz")
    (record,) = localize_files(folder, root / subject, tmp_path, predictors=["rec_l1"], mask=pattern).done
    found = record["predictors"]["rec_l1"]
    raw, called = (nib.load(found["files"][f"{end}.nii.gz"]).get_fdata() for end in ("map", "segmentation"))
    label = nib.load(record["mask"]).get_fdata() > 0
    looked = raw != 0
    metrics = found["metrics"]
    assert metrics["anomalous_inside"] == (label & looked).sum()
    assert metrics["auroc"] == pytest.approx(roc_auc_score(label[looked], raw[looked]), abs=1e-6)
    assert metrics["ap"] == pytest.approx(average_precision_score(label[looked], raw[looked]), abs=1e-6)
    hits = (label & (called > 0)).sum()
    assert metrics["dice"] == pytest.approx(2 * hits / (called.sum() + (label & looked).sum()))
    assert metrics["dice_oracle"] >= metrics["dice"]


def test_bad_volumes_are_a_line_each_and_the_others_are_done(cli, volumes, tmp_path):
    root, folder, _ = volumes
    good, affine = next(root.iterdir()), oblique((1.0, 1.05, 3.0))
    flat = (block(0) > 0) * 100.0
    write_scan(tmp_path / "empty.nii.gz", np.zeros((46, 50, 8)), affine)
    write_scan(tmp_path / "flat.nii.gz", flat, affine)
    write_scan(tmp_path / "long.nii.gz", block(1), oblique((1.0, 2.0, 3.0)))
    write_scan(tmp_path / "small.nii.gz", block(2, (11, 11, 8)), affine)
    nib.save(nib.Nifti1Image(np.stack([block(3)] * 2, -1).astype(np.float32), affine), tmp_path / "four.nii.gz")
    singular = nib.Nifti1Image(block(3).astype(np.float32), None)
    singular.header.set_sform(np.zeros((4, 4)), 1)
    nib.save(singular, tmp_path / "singular.nii.gz")
    names = ("empty", "flat", "long", "small", "four", "singular")
    inputs = [*(tmp_path / f"{name}.nii.gz" for name in names), good, f"t1={tmp_path / 'flat.nii.gz'}"]
    lines = said(cli, folder, *inputs, "--out", tmp_path / "maps", "--predictor", "intensity")
    assert len(lines) == len(names) + 1
    for name, reason in (
        ("empty", "no brain voxel"),
        ("flat", "the volume is empty"),
        ("long", "would distort the head; the settings of a finished run stay: change the file, or take another run"),
        ("small", "its brain's box has 5×5 pixels, the run's network sees 16×16"),
        ("four", "expected one 3D volume, found shape"),
        ("singular", "affine"),
        ("t1=", "no such modality"),
    ):
        assert any(name in line and reason in line for line in lines), (name, lines)
    assert (tmp_path / "maps" / f"{good.name}.json").exists()


def test_a_scan_without_a_background_of_0_is_told(volumes, tmp_path):
    _, folder, _ = volumes
    affine = oblique((1.0, 1.05, 3.0))
    write_scan(tmp_path / "whole.nii.gz", np.maximum(block(3), 1), affine)
    write_scan(tmp_path / "stripped.nii.gz", block(3), affine)
    inputs = [tmp_path / "whole.nii.gz", tmp_path / "stripped.nii.gz"]
    outcome = localize_files(folder, inputs, tmp_path / "maps", predictors=["intensity"], overlay=False)
    (note,) = [note for note in outcome.notes if "brain" in note]
    assert note.startswith(f"more than 90% of the volume counts as brain: {inputs[0]}; scans have to be skull-stripped")
