import pytest
from fakes import volumes_config

from data_modules.base.config import default_preprocess
from data_modules.base.errors import DataError
from data_modules.modules.nifti import NiftiDataModule
from data_modules.transforms.steps import check_arguments


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"use": "Spacingd", "pixdim": [1.0, 1.0]},
            r"x\.pixdim=\[1\.0, 1\.0\]: expected 3 millimetres, one for each axis",
        ),
        ({"use": "Spacingd", "pixdim": [1.0, 0.0, 1.0]}, r"x\.pixdim=.*above 0 \(-1: as it is\)"),
        ({"use": "Spacingd", "pixdim": [1.0, -2.0, 1.0]}, r"x\.pixdim=.*above 0"),
        ({"use": "Spacingd", "pixdim": "1mm"}, r"x\.pixdim=1mm: expected 3 millimetres"),
        ({"use": "Spacingd", "pixdim": [1.0, float("nan"), 1.0]}, r"x\.pixdim="),
        (
            {"use": "CenterSpatialCropd", "roi_size": [64, 64]},
            r"x\.roi_size=\[64, 64\]: expected 3 whole numbers of voxels",
        ),
        ({"use": "CenterSpatialCropd", "roi_size": [64, 64, 2.5]}, r"x\.roi_size="),
        ({"use": "Resized", "spatial_size": [64, 0, 64]}, r"x\.spatial_size="),
        ({"use": "SpatialCropd", "roi_start": [0, 0, -4], "roi_end": [9, 9, 9]}, r"x\.roi_start=.*0 or more"),
        (
            {"use": "ScaleIntensityRangePercentilesd", "lower": 99, "upper": 1, "b_min": 0, "b_max": 1},
            "x: lower=99 is not below upper=1; swap or correct them",
        ),
        (
            {"use": "ScaleIntensityRangePercentilesd", "lower": 1, "upper": 199, "b_min": 0, "b_max": 1},
            r"x\.upper=199: expected a percentile from 0 to 100",
        ),
        (
            {"use": "ScaleIntensityRanged", "a_min": 9, "a_max": 1, "b_min": 0, "b_max": 1},
            "x: a_min=9 is not below a_max=1",
        ),
        ({"use": "ScaleInBraind", "percentiles": [99.0, 1.0]}, r"x: ScaleInBraind refuses.*the lower first"),
    ],
)
def test_values_that_cannot_be_meant_are_refused_by_their_key_when_the_module_is_built(entry, message, tmp_path):
    config = volumes_config(tmp_path, preprocess={**default_preprocess(), "x": entry})
    with pytest.raises(DataError, match=r"dataset\.preprocess\." + f"({message})"):
        NiftiDataModule(config, cache_dir=tmp_path)


@pytest.mark.parametrize("pixdim", [1.0, [1.0], [1.0, 1.0, -1.0], [0.7, 0.7, 3]])
def test_spacings_that_are_meant_pass(pixdim):
    check_arguments({"spacing": {"use": "Spacingd", "pixdim": pixdim}, "gone": None}, "dataset.preprocess", axes=3)


def test_a_step_whose_name_is_mistyped_is_told_the_closest():
    steps = {**default_preprocess(), "scal": {"method": "zscore"}}
    with pytest.raises(DataError, match=r"preprocess\.scal=.*expected \{use: ClassName, …\} .*did you mean scale\?"):
        check_arguments(steps, "dataset.preprocess", axes=3)
