import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_modules.config import SplitConfig
from data_modules.errors import DataError
from data_modules.layout import Case
from data_modules.split import SPLITS, group_cases, split_cases, split_digest


def cases(names, pool="any"):
    return [Case(name, {"image": name}, pool) for name in names]


def place(split):
    return {name: part for part in SPLITS for name in split[part]}


@given(st.sets(st.integers(0, 10_000), min_size=1, max_size=20))
def test_adding_subjects_never_moves_others(more):
    first = [f"s{i}" for i in range(60)]
    config = SplitConfig(val=0.2, test=0.3)
    before = place(split_cases(cases(first), config))
    after = place(split_cases(cases([*first, *(f"t{i}" for i in more)]), config))
    assert all(after[name] == before[name] for name in first)


def test_every_subject_is_in_one_split_and_shares_are_met():
    split = split_cases(cases([f"s{i}" for i in range(2000)]), SplitConfig(val=0.2, test=0.3))
    assert sorted(name for part in SPLITS for name in split[part]) == sorted(f"s{i}" for i in range(2000))
    assert len(split["val"]) == pytest.approx(400, abs=60)
    assert len(split["test"]) == pytest.approx(600, abs=70)


def test_pools_keep_anomalies_out_of_training_and_holdout_out_of_the_test():
    mixed = cases([f"n{i}" for i in range(100)], "train") + cases([f"a{i}" for i in range(100)], "test")
    split = split_cases(mixed, SplitConfig(val=0.2, test=0.3, holdout=0.25))
    assert all(name.startswith("n") for name in split["train"])
    assert all(name.startswith("a") for name in split["test"])
    assert {name[0] for name in split["val"]} == {"n", "a"}
    without = split_cases(mixed, SplitConfig(val=0.2, holdout=0.0))
    assert sum(name.startswith("a") for name in without["test"]) == 100


def test_the_salt_changes_the_split_and_its_digest():
    names = [f"s{i}" for i in range(50)]
    one, two = (split_cases(cases(names), SplitConfig(salt=salt)) for salt in "ab")
    assert one != two
    assert split_digest(one) != split_digest(two)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SplitConfig(val=1.0), r"dataset\.split\.val=1\.0"),
        (SplitConfig(val=0.5, test=0.5), "nothing is left to train on"),
        (SplitConfig(val=0.0), "none of 30 subjects falls into 'val'"),
        (SplitConfig(train_subjects=["s1"], val_subjects=["s1"], test_subjects=["s2"]), "lists s1 twice"),
        (SplitConfig(train_subjects=["s1"], val_subjects=["x"], test_subjects=["s2"]), "x, which is not in the data"),
        (SplitConfig(train_subjects=["s1"], val_subjects=["s3"], test_subjects=["s2"]), "says nothing about s0"),
        (SplitConfig(file="/nowhere.json"), r"dataset\.split\.file=/nowhere\.json"),
    ],
)
def test_a_bad_split_says_which_key(config, message):
    with pytest.raises(DataError, match=message):
        split_cases(cases([f"s{i}" for i in range(30)]), config)


def test_a_split_file_is_followed(tmp_path):
    wanted = {"train": ["a"], "val": ["b"], "test": ["c"]}
    path = tmp_path / "split.json"
    path.write_text(json.dumps(wanted))
    assert split_cases(cases("abc"), SplitConfig(file=str(path))) == wanted


def test_groups_stay_together_and_are_found_by_pattern_or_nearness():
    scans = [f"BraTS-GLI-{patient:05d}-10{time}" for patient in range(60) for time in range(3)]
    config = SplitConfig(val=0.2, test=0.3, group=r"(BraTS-[A-Z]+-\d+)")
    where = place(split_cases(cases(scans), config))
    assert len({where[f"BraTS-GLI-00007-10{time}"] for time in range(3)}) == 1
    assert all(len({where[name] for name in scans if name.startswith(scan[:15])}) == 1 for scan in scans)
    assert len({where[name] for name in scans}) == 3
    pictures = cases(["exp1_num_100.jpg", "exp2_num_250.jpg", "exp1_num_401.jpg", "exp1_num_1000.jpg", "else.jpg"])
    grouped = group_cases(pictures, SplitConfig(group=r"_num_(\d+)", group_gap=200))
    assert [[case.subject[5:] for case in members] for members in grouped.values()] == [
        ["num_100.jpg", "num_250.jpg", "num_401.jpg"],
        ["num_1000.jpg"],
        ["jpg"],
    ]


def test_a_group_with_an_anomaly_is_never_trained_on():
    normal = cases([f"exp1_num_{i * 1000}.jpg" for i in range(80)])
    broken = cases([f"exp2_num_{i * 1000 + 50}.jpg" for i in range(0, 80, 4)], "test")
    config = SplitConfig(val=0.2, test=0.2, holdout=0.2, group=r"_num_(\d+)", group_gap=200)
    where = place(split_cases([*normal, *broken], config))
    for i in range(0, 80, 4):
        assert where[f"exp1_num_{i * 1000}.jpg"] == where[f"exp2_num_{i * 1000 + 50}.jpg"] != "train"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SplitConfig(group="x("), "no regular expression"),
        (SplitConfig(group="x"), "expected parentheses"),
        (
            SplitConfig(group=r"(g)\d", train_subjects=["g1"], val_subjects=["g2"], test_subjects=["s"]),
            "divides the group g",
        ),
    ],
)
def test_a_bad_group_says_which_key(config, message):
    with pytest.raises(DataError, match=message):
        split_cases(cases(["g1", "g2", "s"]), config)
