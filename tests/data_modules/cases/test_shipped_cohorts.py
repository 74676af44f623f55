"""Every shipped medical YAML reads its cohort as it is distributed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import brain, write_volume
from PIL import Image

from anomaly_bench.config.load import load_config
from data_modules.base.config import NiftiConfig
from data_modules.cases.case import Case
from data_modules.cases.split import group_cases
from data_modules.modules.build import build_module
from data_modules.modules.nifti import NiftiDataModule
from tests.helpers.data.releases import RELEASES, fill, write_release

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", RELEASES)
def test_a_release_is_read_as_it_was_unpacked(tmp_path: Path, name: str):
    release = RELEASES[name]
    write_release(tmp_path / "data", release)
    data = module(tmp_path, release.dataset, f"dataset.modality=[{','.join(release.modalities)}]")
    cases = {case.subject: case for case in data.find_cases()}
    assert set(cases) == set(release.subjects.values())
    for index, (folder, subject) in enumerate(release.subjects.items()):
        case, numbers = cases[subject], range(10 * index, 10 * index + 9)
        for number, (ours, theirs) in zip(numbers, release.modalities.items(), strict=False):
            assert case.images[ours] == fill(release.image, folder, number, theirs)
        assert case.label == (release.label and fill(release.label, folder, 10 * index + 7))
        assert case.brain_mask == (release.brain_mask and fill(release.brain_mask, folder, 10 * index + 8))
        slices = data.read_case(case)
        assert slices.image.shape[1] == len(release.modalities)
        assert bool(slices.mask.any()) == (release.label is not None)


@pytest.mark.parametrize("name", [name for name, release in RELEASES.items() if release.label])
def test_a_labelled_release_can_be_trained_and_tested_on(tmp_path: Path, name: str):
    release = RELEASES[name]
    write_release(tmp_path / "data", release)
    data = module(tmp_path, release.dataset)
    train, val, test = release.subjects.values()
    split = replace(data.config.split, train_subjects=[train], val_subjects=[val], test_subjects=[test])
    data.config = replace(data.config, split=split)
    data.prepare_data()
    data.setup()
    assert data.store.anomalous.sum() == 6  # two slices of each subject


def test_a_label_that_brats_2020_misnames_is_found(tmp_path: Path):
    write_release(tmp_path / "data", RELEASES["brats2020_nii"])
    folder = tmp_path / "data/BraTS20_Training_354"
    (folder / "BraTS20_Training_354_seg.nii").rename(folder / "W39_1998.09.19_Segm.nii")
    labels = [case.label for case in module(tmp_path, "brats").find_cases()]
    assert "BraTS20_Training_354/W39_1998.09.19_Segm.nii" in labels


@pytest.mark.parametrize("modality", range(4))
def test_msd_has_its_modalities_in_one_file_and_hidden_files_beside(tmp_path: Path, modality: int):
    """Channel k of the 4D file gives the same slices as the volume alone."""
    names = ("flair", "t1", "t1ce", "t2")
    for number in ("001", "002", "485"):
        volumes = [brain(10 * int(number) + k)[0] for k in range(4)]
        label = brain(0)[1]
        task = tmp_path / "data/Task01_BrainTumour"
        write_volume(task / f"imagesTr/BRATS_{number}.nii.gz", np.stack(volumes, axis=-1))
        write_volume(task / f"labelsTr/BRATS_{number}.nii.gz", label)
        for hidden in (f"imagesTr/._BRATS_{number}.nii.gz", f"labelsTr/._BRATS_{number}.nii.gz", "dataset.json"):
            (task / hidden).write_bytes(b"Mac OS X")
        alone = tmp_path / f"alone/BraTS2021_{number}/BraTS2021_{number}"
        write_volume(Path(f"{alone}_flair.nii.gz"), volumes[modality])
        write_volume(Path(f"{alone}_seg.nii.gz"), label)
    write_volume(task / "imagesTs/BRATS_486.nii.gz", np.stack(volumes, axis=-1))
    msd = module(tmp_path, "msd_brain", f"dataset.modality=[{names[modality]}]")
    apart = module(tmp_path, "brats", f"dataset.root={tmp_path / 'alone'}")
    cases, others = msd.find_cases(), apart.find_cases()
    assert [case.subject for case in cases] == ["001", "002", "485"]
    for case, other in zip(cases, others, strict=True):
        assert np.array_equal(msd.read_case(case).image, apart.read_case(other).image)


def test_wmh_takes_hyperintensities_as_anomalies_and_other_pathology_as_no_training_data(tmp_path: Path):
    release = RELEASES["wmh"]
    write_release(tmp_path / "data", release)
    for folder in release.subjects:
        label = np.zeros((20, 24, 10), np.uint8)
        label[8:11, 10:13, 2], label[8:11, 10:13, 6] = 2, 1
        write_volume(tmp_path / "data" / f"{folder}/wmh.nii.gz", label)
    data = module(tmp_path, "wmh")
    for case in data.find_cases():
        slices = data.read_case(case)
        assert slices.number[slices.mask.flatten(1).any(1)].tolist() == [6]
        assert slices.number[slices.labelled].tolist() == [2, 6]


@pytest.mark.parametrize(
    ("dataset", "together"),
    [
        ("brats", ("BraTS-GLI-00005-100", "BraTS-GLI-00005-101")),
        ("brats", ("brats_tcia_pat153_0002", "brats_tcia_pat153_0109")),
        ("brats", ("brats_2013_pat0004_1", "brats_2013_pat0004_h")),
        ("brats", ("Brats18_TCIA01_131_1", "Brats18_TCIA01_131_2")),
        ("brats", ("Brats18_2013_2_1", "Brats18_2013_2_2")),
        ("oasis1", ("OAS1_0061_MR1", "OAS1_0061_MR2")),
        ("atlas", ("sub-r001s001_ses-1", "sub-r001s001_ses-2")),
    ],
)
def test_the_scans_of_one_patient_stay_together(dataset: str, together: tuple[str, str]):
    others = {
        "brats": (
            "BraTS-GLI-00006-100",
            "brats_tcia_pat154_0109",
            "Brats18_TCIA01_132_1",
            "Brats18_2013_3_1",
            "BraTS2021_1",
        ),
        "oasis1": ("OAS1_0062_MR1",),
        "atlas": ("sub-r001s002_ses-1", "sub-r002s001_ses-1"),
    }[dataset]
    config = load_config([f"dataset={dataset}"]).dataset.split
    groups = group_cases([Case(name, {}) for name in (*together, *others)], config)
    assert sorted(len(members) for members in groups.values()) == [1] * len(others) + [2]


def test_three_patients_of_open_ms_fill_all_splits(tmp_path: Path):
    write_release(tmp_path / "data", RELEASES["open_ms_mni"])
    data = module(tmp_path, "open_ms")
    data.prepare_data()
    assert data.split == {"train": ["patient07"], "val": ["patient26"], "test": ["patient19"]}


@pytest.mark.parametrize(
    ("name", "scanners"),
    [
        ("ixi", {"IXI002": "Guys", "IXI012": "HH", "IXI035": "IOP"}),
        ("wmh", {"0": "Utrecht", "100": "GE3T", "161": "Philips_VU .PETMR_01."}),
    ],
)
def test_a_subject_knows_its_scanner(tmp_path: Path, name: str, scanners: dict[str, str]):
    write_release(tmp_path / "data", RELEASES[name])
    cases = module(tmp_path, RELEASES[name].dataset).find_cases()
    assert {case.subject: case.attributes for case in cases} == {s: {"scanner": v} for s, v in scanners.items()}


def test_kaggles_slices_of_a_patient_are_the_volume(tmp_path: Path):
    """Numbers without leading zeros, FLAIR as the second colour; the same slices as the stacked volume gives."""
    for patient in ("TCGA_CS_4941_19960909", "TCGA_DU_5849_19950405", "TCGA_HT_7616_19940813"):
        volume, label = brain(len(patient), (32, 40, 12))
        flair = (volume / 2 + 3).astype(np.uint8)  # noise around the head
        write_volume(tmp_path / f"stacked/{patient}/flair.nii.gz", flair, np.diag([1.0, 1.0, 5.0, 1.0]))
        write_volume(tmp_path / f"stacked/{patient}/seg.nii.gz", label, np.diag([1.0, 1.0, 5.0, 1.0]))
        folder = tmp_path / "kaggle_3m" / patient
        folder.mkdir(parents=True)
        for z in range(12):
            shown, mask = np.rot90(flair[:, :, z]), np.rot90(label[:, :, z] > 0) * np.uint8(255)
            Image.fromarray(np.stack([shown // 2, shown, shown // 3], axis=-1)).save(folder / f"{patient}_{z + 1}.tif")
            Image.fromarray(mask).save(folder / f"{patient}_{z + 1}_mask.tif")
    border = "dataset.preprocess.brain.border=1"
    kaggle = module(tmp_path, "lgg_mri", border, f"dataset.root={tmp_path / 'kaggle_3m'}")
    stacked = module(tmp_path, "lgg_mri", border, f"dataset.root={tmp_path / 'stacked'}")
    for case, other in zip(kaggle.find_cases(), stacked.find_cases(), strict=True):
        assert len(case.files) == 24
        ours, theirs = kaggle.read_case(case), stacked.read_case(other)
        assert torch.equal(ours.image, theirs.image)
        assert torch.equal(ours.mask, theirs.mask)
        assert ours.mask.any()
    assert kaggle.polarity == "bright"
    assert module(tmp_path, "lgg_mri", "dataset.modality=t1").polarity is None
    assert module(tmp_path, "lgg_mri", "dataset.modality=t1", "dataset.polarity=dark").polarity == "dark"


def module(tmp_path: Path, dataset: str, *overrides: str) -> NiftiDataModule:
    small = [f"dataset.root={tmp_path / 'data'}", "dataset.size=[16,16]", "dataset.slice_step=1"]
    config = load_config([f"dataset={dataset}", *small, *overrides]).dataset
    assert isinstance(config, NiftiConfig)
    data = build_module(config, tmp_path / "cache", tmp_path)
    assert isinstance(data, NiftiDataModule)
    return data
