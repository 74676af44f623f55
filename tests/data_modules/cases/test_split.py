import hashlib
import os
import re
import unicodedata
from collections import Counter
from dataclasses import replace
from math import ceil, floor

import pytest
from fakes import pictures_config, volumes_config
from hypothesis import given, settings
from hypothesis import strategies as st

from data_modules.base.config import HealthyConfig, SplitConfig
from data_modules.base.errors import DataError
from data_modules.cases.case import SPLITS, Case
from data_modules.cases.split import doubts, group_cases, split_cases, split_digest, unit_hash
from data_modules.cases.split_checks import few_subjects


def cases(names, pool="any", **attributes):
    return [Case(name, {"image": name}, pool, attributes=attributes) for name in names]


def place(split):
    return {name: part for part in SPLITS for name in split[part]}


@given(st.integers(3, 80), st.text(max_size=3))
def test_a_new_subject_moves_at_most_two_others(count, salt):
    first, config = [f"s{i}" for i in range(count)], SplitConfig(val=0.2, test=0.3, salt=salt)
    before, after = (place(split_cases(cases(names), config)) for names in (first, [*first, "new"]))
    assert sum(after[name] != before[name] for name in first) <= 2


@pytest.mark.parametrize(
    ("count", "counts"),
    [(3, (1, 1, 1)), (4, (2, 1, 1)), (5, (3, 1, 1)), (10, (5, 2, 3)), (20, (11, 3, 6)), (200, (110, 30, 60))],
)
def test_shares_hold_in_small_cohorts_whatever_the_names(count, counts):
    for salt in range(20):
        split = split_cases(cases([f"s{i}" for i in range(count)]), SplitConfig(salt=str(salt)))
        assert tuple(len(split[part]) for part in SPLITS) == counts


@given(st.integers(3, 200), st.floats(0.01, 0.45), st.floats(0.01, 0.45))
def test_every_subject_is_in_one_split_and_shares_are_met_to_within_one(count, val, test):
    names = [f"s{i}" for i in range(count)]
    split = split_cases(cases(names), SplitConfig(val=val, test=test))
    assert sorted(name for part in SPLITS for name in split[part]) == sorted(names)
    shares = {"val": val, "test": test, "train": 1 - val - test}
    assert all(split.values())
    if min(shares.values()) * count >= 1:
        assert all(abs(len(split[part]) - share * count) <= 1 + 1e-6 for part, share in shares.items())


def test_each_pool_meets_its_share():
    known = [*cases([f"n{i}" for i in range(10)], "train"), *cases([f"a{i}" for i in range(2)], "test")]
    split = split_cases(known, SplitConfig(val=0.2, holdout=0.2))
    assert {part: len(names) for part, names in split.items()} == {"train": 8, "val": 3, "test": 1}


def test_splits_of_fewer_than_three_are_named():
    assert few_subjects({"train": list("abc"), "val": ["d"], "test": ["e", "f"]}, "picture").startswith(
        "1 picture in val, 2 pictures in test: what fewer than 3 pictures say may be chance; add some"
    )
    assert few_subjects({part: list("abc") for part in SPLITS}) == ""


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
        (SplitConfig(file="split.csv"), r"expected JSON; give a CSV .* as dataset\.subjects_file"),
        (SplitConfig(folds=1), r"dataset\.split\.folds=1: expected at least 2"),
        (SplitConfig(folds=3, fold=3), r"dataset\.split\.fold=3: expected 0 to 2"),
        (SplitConfig(folds=3, fold=-1), r"dataset\.split\.fold=-1: expected 0 to 2"),
        (SplitConfig(fold=1), r"dataset\.split\.fold=1: there are no folds"),
        (SplitConfig(folds=300), r"folds=300: there are 30 subjects .*choose 2 to 30 folds"),
        (SplitConfig(folds=3, file="x.json"), r"folds=3: the split is given already by dataset\.split\.file"),
        (
            SplitConfig(stratify="sex", train_subjects=["s1"]),
            r"stratify=sex: the split is given already by .*train_subj",
        ),
        (SplitConfig(stratify="sex"), r"stratify=sex: s0 has no such attribute \(it has: none\); .*subjects_file"),
    ],
)
def test_a_bad_split_says_which_key(config, message):
    with pytest.raises(DataError, match=message):
        split_cases(cases([f"s{i}" for i in range(30)]), config)


