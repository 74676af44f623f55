"""Maps and their masks by name: accents however composed, and without what systems leave in folders."""

import unicodedata

import pytest

from anomaly_bench.scoring.pairs import Folders, pair
from data_modules.base.errors import DataError


def touched(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.fixture
def folders(tmp_path):
    return Folders(tmp_path / "maps", tmp_path / "masks")


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_are_the_same_however_they_are_composed(folders, forms):
    names = [unicodedata.normalize(form, "crépi/façade") for form in forms]
    scored, mask = touched(folders.maps / f"{names[0]}.npy"), touched(folders.masks / f"{names[1]}_mask.png")
    normal = touched(folders.maps / f"{unicodedata.normalize(forms[0], 'bâti')}.npy")
    items, _ = pair(folders, normal=[unicodedata.normalize(forms[1], "bâti*")])
    assert {item.map: item.mask for item in items} == {scored: mask, normal: None}


@pytest.mark.parametrize(
    "left", [".ipynb_checkpoints", ".Trash-1000/files", "@eaDir", "__MACOSX", "$RECYCLE.BIN", "lost+found", "#recycle"]
)
def test_what_systems_leave_is_no_map_and_no_mask(folders, left):
    scored, mask = touched(folders.maps / "a/1.npy"), touched(folders.masks / "a/1.png")
    for folder, name in ((folders.maps, "1.npy"), (folders.masks, "1.png"), (folders.masks, "2.png")):
        touched(folder / left / name)
        touched(folder / "a" / left / name)
    touched(folders.masks / "a/._1.png")
    assert [(item.name, item.map, item.mask) for item in pair(folders)[0]] == [("a/1", scored, mask)]


def test_a_folder_that_localize_has_written_is_taken_as_it_is(folders):
    scored, mask = touched(folders.maps / "a/1_map.nii.gz"), touched(folders.masks / "a/1_seg.nii.gz")
    for name in ("1_calibrated.nii.gz", "1_segmentation.nii.gz", "1_overlay.png", "1.json"):
        touched(folders.maps / "a" / name)
    other = touched(folders.maps / "b/2_overlay.png")  # of no map beside it
    items, _ = pair(folders, missing_normal=True)
    assert {item.map: item.mask for item in items} == {scored: mask, other: None}


def test_a_single_pattern_of_normal_maps_is_no_list_of_letters(folders):
    calm, lost = touched(folders.maps / "good/1.npy"), touched(folders.maps / "bad/2.npy")
    touched(folders.masks / "bad/2.png")
    assert [item.map for item in pair(folders, normal="good/*")[0]] == [lost, calm]
    touched(folders.maps / "bad/3.npy")
    with pytest.raises(DataError, match=r"bad/3\.npy"):
        pair(folders, normal="good/*")


@pytest.mark.parametrize(("name", "read"), [("2.JPG", True), ("2.webp", True), ("2.mha", False), ("2.nii.bz2", False)])
def test_masks_of_every_kind_of_picture_are_found_and_other_images_are_named(folders, name, read):
    for path in (folders.maps / "1.npy", folders.maps / "2.npy", folders.masks / "1.png", folders.masks / "notes"):
        touched(path)
    mask = touched(folders.masks / name)
    if read:
        assert [item.mask for item in pair(folders)[0]] == [folders.masks / "1.png", mask]
    else:
        with pytest.raises(
            DataError, match=rf"masks: 1 file of a kind that is not read: \S*{name}; save them as NIfTI"
        ):
            pair(folders)
