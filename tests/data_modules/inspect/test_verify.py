import gzip
import json
import re
import shutil

import nibabel as nib
import numpy as np
import pytest
from fakes import brain, pictures_config, volumes_config, write_volume

from data_modules.base.config import SplitConfig
from data_modules.base.errors import DataError
from data_modules.inspect.findings import ERROR, NOTE, WARNING, Problem
from data_modules.inspect.verify import verify
from data_modules.modules.nifti import NiftiDataModule
from data_modules.modules.pictures import PictureDataModule
from tests.helpers.data.problems import only

pytestmark = pytest.mark.usefixtures("small_splits_are_fine")


def volumes(root, cache, **changes):
    return NiftiDataModule(volumes_config(root, **changes), cache_dir=cache)


def flair(root, index):
    return root / f"BraTS2021_{index:05d}/BraTS2021_{index:05d}_flair.nii.gz"


def seg(root, index):
    return root / f"BraTS2021_{index:05d}/BraTS2021_{index:05d}_seg.nii.gz"


def rewrite(path, change, affine=None):
    image = nib.load(path)
    array = np.asarray(image.dataobj).copy()
    write_volume(path, change(array), image.affine if affine is None else affine)


@pytest.mark.parametrize("kind", ["volumes", "pictures"])
def test_sound_data_has_no_errors_and_every_file_is_read(kind, brats_root, mvtec_root, cache):
    data = (
        volumes(brats_root, cache)
        if kind == "volumes"
        else PictureDataModule(pictures_config(mvtec_root), cache_dir=cache)
    )
    steps = []
    findings = verify(data, lambda done, total: steps.append((done, total)))
    assert not [problem for problem in findings.problems if problem.level != NOTE]
    assert (findings.subjects, findings.files) == ((8, 16) if kind == "volumes" else (34, 40))
    assert steps == [(done, findings.subjects) for done in range(1, findings.subjects + 1)]


def nan(root):
    def change(array):
        array[4, 4, 4] = np.nan
        return array

    rewrite(flair(root, 3), change)


def flip_a_bit_of_the_checksum(root):
    content = bytearray(flair(root, 3).read_bytes())
    content[-6] ^= 1
    flair(root, 3).write_bytes(content)


def mirror(root):
    """The affine of the image alone: it disagrees with the label's."""
    rewrite(flair(root, 3), lambda array: array + 1, np.diag([1.0, -1.0, 1.0, 1.0]))


def stretch(root):
    rewrite(seg(root, 3), lambda array: array, np.diag([-1.0, -1.0, 2.0, 1.0]))


