import unicodedata

import pytest

from data_modules.cases.patterns import Tree
from data_modules.cases.unused import listed, unused

PICTURES = ["{category}/train/good/{stem}.png", "{category}/test/{defect}/{stem}.png"]
MASK = "{category}/ground_truth/{defect}/{stem}_mask.png"
SOUND = ("a/train/good/1.PNG", "a/test/bad/2.png", "a/ground_truth/bad/2_mask.Png")


def lay(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return Tree(root)


@pytest.mark.parametrize(
    ("name", "alone", "strange"),
    [
        ("a/ground_truth/bad/3_mask.png", True, None),
        ("a/ground_truth/bad/2_gt.png", False, f"'{MASK}'"),
        ("a/test/bad/3.bmp", False, f"'{PICTURES[1]}'"),
        ("a/train/good/3.heic", False, f"'{PICTURES[0]}'"),
        ("a/test/new/3.jpeg", False, f"'{PICTURES[1]}'"),
        ("a/test/bad/deeper/3.png", False, f"'{PICTURES[1]}'"),
        ("a/train/good/good/deep/3.JPG", False, f"'{PICTURES[0]}'"),
        ("a/test/bad/deeper/3.dat", False, None),
        ("a/3.png", False, None),
        ("b/validation/3.png", False, None),
    ],
)
def test_what_lies_in_the_folders_of_patterns_and_belongs_to_no_case_is_named(tmp_path, name, alone, strange):
    found = unused(lay(tmp_path, *SOUND, name), PICTURES, [MASK])
    assert found.alone == ([name] if alone else [])
    assert found.strange == ({strange: [name]} if strange else {})
    assert found.files == ([name] if alone or strange else [])


def test_clutter_is_counted_apart_and_other_categories_not_at_all(tmp_path):
    tree = lay(tmp_path, *SOUND, "a/test/bad/2.json", "a/Thumbs.db", "a/train/good/Thumbs.db", "b/test/bad/2.bmp")
    chosen = unused(tree, PICTURES, [MASK], wanted=lambda names: names["category"] == "a")
    assert (chosen.files, chosen.clutter) == ([], 2)
    assert unused(tree, PICTURES, [MASK]).files == ["b/test/bad/2.bmp"]


def test_any_folder_is_not_every_folder(tmp_path):
    """What `**/{subject}/` stands for is where files fit, not the whole disk."""
    tree = lay(tmp_path, "x/s1/s1_t1.nii.gz", "x/s1/s1_dwi.nii.gz", "other/s2/s2_dwi.nii.gz", "ok/Imgs/1.jpg")
    found = unused(tree, ["**/{subject}/{subject}_t1.nii.gz", "**/Imgs/{stem}.png"])
    assert found.files == ["ok/Imgs/1.jpg", "x/s1/s1_dwi.nii.gz"]


def test_a_mask_of_a_normal_picture_is_not_alone_and_accents_do_not_matter(tmp_path):
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    tree = lay(tmp_path, f"good/{composed}.png", f"masks/{apart}.png", "bad/1.png", "masks/1.png", "masks/2.png")
    assert unused(tree, ["good/{stem}.png", "bad/{stem}.png"], ["masks/{stem}.png"]).alone == ["masks/2.png"]


def test_a_list_of_files_is_one_short_line():
    assert listed(["a\nb", "c", "d", "e"]) == "a\\nb, c, d and 1 more"
