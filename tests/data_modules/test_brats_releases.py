"""The shipped BraTS layouts, each on a small tree of its release's shape."""

from dataclasses import replace
from pathlib import Path

import pytest
from fakes import brain, write_volume

from anomaly_bench.config import load_config
from data_modules.nifti import NiftiDataModule

RELEASES = {
    "2018": ("HGG/{s}/{s}_flair.nii.gz", "HGG/{s}/{s}_seg.nii.gz"),
    "2020_nii": ("{s}/{s}_flair.nii", "{s}/{s}_seg.nii"),
    "2021": ("{s}/{s}_flair.nii.gz", "{s}/{s}_seg.nii.gz"),
    "2023": ("{s}/{s}-t2f.nii.gz", "{s}/{s}-seg.nii.gz"),
    "2015": (
        "LGG/{s}/VSD.Brain.XX.O.MR_Flair.1/VSD.Brain.XX.O.MR_Flair.1.{x}",
        "LGG/{s}/VSD.Brain_3more.XX.O.OT.2/VSD.Brain_3more.XX.O.OT.2.{x}",
    ),
}


@pytest.mark.parametrize(("release", "ending"), [*((name, "nii.gz") for name in RELEASES), ("2015", "mha")])
def test_a_release_is_read_as_it_was_unpacked(tmp_path: Path, release: str, ending: str):
    for index in range(8):
        for pattern, array in zip(RELEASES[release], brain(index), strict=True):
            path = tmp_path / "data" / pattern.format(s=f"Sub_{index:03d}", x=ending)
            if ending == "mha":
                write_metaimage(path, array)
            else:
                write_volume(path, array)
    config = load_config(["dataset=brats", f"dataset.root={tmp_path / 'data'}", "dataset.size=[16,16]"]).dataset
    names = [f"Sub_{index:03d}" for index in range(8)]
    split = replace(config.split, train_subjects=names[:4], val_subjects=names[4:6], test_subjects=names[6:])
    config = replace(config, split=split)
    data = NiftiDataModule(config, tmp_path / "cache")
    data.prepare_data()
    data.setup()
    assert data.store.subjects == names
    assert data.store.anomalous.sum() == 8


def write_metaimage(path: Path, array) -> None:
    import SimpleITK as sitk  # noqa: N813

    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array.T.copy()), str(path))