DAMAGES = {
    "missing": (lambda root: seg(root, 3).unlink(), "has no label", "add it or remove the subject"),
    "truncated": (
        lambda root: flair(root, 3).write_bytes(flair(root, 3).read_bytes()[:500]),
        "cannot be read as a volume",
        "copy it again",
    ),
    "checksum": (flip_a_bit_of_the_checksum, "cannot be read as a volume", "copy it again"),
    "no volume": (lambda root: flair(root, 3).write_bytes(gzip.compress(b"text")), "cannot be read", "copy it again"),
    "nan": (nan, "NaN", "repair the volume"),
    "empty": (lambda root: rewrite(flair(root, 3), np.zeros_like), "every voxel is 0", "copy it again"),
    "one intensity": (
        lambda root: rewrite(flair(root, 3), lambda array: (array > 0).astype(np.float32)),
        "the one intensity 1",
        "copy it again",
    ),
    "shape": (
        lambda root: rewrite(seg(root, 3), lambda array: array[:, :, :-1]),
        "(20, 24, 9) voxels, but",
        "resample",
    ),
    "spacing": (stretch, "its voxels are 1×1×2 mm", "resample"),
    "affine": (mirror, "its affine puts its voxels elsewhere", "repair its header"),
    "blurred label": (
        lambda root: rewrite(seg(root, 3), lambda array: array * np.linspace(1, 2, array.shape[-1], dtype=np.float32)),
        "a mask with the numbers 0, 3.333",
        "dataset.anomalous_labels",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_one_error_with_its_file_and_remedy(brats_root, cache, damage):
    spoil, what, remedy = DAMAGES[damage]
    spoil(brats_root)
    problem = only(verify(volumes(brats_root, cache)))
    assert what in problem.what
    assert remedy in problem.remedy
    assert "BraTS2021_00003" in problem.file + problem.what


def test_what_damaged_files_make_of_a_split_is_no_problem_of_its_own(brats_root, cache):
    for index in range(8):
        flair(brats_root, index).write_bytes(flair(brats_root, index).read_bytes()[:500])
    findings = verify(volumes(brats_root, cache))
    assert all("cannot be read as a volume" in problem.what for problem in findings.problems)


def test_all_damages_are_named_in_one_run(brats_root, cache):
    nan(brats_root)
    seg(brats_root, 1).unlink()
    flair(brats_root, 2).write_bytes(flair(brats_root, 2).read_bytes()[:300])
    seg(brats_root, 2).write_bytes(b"")
    rewrite(flair(brats_root, 4), lambda array: array + 1, np.diag([1.0, -1.0, 1.0, 1.0]))
    shutil.copy(flair(brats_root, 5), flair(brats_root, 6))
    findings = verify(volumes(brats_root, cache))
    named = " ".join(f"{problem.file} {problem.what}" for problem in findings.problems if problem.level == ERROR)
    for index in (1, 2, 3, 4):
        assert f"BraTS2021_{index:05d}" in named, index
    assert any(problem.subject == "BraTS2021_00006" for problem in findings.problems)
    assert findings.count(ERROR) == 5
    assert all(problem.remedy for problem in findings.problems)
    assert [problem.level for problem in findings.problems] == sorted(
        (problem.level for problem in findings.problems), key=[ERROR, WARNING, NOTE].index
    )
    json.dumps(findings.to_dict())


@pytest.mark.parametrize("across", [True, False])
def test_a_subject_under_two_names_is_found_whatever_its_compression(brats_root, cache, across):
    names = [f"BraTS2021_{index:05d}" for index in range(8)]
    image = nib.load(flair(brats_root, 0))
    write_volume(flair(brats_root, 7), np.asarray(image.dataobj, dtype=np.float64), image.affine)
    assert flair(brats_root, 0).read_bytes() != flair(brats_root, 7).read_bytes()
    train = [*names[:4], names[5]] if across else [*names[:4], names[5], names[7]]
    test = [names[6], names[7]] if across else [names[6]]
    split = SplitConfig(train_subjects=train, val_subjects=[names[4]], test_subjects=test)
    problem = next(
        found for found in verify(volumes(brats_root, cache, split=split)).problems if "same image" in found.what
    )
    assert problem.level == (ERROR if across else NOTE)
    assert problem.subject == names[7]
    assert names[0] in problem.what
    assert ("in train and test" if across else "both in train") in problem.what


def test_a_label_outside_the_brain_and_another_orientation_are_warnings(brats_root, cache):
    def corner(array):
        array[:] = 0
        array[:3, :3, :3] = 1
        array[10, 12, 5] = 1
        return array

    rewrite(seg(brats_root, 3), corner)
    image = nib.load(seg(brats_root, 5))
    turned = image.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt("RAS"))
    )
    nib.save(turned, seg(brats_root, 5))
    findings = verify(volumes(brats_root, cache))
    outside, orientation = (problem for problem in findings.problems if problem.level == WARNING)
    assert findings.count(ERROR) == 0
    assert outside.what == "96% of the labelled voxels lie outside the brain"
    assert "says RAS" in orientation.what
    assert "says LPS" in orientation.what
    assert orientation.file == str(seg(brats_root, 5))


def test_a_volume_with_its_skull_is_one_warning_for_the_cohort(brats_root, cache):
    for index in range(8):
        rewrite(flair(brats_root, index), lambda array: array + 5)
    problem = only(verify(volumes(brats_root, cache)), WARNING)
    assert "in 8 of 8 subjects" in problem.what
    assert "dataset.brain_mask" in problem.remedy