@pytest.mark.parametrize(("pool", "parts"), [("train", {"train", "val"}), ("val", {"val"}), ("test", {"val", "test"})])
def test_subjects_that_may_go_anywhere_go_where_the_others_of_their_group_may(pool, parts):
    pairs = [case for i in range(200) for case in (*cases([f"s{i}_a"]), *cases([f"s{i}_b"], pool))]
    others = [*cases([f"n{i}" for i in range(50)], "train"), *cases([f"t{i}" for i in range(50)], "test")]
    where = place(split_cases([*pairs, *others], SplitConfig(group="(s[0-9]+)_", val=0.3, test=0.3, holdout=0.3)))
    assert {where[case.subject] for case in pairs} == parts


def test_a_group_whose_parentheses_found_nothing_is_the_subject_alone():
    found = group_cases(cases(["x1", "s2", "s3"]), SplitConfig(group="(x)|s"))
    assert {name: len(members) for name, members in found.items()} == {"x": 1, "s2": 1, "s3": 1}


def test_a_name_is_placed_the_same_however_its_accents_are_composed_and_coded():
    names = [f"é{i}" for i in range(30)]
    composed, apart = (
        split_cases(cases(unicodedata.normalize(form, name) for name in names), SplitConfig())
        for form in ("NFC", "NFD")
    )
    assert {unicodedata.normalize("NFC", name): part for name, part in place(apart).items()} == place(composed)
    assert 0 <= unit_hash("", os.fsdecode(b"caf\xe9.png")) < 1


@pytest.mark.parametrize("config", [SplitConfig(), SplitConfig(folds=3, fold=1), SplitConfig(stratify="sex", val=0.3)])
def test_what_is_only_to_validate_on_goes_nowhere_else(config):
    known = [*cases([f"s{i}" for i in range(60)], sex="F"), *cases([f"v{i}" for i in range(30)], "val", sex="F")]
    where = place(split_cases(known, config))
    assert {where[f"v{i}"] for i in range(30)} == {"val"}
    with pytest.raises(DataError, match="has subjects to validate on and others"):
        split_cases([*known, *cases("t", "train", sex="F")], replace(config, group="()"))


def test_the_default_split_is_the_documented_one():
    """By the Blake2b of salt/name: the first 15 % of the subjects → val, the next 30 % → test, the others → train."""

    def u(name):
        return int(hashlib.blake2b(f"anomaly_bench/{name}".encode(), digest_size=8).hexdigest(), 16) / 16**16

    names = [f"s{i}" for i in range(300)]
    split, order = split_cases(cases(names), SplitConfig()), sorted(names, key=u)
    assert split == {"train": sorted(order[135:]), "val": sorted(order[:45]), "test": sorted(order[45:135])}
    assert split_digest(split) == "b24aa9647811aee3"


def folds_of(known, config):
    """The split of every fold, and how often each subject is in each part."""
    splits = [place(split_cases(known, replace(config, fold=fold))) for fold in range(config.folds)]
    return splits, {case.subject: Counter(split[case.subject] for split in splits) for case in known}


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.booleans(), st.sets(st.integers(0, 5_000), min_size=80, max_size=120), st.text(max_size=3))
def test_folds_cover_every_subject_once_and_keep_pools_and_groups(folds, stratified, numbers, salt):
    pools = [("any", "p"), ("train", "h"), ("test", "a")]
    known = [
        case
        for number in numbers
        for pool, letter in pools
        for case in cases([f"{letter}{number}_{scan}" for scan in range(1 + number % 2)], pool, sex="FM"[number % 2])
    ]
    config = SplitConfig(
        val=0.3, folds=folds, group=r"(\w+)_", salt=salt, stratify="sex" if stratified else None, test=0.9, holdout=0.9
    )
    splits, counts = folds_of(known, config)
    for case in known:
        count = counts[case.subject]
        assert sum(count.values()) == folds
        assert count["test"] == (0 if case.pool == "train" else 1)
        assert count["train"] == 0 or case.pool != "test"
        twin = case.subject[:-1] + "0"
        assert all(split[case.subject] == split[twin] for split in splits)


