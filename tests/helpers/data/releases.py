"""Small copies of the medical datasets as they are distributed: the real names of files and folders, small volumes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from tests.helpers.fakes import brain, write_volume

VSD = "{s}/VSD.Brain.XX.O.MR_{m}.{n}/VSD.Brain.XX.O.MR_{m}.{n}."
VSD_LABEL = "{s}/VSD.Brain_3more.XX.O.OT.{n}/VSD.Brain_3more.XX.O.OT.{n}."
BRATS = ("flair", "t1", "t1ce", "t2")


@dataclass(frozen=True)
class Release:
    """How one release names its files.

    image: by {s} (folder of the subject), {m} (modality, from modalities: ours to theirs) and {n} (a running number);
    subjects: {s} of each subject, to its name; beside: files of the release that must not be taken for images.
    """

    dataset: str
    image: str
    modalities: dict[str, str]
    subjects: dict[str, str]
    label: str | None = None
    brain_mask: str | None = None
    beside: tuple[str, ...] = ()


def same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


def brats(pattern: str, *folders: str) -> Release:
    """A release of NAME/NAME_flair.nii.gz, NAME/NAME_seg.nii.gz in the given folders."""
    names = {folder: Path(folder).name for folder in folders}
    image = "{s}/" + pattern.replace("M", "{m}")
    return Release(
        "brats", image, same(*BRATS), names, "{s}/" + pattern.replace("M", "seg"), beside=("name_mapping.csv",)
    )


RELEASES = {
    "brats2013_first": Release(
        "brats",
        "Image_Data/{s}/VSD.Brain.XX.O.MR_{m}/VSD.Brain.XX.O.MR_{m}.{n}.mha",
        {"flair": "Flair", "t1": "T1", "t1ce": "T1c", "t2": "T2"},
        {"HG/0001": "HG/0001", "HG/0002": "HG/0002", "LG/0001": "LG/0001"},
        "Image_Data/{s}/VSD.Brain_3more.XX.XX.OT/VSD.Brain_3more.XX.XX.OT.{n}.mha",
    ),
    "brats2015": Release(
        "brats",
        f"BRATS2015_Training/{VSD}mha",
        {"flair": "Flair", "t1": "T1", "t1ce": "T1c", "t2": "T2"},
        {f"{g}/{s}": s for g, s in (("HGG", "brats_2013_pat0001_1"), ("HGG", "brats_tcia_pat153_0109"), ("LGG", "x"))},
        f"BRATS2015_Training/{VSD_LABEL}mha",
    ),
    "brats2015_nifti": Release(
        "brats",
        f"{VSD}nii",
        {"flair": "Flair", "t1": "T1", "t1ce": "T1c", "t2": "T2"},
        {f"HGG/brats_tcia_pat{n}_0001": f"brats_tcia_pat{n}_0001" for n in (105, 113, 117)},
        f"{VSD_LABEL}nii",
    ),
    "brats2018": brats("{b}_M.nii.gz", "HGG/Brats18_2013_2_1", "HGG/Brats18_CBICA_AAB_1", "LGG/Brats18_TCIA09_141_1"),
    "brats2020": brats("{b}_M.nii.gz", *(f"MICCAI_BraTS2020_TrainingData/BraTS20_Training_00{n}" for n in (1, 2, 3))),
    "brats2020_nii": brats("{b}_M.nii", "BraTS20_Training_001", "BraTS20_Training_354", "BraTS20_Training_356"),
    "brats2021": brats("{b}_M.nii.gz", "BraTS2021_00000", "BraTS2021_00002", "BraTS2021_00003"),
    "brats2023": Release(
        "brats",
        "ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData/{s}/{s}-{m}.nii.gz",
        {"flair": "t2f", "t1": "t1n", "t1ce": "t1c", "t2": "t2w"},
        same("BraTS-GLI-00000-000", "BraTS-GLI-00002-000", "BraTS-GLI-00005-100"),
        "ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData/{s}/{s}-seg.nii.gz",
    ),
    "ixi": Release(
        "ixi",
        "IXI-{m}/{s}-{m}.nii.gz",
        {"t1": "T1", "t2": "T2"},
        {"IXI002-Guys-0828": "IXI002", "IXI012-HH-1211": "IXI012", "IXI035-IOP-0873": "IXI035"},
    ),
    "hcp": Release(
        "hcp",
        "{s}/T1w/{m}_acpc_dc_restore_brain.nii.gz",
        {"t1": "T1w", "t2": "T2w"},
        same("100206", "100307", "100408"),
        beside=(
            "{s}/T1w/T1w_acpc_dc_restore.nii.gz",
            "{s}/T1w/T1w_acpc_dc_restore_1.25.nii.gz",
            "{s}/MNINonLinear/T1w_restore_brain.nii.gz",
        ),
    ),
    "oasis1": Release(
        "oasis1",
        "disc1/{s}/PROCESSED/MPRAGE/T88_111/{s}_mpr_n4_anon_111_t88_masked_gfc.img",
        {"t1": ""},
        same("OAS1_0001_MR1", "OAS1_0061_MR1", "OAS1_0061_MR2"),
        beside=(
            "disc1/{s}/PROCESSED/MPRAGE/T88_111/{s}_mpr_n4_anon_111_t88_gfc.img",
            "disc1/{s}/PROCESSED/MPRAGE/T88_111/t88_masked_gfc_sag_95.gif",
            "disc1/{s}/FSL_SEG/{s}_mpr_n4_anon_111_t88_masked_gfc_fseg.img",
            "disc1/{s}/RAW/{s}_mpr-1_anon.img",
        ),
    ),
    "open_ms_mni": Release(
        "open_ms",
        "{s}/{m}_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz",
        {"flair": "FLAIR", "t1": "T1", "t1ce": "T1POST", "t2": "T2"},
        same("patient07", "patient19", "patient26"),
        "{s}/GOLD_STANDARD_N4_noneck_reduced_winsor_regtoFLAIR_regtoMNI.nii.gz",
        beside=("LICENSE.txt",),
    ),
    "open_ms_native": Release(
        "open_ms",
        "{s}/{s}_{m}.nii.gz",
        {"flair": "FLAIR", "t1": "T1W", "t1ce": "T1WKS", "t2": "T2W"},
        same("patient07", "patient19", "patient26"),
        "{s}/{s}_consensus_gt.nii.gz",
        "{s}/{s}_brainmask.nii.gz",
        beside=("{s}/raw/{s}_FLAIR.nii.gz", "{s}/{s}_T1W_to_FLAIR.txt"),
    ),
    "open_ms_coregistered": Release(
        "open_ms",
        "cross_sectional/coregistered/{s}/{m}.nii.gz",
        {"flair": "FLAIR", "t1": "T1W", "t1ce": "T1WKS", "t2": "T2W"},
        same("patient07", "patient19", "patient26"),
        "cross_sectional/coregistered/{s}/consensus_gt.nii.gz",
        "cross_sectional/coregistered/{s}/brainmask.nii.gz",
        beside=("cross_sectional/raw/{s}/FLAIR.nii.gz", "longitudinal/coregistered/{s}/study1_FLAIR.nii.gz"),
    ),
    "wmh": Release(
        "wmh",
        "{s}/pre/{m}.nii.gz",
        {"flair": "FLAIR", "t1": "T1"},
        {
            "training/Utrecht/0": "0",
            "training/Amsterdam/GE3T/100": "100",
            "test/Amsterdam/Philips_VU .PETMR_01./161": "161",
        },
        "{s}/wmh.nii.gz",
        beside=("{s}/orig/FLAIR.nii.gz", "{s}/pre/3DT1.nii.gz", "additional_annotations/observer_o3/{s}/result.nii.gz"),
    ),
    "isles2015": Release(
        "isles2015",
        f"SISS2015_Training/{VSD}nii",
        {"flair": "Flair", "t1": "T1", "t2": "T2", "dwi": "DWI"},
        same("1", "2", "28"),
        f"SISS2015_Training/{VSD_LABEL}nii",
    ),
    "atlas": Release(
        "atlas",
        "R001/{s}/ses-1/anat/{s}_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz",
        {"t1": ""},
        {f"sub-r001s00{n}": f"sub-r001s00{n}_ses-1" for n in (1, 2, 3)},
        "R001/{s}/ses-1/anat/{s}_ses-1_space-MNI152NLin2009aSym_label-L_desc-T1lesion_mask.nii.gz",
    ),
    "atlas_bids": Release(
        "atlas",
        "derivatives/ATLAS/{s}/ses-1/anat/{s}_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz",
        {"t1": ""},
        {f"sub-r009s00{n}": f"sub-r009s00{n}_ses-1" for n in (1, 2, 3)},
        "derivatives/ATLAS/{s}/ses-1/anat/{s}_ses-1_space-MNI152NLin2009aSym_label-L_desc-T1lesion_mask.nii.gz",
        beside=("MNI152NLin2009aSym.nii.gz",),
    ),
}


def fill(pattern: str, folder: str, number: int, modality: str = "") -> str:
    return pattern.format(s=folder, b=Path(folder).name, n=number, m=modality)


def write_release(root: Path, release: Release) -> None:
    for index, folder in enumerate(release.subjects):
        for number, theirs in enumerate(release.modalities.values(), 10 * index):
            write(root / fill(release.image, folder, number, theirs), brain(number)[0])
        if release.label:
            write(root / fill(release.label, folder, 10 * index + 7), (brain(0)[1] > 0).astype(np.uint8))
        if release.brain_mask:
            write(root / fill(release.brain_mask, folder, 10 * index + 8), (brain(index)[0] > 0).astype(np.uint8))
        for pattern in release.beside:
            path = root / fill(pattern, folder, index)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"not to be read")


def write(path: Path, array: np.ndarray) -> None:
    """A volume in the format of its name: NIfTI, MetaImage, or Analyze 7.5 (four axes, as OASIS-1 has them)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writers: dict[str, Callable[[], None]] = {
        ".mha": lambda: write_metaimage(path, array),
        ".img": lambda: nib.save(nib.AnalyzeImage(array[..., None].astype(np.int16), None), path),
    }
    writers.get(path.suffix, lambda: write_volume(path, array))()


def write_metaimage(path: Path, array: np.ndarray) -> None:
    import SimpleITK as sitk  # noqa: N813 (the library's own idiom)

    sitk.WriteImage(sitk.GetImageFromArray(array.T.copy()), str(path))