def test_what_the_cohort_does_not_agree_on_is_noted(brats_root, cache):
    volume, label = brain(3)
    for path, array in ((flair(brats_root, 3), volume), (seg(brats_root, 3), label // 2)):
        write_volume(path, array, np.diag([-1.0, -1.0, 3.0, 1.0]))
    labels, spacing = (problem.what for problem in verify(volumes(brats_root, cache)).problems)
    assert labels == "label values other than 0: 1 in 1 subjects, 2 in 7 subjects"
    assert spacing == "subjects differ in spacing (mm): 1×1×1 (7), 1×1×3 (1)"


def test_a_label_that_is_no_whole_number_is_reported_as_it_is(brats_root, cache):
    rewrite(seg(brats_root, 3), lambda array: (array > 0).astype(np.float32) / 2)
    (labels,) = (problem.what for problem in verify(volumes(brats_root, cache)).problems)
    assert labels == "label values other than 0: 0.5 in 1 subjects, 2 in 7 subjects"


def test_labels_without_any_wanted_value_are_named(brats_root, cache):
    findings = verify(volumes(brats_root, cache, anomalous_labels=[4]))
    warnings = [problem.what for problem in findings.problems if problem.level == WARNING]
    assert warnings == ["has the values 2, none of dataset.anomalous_labels=[4]"] * 8
    first = findings.problems[0]
    assert (first.level, first.what) == (
        ERROR,
        "no subject of the dataset has an anomalous pixel by dataset.anomalous_labels=[4]",
    )
    assert not [problem for problem in findings.problems if "split" in problem.remedy]


def test_a_test_split_without_the_wanted_value_is_named(brats_root, cache):
    data = volumes(brats_root, cache)
    data.setup()
    for name in data.split["test"]:
        rewrite(brats_root / f"{name}/{name}_seg.nii.gz", lambda array: np.where(array > 0, 5, 0).astype(np.uint8))
    error = only(verify(volumes(brats_root, cache, anomalous_labels=[2])))
    assert (error.what, error.remedy) == ("the test subjects have no anomalous pixel", "change dataset.split")


def test_anomalies_that_all_lie_in_slices_left_out_are_told(brats_root, cache):
    def at_the_top_alone(array):
        out = np.zeros_like(array)
        out[10, 12, -1] = 2
        return out

    for index in range(8):
        rewrite(seg(brats_root, index), at_the_top_alone)
    data = volumes(brats_root, cache, min_foreground=0.5)
    error = only(verify(data))
    assert error.what == "no subject of the dataset has an anomalous pixel in a slice with enough brain to be kept"
    assert error.remedy == "lower dataset.min_foreground=0.5"
    with pytest.raises(DataError, match=f"^brats: {re.escape(error.what)}; {re.escape(error.remedy)}$"):
        data.setup()


def test_a_split_that_cannot_be_and_a_missing_root_are_findings(brats_root, cache):
    split = SplitConfig(train_subjects=["BraTS2021_00000"])
    assert "dataset.split" in only(verify(volumes(brats_root, cache, split=split))).what
    nowhere = verify(volumes(brats_root / "no", cache))
    assert (nowhere.subjects, nowhere.count(ERROR)) == (0, 1)


def test_a_csv_of_subjects_is_checked_too(brats_root, cache, tmp_path):
    (tmp_path / "subjects.csv").write_text("subject,age\nBraTS2021_00001,50\nBraTS2021_00042,51\n")
    problem = only(verify(volumes(brats_root, cache, subjects_file=str(tmp_path / "subjects.csv"))))
    assert "BraTS2021_00042" in problem.what


def test_headers_that_leave_open_where_a_volume_lies_are_told_and_those_without_an_affine_refused(brats_root, cache):
    image = nib.load(flair(brats_root, 2))
    image.set_qform(image.affine @ np.diag([-1, 1, 1, 1]), 1)
    nib.save(image, flair(brats_root, 2))
    content = bytearray(gzip.decompress(flair(brats_root, 4).read_bytes()))
    content[280:328] = np.full(12, np.nan, "<f4").tobytes()
    flair(brats_root, 4).write_bytes(gzip.compress(content))
    findings = verify(volumes(brats_root, cache))
    assert "its sform and its qform put a voxel up to" in only(findings, WARNING).what
    assert only(findings).file == str(flair(brats_root, 4))
    assert "its affine does not say where its voxels lie" in only(findings).what


@pytest.mark.parametrize("where", ["read_case", "data_modules.inspect.volumes.examine_volumes"])
def test_whatever_one_subject_does_the_report_goes_on_and_names_it(brats_root, cache, monkeypatch, where):
    data = volumes(brats_root, cache)
    target, name = (data, where) if where == "read_case" else where.rsplit(".", 1)
    if where == "read_case":
        whole = data.read_case
    else:
        import data_modules.inspect.volumes as target

        whole = target.examine_volumes

    def fails(*arguments):
        if arguments[-1].subject == "BraTS2021_00003":
            raise ZeroDivisionError("unheard of")
        return whole(*arguments)

    monkeypatch.setattr(target, name, fails)
    findings = verify(data)
    assert findings.subjects == 8
    assert only(findings).what == "reading the subject failed with ZeroDivisionError: unheard of"
    assert only(findings).file == str(flair(brats_root, 3))


def test_an_errors_message_comes_apart():
    problem = Problem.of(DataError("/a/b.nii: is damaged; it ends early; copy it again"), "s")
    assert problem == Problem(ERROR, "is damaged; it ends early", "copy it again", "/a/b.nii", "s")
    assert Problem.of(DataError("dataset.split lists x twice")) == Problem(ERROR, "dataset.split lists x twice")


def test_a_missing_root_is_named(tmp_path, cache):
    (problem,) = verify(volumes(tmp_path / "gone", cache)).problems
    assert problem.what == f"{tmp_path / 'gone'}: no such folder"


def test_the_modalities_that_were_not_read_are_named_or_read(brats_root, cache):
    for index in range(8):
        shutil.copy(flair(brats_root, index), str(flair(brats_root, index)).replace("flair", "t1"))
    broken = flair(brats_root, 3).with_name("BraTS2021_00003_t1.nii.gz")
    rewrite(broken, lambda array: array[:-1])
    image = {name: f"{{subject}}/{{subject}}_{name}.nii.gz" for name in ("flair", "t1")}
    data = volumes(brats_root, cache, image=image)
    found = verify(data)
    assert (found.read, found.unread, found.files, found.count(ERROR)) == (["flair"], ["t1"], 16, 0)
    found = verify(data, all_modalities=True)
    assert (found.read, found.unread, found.files, found.subjects) == (["flair", "t1"], [], 24, 8)
    (problem,) = [problem for problem in found.problems if problem.level == ERROR]
    assert "00003" in problem.subject
    assert "voxels, but" in problem.what


def test_a_split_of_few_subjects_is_a_warning(brats_root, cache, monkeypatch):
    monkeypatch.setattr("data_modules.cases.split_checks.LEAST", 3)
    assert only(verify(volumes(brats_root, cache)), WARNING).what.startswith("2 subjects in ")


def test_a_pattern_of_groups_that_matches_some_names_is_a_warning_and_none_an_error(brats_root, cache):
    def found(group):
        return verify(volumes(brats_root, cache, split=SplitConfig(val=0.3, test=0.3, salt="b", group=group)))

    some = only(found("_0000([0-4])"), WARNING)
    assert "does not match 3 of 8 subjects, such as BraTS2021_00005" in some.what
    assert some.remedy.endswith("end it with |$ if they are to be alone")
    none = only(found(r"(BRATS)_\d+"))
    assert none.what.startswith(r"dataset.split.group=(BRATS)_\d+ matches none of 8 names, such as BraTS2021_00000")
    assert none.remedy == "correct the pattern, or set dataset.split.group=null"
