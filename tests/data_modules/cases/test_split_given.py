"""Splits that a file, lists or the cases give are followed, and refused where they cannot be."""

import json
import unicodedata
from dataclasses import replace

import pytest

from data_modules.base.config import SplitConfig
from data_modules.base.errors import DataError
from data_modules.cases.case import SPLITS, Case
from data_modules.cases.split import split_cases


def cases(names, pool="any"):
    return [Case(name, {"image": name}, pool) for name in names]


def test_a_split_file_is_followed(tmp_path):
    wanted = {"train": ["a"], "val": ["b"], "test": ["c"]}
    path = tmp_path / "split.json"
    path.write_text(json.dumps(wanted))
    assert split_cases(cases("abc"), SplitConfig(file=str(path))) == wanted


@pytest.mark.parametrize("text", ['{"train": "a", "val": ["b"], "test": ["c"]}', '{"train": ["a"]}', "[]", "{"])
def test_a_split_file_of_another_form_is_refused(tmp_path, text):
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(DataError, match="expected JSON with lists under train, val, test"):
        split_cases(cases("abc"), SplitConfig(file=str(path)))


@pytest.mark.parametrize(
    ("subject", "pool", "message"),
    [
        ("a", "test", "trains on a, which is only to test on; put it into val or test"),
        ("a", "val", "trains on a, which is only to validate on; put it into val"),
        ("d", "train", "tests on d, which is only to train on; put it into train or val"),
    ],
)
def test_a_given_split_keeps_to_the_pools(subject, pool, message):
    lists = SplitConfig(train_subjects=["a", "b"], val_subjects=["c"], test_subjects=["d"])
    others = cases(name for name in "abcd" if name != subject)
    with pytest.raises(DataError, match=message):
        split_cases([*others, *cases(subject, pool)], lists)
    for allowed in {"train": "ab", "val": "cd", "test": "cd"}[pool]:
        rest = cases(name for name in "abcd" if name != allowed)
        split = split_cases([*rest, *cases(allowed, pool)], lists)
        assert split == {"train": ["a", "b"], "val": ["c"], "test": ["d"]}


@pytest.mark.parametrize("listed", [True, False])
def test_a_given_split_names_subjects_however_their_accents_are_composed(tmp_path, listed):
    composed, apart = ([unicodedata.normalize(form, f"\u00e9{i}") for i in range(3)] for form in ("NFC", "NFD"))
    path = tmp_path / "split.json"
    path.write_text(json.dumps(dict(zip(SPLITS, ([name] for name in apart), strict=True))))
    lists = {f"{part}_subjects": [name] for part, name in zip(SPLITS, apart, strict=True)}
    given = SplitConfig(**lists) if listed else SplitConfig(file=str(path))
    assert split_cases(cases(composed), given) == {part: [name] for part, name in zip(SPLITS, composed, strict=True)}


def test_the_split_of_the_cases_replaces_lists_and_excludes_other_sources():
    fixed = [replace(case, split=part) for case, part in zip(cases("abc"), SPLITS, strict=True)]
    assert split_cases(fixed, SplitConfig(train_subjects=["c"])) == {"train": ["a"], "val": ["b"], "test": ["c"]}
    with pytest.raises(DataError, match=r"split\.file=x\.json and the column 'split' of dataset\.subjects_file"):
        split_cases(fixed, SplitConfig(file="x.json"))
    with pytest.raises(DataError, match="folds=2: the split is given already by the column 'split'"):
        split_cases(fixed, SplitConfig(folds=2))
    with pytest.raises(DataError, match="says nothing about c"):
        split_cases([*fixed[:2], *cases("c")], SplitConfig())
    with pytest.raises(DataError, match="divides the group"):
        split_cases(fixed, SplitConfig(group="()"))