def fold_of(known, config):
    """The fold that each subject is tested in."""
    splits = (split_cases(known, replace(config, fold=fold))["test"] for fold in range(config.folds))
    return {name: fold for fold, names in enumerate(splits) for name in names}


@settings(max_examples=25, deadline=None)
@given(st.integers(6, 60), st.integers(2, 6), st.text(max_size=3))
def test_folds_are_equal_to_within_one_and_a_new_subject_moves_few(count, folds, salt):
    first, config = [f"s{i}" for i in range(count)], SplitConfig(val=0.2, folds=folds, salt=salt)
    before, after = (fold_of(cases(names), config) for names in (first, [*first, "new"]))
    sizes = Counter(before.values())
    assert len(sizes) == folds
    assert max(sizes.values()) - min(sizes.values()) <= 1
    assert sum(after[name] != before[name] for name in first) < folds


def test_validation_differs_between_folds_and_meets_its_share():
    splits, counts = folds_of(cases([f"s{i}" for i in range(200)]), SplitConfig(val=0.25, folds=4))
    assert all(Counter(split.values()) == {"test": 50, "val": 38, "train": 112} for split in splits)
    assert sum(count["train"] == 0 for count in counts.values()) == pytest.approx(200 * 0.25**3, abs=8)


strata = st.lists(st.sampled_from(["GE", "Philips", "Siemens"]), min_size=100, max_size=200)


def of_scanners(scanners, letter="s"):
    return [case for i, name in enumerate(scanners) for case in cases([f"{letter}{i}"], scanner=name)]


@settings(max_examples=40, deadline=None)
@given(strata, st.floats(0.1, 0.4), st.floats(0.1, 0.5), st.text(max_size=3))
def test_strata_meet_their_shares_to_within_one(scanners, val, test, salt):
    where = place(split_cases(of_scanners(scanners), SplitConfig(val=val, test=test, stratify="scanner", salt=salt)))
    assert len(where) == len(scanners)
    for scanner, count in Counter(scanners).items():
        got = Counter(where[f"s{i}"] for i, name in enumerate(scanners) if name == scanner)
        for part, share in (("val", val), ("test", test), ("train", 1 - val - test)):
            assert abs(got[part] - share * count) < 1 + 1e-9


@settings(max_examples=40, deadline=None)
@given(strata, st.integers(2, 5), st.text(max_size=3))
def test_stratified_folds_are_equal_to_within_one(scanners, folds, salt):
    config = SplitConfig(val=0.3, folds=folds, stratify="scanner", salt=salt)
    splits, counts = folds_of(of_scanners(scanners), config)
    assert all(count["test"] == 1 for count in counts.values())
    for scanner, count in Counter(scanners).items():
        for split in splits:
            tested = sum(split[f"s{i}"] == "test" for i, name in enumerate(scanners) if name == scanner)
            assert floor(count / folds) <= tested <= ceil(count / folds)


@settings(max_examples=40, deadline=None)
@given(strata, st.integers(0, 10_000), st.text(max_size=3))
def test_a_new_subject_moves_at_most_two_of_its_stratum(scanners, number, salt):
    config = SplitConfig(val=0.2, test=0.3, stratify="scanner", salt=salt)
    before = place(split_cases(of_scanners(scanners), config))
    new = cases([f"t{number}"], scanner="GE")
    after = place(split_cases([*of_scanners(scanners), *new], config))
    moved = [i for i in range(len(scanners)) if after[f"s{i}"] != before[f"s{i}"]]
    assert len(moved) <= 2
    assert all(scanners[i] == "GE" for i in moved)


