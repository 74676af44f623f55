from dataclasses import replace

from fakes import pictures_config, volumes_config

from data_modules.base.config import AboutConfig, NiftiConfig
from data_modules.catalog.entries import look

ABOUT = AboutConfig(
    title="Brains", homepage="h", citation="c", licence="CC0", access="free", folder="brats", downloads=[]
)
VOLUMES = volumes_config(None, name="mine", about=ABOUT)


def test_an_entry_says_what_it_is_where_it_is_expected_and_how_many_subjects_are_there(brats_root, tmp_path):
    entry = look("mine", VOLUMES, tmp_path / "cache", tmp_path)
    assert (entry.state, entry.subjects, entry.note) == ("here", 8, "")
    assert (entry.root, entry.title, entry.licence, entry.access) == (brats_root, "Brains", "CC0", "free")
    assert not (tmp_path / "cache").exists()


def test_a_subject_without_its_label_is_counted_out_and_named(brats_root, tmp_path):
    (brats_root / "BraTS2021_00003/BraTS2021_00003_seg.nii.gz").unlink()
    entry = look("mine", VOLUMES, tmp_path / "cache", tmp_path)
    assert (entry.state, entry.subjects) == ("here", 7)
    assert entry.note.startswith("1 left out, the first: ")
    assert "BraTS2021_00003" in entry.note


def test_states_of_what_is_not_there(brats_root, tmp_path):
    assert look("mine", replace(VOLUMES, root=str(tmp_path / "no")), tmp_path, tmp_path).state == "missing"
    unfit = look("mine", replace(VOLUMES, image={"flair": "{subject}.mha"}, label=None), tmp_path, tmp_path)
    assert unfit.state == "unfit"
    assert str(brats_root) in unfit.note
    assert look("mine", replace(VOLUMES, modality=["t7"]), tmp_path, tmp_path).state in ("incomplete", "unfit")


def test_embedded_data_is_not_made_for_a_look(tmp_path):
    config = NiftiConfig(
        name="tiny_brain", kind="nifti", domain="medical", embedded="tiny_brain", image={"t1": "x"}, modality=["t1"]
    )
    entry = look("tiny_brain", config, tmp_path / "cache", tmp_path)
    assert (entry.state, entry.access) == ("on first use", "embedded")
    assert not (tmp_path / "cache").exists()


def test_pictures_are_counted_without_opening_their_masks(mvtec_root, tmp_path):
    config = pictures_config(mvtec_root, empty_mask_is_normal=True)
    for mask in (mvtec_root / "tile/ground_truth").rglob("*.png"):
        mask.write_bytes(b"no picture")
    assert look("tiles", config, tmp_path, tmp_path).subjects == 34