def test_the_salt_changes_a_stratified_split():
    scanners = ["GE", "Philips"] * 50
    one, two = (split_cases(of_scanners(scanners), SplitConfig(stratify="scanner", salt=salt)) for salt in "ab")
    assert len(set(one["test"]) & set(two["test"])) < 20


def test_strata_too_small_for_a_share_get_their_chance_of_it():
    known = [case for i in range(2000) for case in cases([f"s{i}"], age=str(i))]
    parts = Counter(place(split_cases(known, SplitConfig(val=0.2, test=0.3, stratify="age"))).values())
    assert parts["val"] == pytest.approx(400, abs=60)
    assert parts["test"] == pytest.approx(600, abs=70)


def test_a_group_whose_subjects_differ_is_a_value_of_its_own_and_stays_whole():
    scans = [Case(f"p{i}_{s}", {}, attributes={"scanner": ["GE", "Philips"][s]}) for i in range(40) for s in (0, 1)]
    config = SplitConfig(val=0.25, test=0.25, stratify="scanner", group=r"(p\d+)_")
    where = place(split_cases(scans, config))
    assert all(where[f"p{i}_0"] == where[f"p{i}_1"] for i in range(40))
    assert Counter(where.values())["val"] == pytest.approx(20, abs=2)


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
            SplitConfig(group=r"(p\d)_"),
            r"dataset\.split\.group=\(p\\d\)_ matches none of 3 names, such as g1, .*; correct the pattern, or .*=null",
        ),
        (
            SplitConfig(group=r"(g)\d", train_subjects=["g1"], val_subjects=["g2"], test_subjects=["s"]),
            "divides the group g",
        ),
    ],
)
def test_a_bad_group_says_which_key(config, message):
    with pytest.raises(DataError, match=message):
        split_cases(cases(["g1", "g2", "s"]), config)


def test_names_that_the_pattern_of_groups_does_not_match_are_counted():
    known = cases(["p1_a", "p1_b", *(f"p{i}_a" for i in range(2, 20)), "q7", "q8"])
    config = pictures_config(None, split=SplitConfig(group=r"(p\d+)_"))
    split = split_cases(known, config.split)
    assert doubts(split, known, config) == [
        r"dataset.split.group=(p\d+)_ does not match 2 of 22 pictures, such as q7, each of which is a group of its own; "
        "correct the pattern, or end it with |$ if they are to be alone"
    ]
    alone = replace(config, split=SplitConfig(group=r"(p\d+)_|$"))
    assert doubts(split_cases(known, alone.split), known, alone) == []
    assert group_cases(known, alone.split) == group_cases(known, config.split)


def test_the_names_of_a_healthy_cohort_need_not_match_the_pattern_of_groups():
    known = [*cases([f"well/h{i}" for i in range(20)], "train"), *cases([f"p{i}_a" for i in range(20)], "test")]
    config = volumes_config(None, split=SplitConfig(group=r"(p\d+)_"), healthy=HealthyConfig("well"))
    assert doubts(split_cases(known, config.split), known, config) == []
    with pytest.raises(DataError, match="matches none of 20 names, such as p0_a"):
        split_cases([replace(case, group=case.subject) for case in known[:20]] + known[20:], SplitConfig(group="(x)"))


def test_groups_that_leave_little_to_train_on_are_told_with_the_cause():
    normal = cases([f"p{i % 20}_ok{i}" for i in range(200)])
    known = [*normal, *cases([f"p{i}_defect" for i in range(19)], "test"), *cases(["out"])]
    config = pictures_config(None, split=SplitConfig(val=0.2, test=0.2, holdout=0.2, group=r"(p\d+)_|$"))
    split = split_cases(known, config.split, dropped={"out"})
    assert len(split["train"]) <= 10
    (said,) = doubts(split, known, config)
    assert said.startswith(
        f"{len(split['train'])} of 219 pictures in train, less than half of the 120 that the shares of dataset.split are to "
        "give it: 190 are in a group (dataset.split.group) with one that is never trained on; let the pattern tell more"
    )
    assert "put {subject} into the patterns of pictures" in said
    subjects = replace(config, normal=["{subject}/{stem}.png"])
    assert "{subject}" not in doubts(split, known, subjects)[0]
    lists = {f"{part}_subjects": names for part, names in split.items()}
    assert (
        doubts(split, [case for case in known if case.subject != "out"], replace(config, split=SplitConfig(**lists)))
        == []
    )


@pytest.mark.parametrize(
    ("pool", "settings", "due"),
    [
        ("any", {"val": 0.2, "test": 0.3}, 50),
        ("train", {"val": 0.2, "test": 0.3}, 80),
        ("any", {"val": 0.2, "folds": 4}, 60),
        ("train", {"val": 0.2, "folds": 4}, 80),
        ("test", {"val": 0.2}, 0),
    ],
)
def test_train_is_to_have_half_of_its_share(pool, settings, due):
    known, config = cases([f"s{i}" for i in range(100)], pool), volumes_config(None, split=SplitConfig(**settings))
    names = [case.subject for case in known]

    def said(count):
        rest = names[count:]
        return doubts({"train": names[:count], "val": rest[:9], "test": rest[9:]}, known, config)

    assert [text for text in said(due // 2) if "shares" in text] == []
    if due:
        assert said(due // 2 - 1) == [
            f"{due // 2 - 1} of 100 subjects in train, less than half of the {due} that the shares of dataset.split are to "
            "give it; change dataset.split"
        ]


def refusal(known, config):
    try:
        split_cases(known, config)
    except DataError as error:
        return str(error)
    return ""


def test_strata_too_small_for_a_split_are_told_its_counts_and_a_salt_that_fills_it():
    few = [case for name in "abcd" for case in cases([name], scanner=name)]
    stratified = SplitConfig(stratify="scanner")
    refusals = (refusal(few, replace(stratified, salt=f"x {number}")) for number in range(100))
    message = next(filter(None, refusals))
    assert "none of 4 subjects falls into '" in message
    salt = re.search(r"dataset\.split\.salt=\"([^\"]+)\"", message).group(1)
    assert all(split_cases(few, replace(stratified, salt=salt)).values())
    counts = [int(n) for n in re.search(r"\(train (\d), val (\d), test (\d),", message).groups()]
    assert sum(counts) == 4
    assert min(counts) == 0


def test_an_empty_fold_is_named_with_the_sizes_of_all():
    known = [case for number in range(6) for case in cases([f"s{number}"], scanner=str(number))]
    refused = {
        (salt, fold): refusal(known, SplitConfig(folds=5, fold=fold, salt=str(salt), stratify="scanner"))
        for salt in range(3)
        for fold in range(5)
    }
    (_, fold), message = next(item for item in refused.items() if "falls into 'test'" in item[1])
    assert f"in fold {fold} of 5" in message
    sizes = [int(size) for size in re.search(r"folds test ([\d, ]+)\)", message).group(1).split(", ")]
    assert (len(sizes), sum(sizes), sizes[fold]) == (5, 6, 0)
    assert "lower dataset.split.folds=5" in message


def test_more_folds_than_subjects_to_test_on_are_refused():
    known = [*cases(["a", "b", "c"], pool="test"), *cases([f"h{n}" for n in range(20)], pool="train")]
    with pytest.raises(DataError, match=r"folds=5: there are 3 subjects .* choose 2 to 3 folds"):
        split_cases(known, SplitConfig(folds=5))


def test_two_subjects_are_too_few_whatever_the_salt():
    with pytest.raises(DataError, match=r"2 subjects .* cannot be divided into train, val and test; 3 are the least"):
        split_cases(cases(["a", "b"]), SplitConfig())
